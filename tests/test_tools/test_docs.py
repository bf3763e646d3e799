"""What the documentation says can be typed: tools, options, configs and their variables exist."""

import re
import shlex
from pathlib import Path

import pytest
from test_readme import ROOT, help_of

DOCS = sorted((ROOT / "docs").glob("*.md"))


def commands(path):
    """Lines of the shell blocks, also indented ones, continuations joined."""
    for block in re.findall(r"```bash\n(.*?)```", path.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


COMMANDS = [(path.name, words) for path in DOCS for words in commands(path) if words[0] == "python"]


def test_the_whole_way_is_shown():
    shown = {words[1] for name, words in COMMANDS if name == "own_data.md"}
    assert {
        "tools/dataset_converters/voc_to_coco.py",
        "tools/extract_attributes.py",
        "tools/generate.py",
        "tools/train.py",
        "tools/compare_trainability.py",
    } <= shown


@pytest.mark.parametrize(
    ("name", "words"), COMMANDS, ids=lambda value: value if isinstance(value, str) else value[1]
)
def test_command_exists_with_its_options(name, words):
    tool, arguments = words[1], words[2:]
    text = help_of(tool)
    assert [w for w in arguments if w.startswith("--") and not re.search(rf"{w}\b(?!-)", text)] == []
    configs = [w for w in arguments if w.startswith("configs/")]
    assert all((ROOT / config).is_file() for config in configs)
    if "--cfg-options" in arguments:
        from mmengine.config import Config

        import detdiffusion  # noqa: F401  lets mmengine find our package

        config = Config.fromfile(ROOT / configs[0], import_custom_modules=False)
        for pair in arguments[arguments.index("--cfg-options") + 1 :]:
            assert config.get(pair.split("=")[0].split(".")[0]) is not None, pair


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_and_named_folders_exist(path):
    text = path.read_text()
    links = [link for link in re.findall(r"\]\(((?!http)[^)#]+)\)", text)]
    named = re.findall(r"`((?:configs|detdiffusion|tools)(?:/[\w.-]+)*/?)`", text)
    assert [p for p in links if not (Path(path.parent) / p).exists()] == []
    assert [p for p in named if not (ROOT / p).exists()] == []


def test_the_example_in_python_draws():
    """With the zoo's model in place of Stable Diffusion's."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/generator.md").read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "Inferencer(" in block]
    config = ROOT / "configs/detdiffusion_miniscenes.py"
    for theirs, ours in {
        '"configs/detdiffusion_coco.py", "epoch_60.pth"': f'{str(config)!r}, None, device="cpu"',
        '"person", "sky"': '"ball", "sky"',
        "num_inference_steps=50": "num_inference_steps=2",
    }.items():
        assert theirs in code
        code = code.replace(theirs, ours)
    names = {}
    exec(code, names)
    assert names["images"].shape == (1, 3, 64, 64) and 0 <= names["images"].min() < names["images"].max() <= 1
