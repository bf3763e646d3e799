"""Every tool explains itself at once, and the package is light to import."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "tools").rglob("*.py") if p.name[0] != "_")


def run(command):
    """The finished process and its processor seconds, which other work on the machine does not change."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("tool", TOOLS)
def test_help_is_quick_and_has_examples(tool):
    result, seconds = run([sys.executable, tool, "--help"])
    assert result.returncode == 0, result.stderr
    assert seconds < 1.0
    assert "example" in result.stdout.lower() and f"{Path(tool).name} " in result.stdout


@pytest.mark.parametrize(
    "tool", sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "tools").glob("*.sh"))
)
def test_shell_tools_explain_themselves(tool):
    result = subprocess.run(["bash", tool, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0 and tool in result.stdout
    assert subprocess.run(["bash", tool], capture_output=True, cwd=ROOT).returncode == 2


def test_import_is_light():
    code = (
        "import sys, detdiffusion\n"
        "print([m for m in ('torch', 'mmengine', 'mmcv', 'mmagic', 'diffusers') if m in sys.modules])"
    )
    result, seconds = run([sys.executable, "-c", code])
    assert result.stdout.strip() == "[]" and seconds < 0.3
