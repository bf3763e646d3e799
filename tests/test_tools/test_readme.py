"""What the README says can be typed: tools and options exist, configs parse, files are there."""

import re
import shlex
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def commands():
    """Lines of the shell blocks, continuations joined and comments cut off."""
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


COMMANDS = list(commands())


@lru_cache
def help_of(tool):
    result = subprocess.run([sys.executable, tool, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_tool_is_shown():
    shown = {word for words in COMMANDS for word in words if word.startswith("tools/")}
    tools = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tools").glob("*") if p.suffix in (".py", ".sh")}
    assert tools <= shown


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:3]))
def test_command_exists_with_its_options(words):
    program, *arguments = words
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        options = dict(a.split("=", 1) for a in arguments[1:]).get("ARGS", "")
        tool, arguments = "tools/quickstart.py", shlex.split(options)
    else:
        assert program in ("python", "bash")
        tool, *arguments = arguments
        assert (ROOT / tool).is_file()
        if tool == "tools/dist_train.sh":
            assert arguments[1].isdigit()
            tool = "tools/train.py"
        if tool == "tools/dist_generate.sh":
            assert arguments[2].isdigit()
            tool = "tools/generate.py"
    flags = {word for word in arguments if word.startswith("--")}
    missing = [flag for flag in flags if not re.search(rf"{flag}\b(?!-)", help_of(tool))]
    assert not missing, f"{tool} has no {missing}"


def test_options_that_commands_override_are_variables_of_their_config():
    from mmengine.config import Config

    import detdiffusion  # noqa: F401  lets mmengine find our package

    for words in COMMANDS:
        configs = [w for w in words if w.startswith("configs/") and w.endswith(".py")]
        if "--cfg-options" not in words or not configs:
            continue
        config = Config.fromfile(ROOT / configs[0], import_custom_modules=False)
        for pair in words[words.index("--cfg-options") + 1 :]:
            assert pair.split("=")[0] in config, f"{configs[0]} has no variable {pair}"


def test_files_that_are_named_exist():
    paths = re.findall(r"`((?:configs|detdiffusion|tools|tests)(?:/[\w.-]+)*/?)`", README)
    paths += re.findall(r"\]\(((?!http)[^)]+)\)", README)
    paths += [w for words in COMMANDS for w in words if w.startswith("configs/")]
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path.split("#")[0]).exists()] == []


def test_names_that_are_given_as_public_are_registered():
    import detdiffusion.datasets.synthetic_coco
    import detdiffusion.models  # noqa: F401
    from detdiffusion.registry import DATASETS, MODELS, TRANSFORMS

    line = re.search(r"Public names to build on: (.*?), scope", README, re.DOTALL)[1]
    names = re.findall(r"`(\w+)`", line)
    assert len(names) == 5
    for name in names:
        assert any(registry.get(name) for registry in (DATASETS, MODELS, TRANSFORMS)), name
