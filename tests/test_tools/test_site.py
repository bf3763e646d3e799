"""The site: its navigation, and the pages that are made of parsers, docstrings and other files of the repository."""

import re
import runpy

import pytest
import yaml
from pages import DOCS, PAGES, RECORDS, ROOT, blocks, name_of
from site_pages.reference_pages import link_names, reference_page, sections
from site_pages.repository_links import file_page, rewrite, site_name
from site_pages.symbols import exported, home_of, lines_of, module_path
from site_pages.tool_pages import index_page, is_shown, page_of, tool_files, tool_page


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml; its Python tags are the site's business."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)
TABS = {title: pages for tab in SITE["nav"] for title, pages in tab.items()}
NAVIGATION = [
    page if isinstance(page, str) else next(iter(page.values())) for tab in TABS.values() for page in tab
]


def test_the_navigation_has_every_page_once():
    made = {"tools/index.md", "tools/*", "reference/*", "contributing.md", "changelog.md"}
    written = {path.relative_to(ROOT / "docs").as_posix() for path in DOCS.values()}
    assert sorted(NAVIGATION) == sorted(written | made)


def test_every_page_is_two_clicks_from_home_or_nearer():
    """Home shows the tabs; a tab, its pages. Questions and errors are also linked on home itself."""
    assert NAVIGATION[0] == "index.md" and all(isinstance(pages, list) for pages in TABS.values())
    links = set(re.findall(r"\]\(([\w/]+\.md)", DOCS["index"].read_text()))
    assert {f"{name}.md" for name in ("start", "own_data", "questions", "errors", "how_it_works")} <= links


def test_nothing_is_loaded_from_elsewhere():
    assert SITE["theme"]["font"] is False and "repo_url" not in SITE
    assert "extra_javascript" not in SITE
    assert all((ROOT / "docs" / file).is_file() for file in SITE["extra_css"])


@pytest.mark.parametrize("tool", tool_files(), ids=lambda path: path.name)
def test_a_tools_page_has_its_options_and_examples(tool):
    text = tool_page(tool)
    assert text.startswith(f"# {name_of(tool)}\n") and f"`{name_of(tool)}`" in index_page()
    if tool.suffix == ".sh":
        return
    parser = runpy.run_path(str(tool))["build_parser"]()
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE)
    shown = [action for action in parser._actions if is_shown(action)]
    assert len(rows) == len(shown) > 0
    for action in shown:
        names = action.option_strings or [str(action.metavar or action.dest)]
        (meaning,) = [meaning for call, meaning in rows if re.match(rf"{re.escape(names[0])}\b(?!-)", call)]
        assert not action.required or not action.option_strings or meaning.startswith("required")
    (example,) = blocks(text, "bash")
    assert f"python {name_of(tool)}" in example


PUBLIC = [(module, name) for _, names in sections().values() for module, name in names]


def test_the_reference_has_every_exported_name():
    """Of the packages that it lists; a name that two packages export is listed once."""
    packages = {module for module, _ in PUBLIC if module_path(module).name == "__init__.py"}
    names = {(home_of(package, name), name) for package in packages for name in exported(package)}
    assert sorted(names - {(home_of(module, name), name) for module, name in PUBLIC}) == []


def test_a_page_of_the_reference_names_every_docstring():
    pages = [reference_page(title, names) for title, names in sections().values()]
    assert sum(text.count("\n::: detdiffusion.") for text in pages) == len(PUBLIC)
    linked = link_names(DOCS["reference"].read_text())
    assert all(f"[`{name}`][{home_of(module, name)}.{name}]" in linked for module, name in PUBLIC)


def test_links_out_of_the_documentation_become_pages():
    """Of all pages; a link that leads nowhere is an error, as are lines that are not there."""
    for page in [*PAGES, *RECORDS, ROOT / "CHANGELOG.md"]:
        text, targets = rewrite(page.read_text(), name_of(page))
        assert all((ROOT / target).is_file() for target in targets)
        assert len(blocks(text, "bash")) == len(blocks(page.read_text(), "bash"))
    with pytest.raises(FileNotFoundError, match="docs/x.md: the link to nothing.py leads to no file"):
        rewrite("[a](../nothing.py)", "docs/x.md")
    with pytest.raises(KeyError, match="defines no Nothing"):
        rewrite("[a](../setup.py#Nothing)", "docs/x.md")


def test_code_is_shown_where_a_line_is_a_link():
    text, targets = rewrite("[`version`](../setup.py#version)\n\nSee `tools/train.py`.", "docs/x.md")
    first, last = lines_of(ROOT / "setup.py", "version")
    assert targets == {"setup.py", "tools/train.py"}
    assert f"(files/setup.py.md#__codelineno-0-{first})" in text
    assert "[`tools/train.py`](tools/train.md)" in text
    assert f'"setup.py, lines {first} to {last}"' in text and "    def version() -> str:\n" in text
    source = (ROOT / "setup.py").read_text()
    assert source.splitlines()[first - 1].startswith("def version")
    assert source.rstrip() in file_page("setup.py")


def test_pages_of_the_site_have_names_of_their_own():
    tools = [page_of(tool) for tool in tool_files()]
    others = [site_name(name_of(page)) for page in [*PAGES[1:], *RECORDS]]
    assert len({*tools, *sections(), *others}) == len(tools) + len(sections()) + len(others)


def test_equations_are_written_for_code_hosts_too():
    """A ```math block is drawn by code hosts and by the site's hook; `$` is drawn by neither alike."""
    assert len(blocks(DOCS["how_it_works"].read_text(), "math")) == 5
    assert [name for name, page in DOCS.items() if "$$" in page.read_text()] == []
