"""The events of mkdocs: the pages of ``docs/`` with those that are made of the repository's other files."""

from __future__ import annotations

import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from site_pages.reference_pages import link_names, reference_page, sections
from site_pages.repository_links import IMAGES, file_page, is_foreign, rewrite, site_name
from site_pages.symbols import ROOT
from site_pages.tool_pages import index_page, page_of, tool_files, tool_navigation, tool_page

ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")


def on_config(config):
    """Complete the navigation by the pages that are made here, and let ```math blocks be MathML."""
    made = {"tools/*": tool_navigation(), "reference/*": list(sections())}
    for tab in config.nav:
        for title, entries in tab.items():
            tab[title] = [page for entry in entries for page in made.get(str(entry), [entry])]
    fence = {"name": "math", "class": "math", "format": _math}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_files(files, config):
    """Add the pages that are made here, and every file of the repository that some page links to."""
    pending = {}
    for file in files.documentation_pages():
        text = Path(file.abs_src_path).read_text(encoding="utf-8")
        pending[f"docs/{file.src_uri}"] = link_names(text) if file.src_uri == "reference.md" else text
    pending |= {
        name: (ROOT / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "CONTRIBUTING.md")
    }
    done = set()
    while pending:
        path, text = pending.popitem()
        done.add(path)
        try:
            text, targets = rewrite(text, path)
        except (FileNotFoundError, KeyError) as error:
            raise PluginError(str(error)) from error
        _put(files, config, site_name(path), text)
        for target in targets - done - set(pending):
            if not is_foreign(target):
                continue
            done.add(target)
            if target.endswith(IMAGES):
                files.append(File.generated(config, site_name(target), abs_src_path=str(ROOT / target)))
            elif target.endswith(".md"):
                pending[target] = (ROOT / target).read_text(encoding="utf-8")
            else:
                _put(files, config, site_name(target), file_page(target))
    for tool in tool_files():
        _put(files, config, page_of(tool), tool_page(tool))
    _put(files, config, "tools/index.md", index_page())
    for name, (title, names) in sections().items():
        _put(files, config, name, reference_page(title, names))
    return files


def on_page_content(html, page, config, files):
    """Let mkdocs know the anchors of numbered lines, so that it checks the links to them as well."""
    page.present_anchor_ids |= set(re.findall(r'\bid="(__codelineno-[\d-]+)"', html))


def on_post_build(config):
    """Refuse a site that loads fonts, scripts or pictures from elsewhere."""
    for page in Path(config.site_dir).rglob("*.html"):
        if found := ELSEWHERE.search(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page}: loads {found[1]}; the site must work without a network")


def _put(files, config, name: str, text: str) -> None:
    """Add a page, or replace it."""
    if old := files.get_file_from_path(name):
        old.content_string = text
    else:
        files.append(File.generated(config, name, content=text))


def _math(source, language, css_class, options, md, **kwargs) -> str:
    return f'<div class="{css_class}">{convert(source, display="block")}</div>'
