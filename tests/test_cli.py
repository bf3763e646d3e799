"""The console command: every tool is a command, with its own flags and exit status."""

import os
import re
import subprocess
import sys

import pytest

from detdiffusion import __version__, cli


def run(*arguments, root, cwd, **environment):
    command = [sys.executable, "-m", "detdiffusion.cli", *arguments]
    settings = dict(os.environ, PYTHONPATH=str(root), **environment)
    return subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True)


def test_short_names_are_tools(repo_root):
    for name, file in cli.SHORT.items():
        assert (repo_root / "tools" / file).is_file(), name


def test_every_tool_is_one_command(repo_root):
    tools = {path.resolve() for path in (repo_root / "tools").rglob("*.py")}
    found = [path.resolve() for path in cli.commands().values()]
    assert set(found) == tools and len(found) == len(tools)


def test_help_lists_the_commands_without_heavy_imports(repo_root, tmp_path):
    shown = run("--help", root=repo_root, cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert shown.returncode == 0
    for name in cli.commands():
        assert f"\n  {name} " in shown.stdout
    assert "Train a detector or a generator from an mmengine config." in shown.stdout
    assert re.search(r"\| +detdiffusion$", shown.stderr, re.MULTILINE)
    assert not re.search(r"\| +(torch|mmengine|numpy|PIL)$", shown.stderr, re.MULTILINE)


def test_a_command_is_its_tool(repo_root, tmp_path):
    shown = run("evaluate-fidelity", "--help", root=repo_root, cwd=tmp_path)
    assert shown.returncode == 0 and shown.stdout.startswith("usage: detdiffusion evaluate-fidelity ")
    wrong = run("miniscenes", "--out", "set", "--counts", "train=many", root=repo_root, cwd=tmp_path)
    assert wrong.returncode == 2 and "--counts" in wrong.stderr and "Traceback" not in wrong.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trian", "there is no command 'trian'; did you mean train?"),
        ("quality_gat", "did you mean quality-gate"),
        ("zzz", "detdiffusion --help lists them"),
    ],
)
def test_an_unknown_command_suggests(name, message, capsys):
    assert cli.main([name]) == 2
    assert message in capsys.readouterr().err


def test_nothing_and_version(capsys):
    assert cli.main([]) == 0 and "usage: detdiffusion COMMAND" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0 and capsys.readouterr().out == f"detdiffusion {__version__}\n"
