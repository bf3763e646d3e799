"""The README: its length, what it lists, and its example."""

import re

from pages import DOCS, PAGES, README, ROOT, blocks, commands


def test_it_is_short():
    assert len(README.split()) <= 900


def test_it_links_every_page():
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    assert [page.name for page in DOCS.values() if page.relative_to(ROOT).as_posix() not in links] == []
    assert {"CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"} <= set(links)


def test_every_tool_is_shown_on_some_page():
    words = [word for page in PAGES for line in commands(page.read_text()) for word in line]
    shown = {word for word in words if word.startswith("tools/")}
    tools = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tools").glob("*") if p.suffix in (".py", ".sh")}
    assert tools <= shown


def test_the_example_in_python_draws():
    """With the weights that the config names in place of the demo's."""
    (code,) = blocks(README, "python")
    weights = '"work_dirs/demo/generator/iter_400.pth"'
    assert weights in code and len(code.strip().splitlines()) <= 6
    config = '"configs/detdiffusion_miniscenes.py"'
    assert config in code
    code = code.replace(weights, 'None, device="cpu"').replace(config, repr(str(ROOT / config.strip('"'))))
    names = {}
    exec(code, names)
    assert names["images"].shape == (1, 3, 64, 64) and 0 <= names["images"].min() < names["images"].max() <= 1
