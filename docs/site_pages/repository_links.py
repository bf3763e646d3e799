"""Links of the pages to other files of the repository, which the site shows as pages of its own.

A link that leads out of ``docs/`` works on a code host as it stands. For the site, the file that it names becomes a
page: Markdown as it is, other text with numbered lines, images as they are. ``file.py#Class.method`` leads to the
lines of that definition; a line that consists of such a link also shows the code. A file that is named in code style
(`configs/…py`) becomes a link, too.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from site_pages.symbols import ROOT, lines_of
from site_pages.tool_pages import page_of

OWN_PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
LANGUAGES = {".py": "python", ".json": "json", ".yml": "yaml", ".sh": "bash"}
IMAGES = (".png", ".jpg")
FOLDERS = "configs|tools|detdiffusion|benchmarks|tests|requirements"
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)\s]+)(?=\))")
FILE = re.compile(rf"(?<!\[)`((?:{FOLDERS})/[\w./-]+\.(?:py|sh|json|txt|md|yml))`(?!\])")
SHOWN = re.compile(r"^\[[^\]]+\]\(([^)#\s]+\.py)#([\w.]+)\)$", re.MULTILINE)


def site_name(path: str) -> str:
    """Return where the site has a file of the repository; ``path`` is relative to the repository."""
    if path in OWN_PAGES:
        return OWN_PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("tools/") and path.endswith((".py", ".sh")):
        return page_of(ROOT / path)
    if path.endswith((".md", *IMAGES)):
        return f"files/{path}"
    return f"files/{path}.md"


def is_foreign(path: str) -> bool:
    """Return whether a file is neither a page of ``docs/`` nor made by another module here."""
    return not path.startswith("docs/") and path != "README.md" and not site_name(path).startswith("tools/")


def rewrite(text: str, path: str) -> tuple[str, set[str]]:
    """Return a page as the site needs it, and the files of the repository that it links to.

    Args:
        text: Markdown.
        path: the page's file, relative to the repository; links are relative to it.

    Raises:
        FileNotFoundError: a link names a file that does not exist.
        KeyError: a link names a definition that its file does not have.
    """
    folder, here, targets = PurePosixPath(path).parent, site_name(path), set()

    def to(target: str, anchor: str = "") -> str:
        if not (ROOT / target).is_file():
            raise FileNotFoundError(f"{path}: the link to {target} leads to no file")
        targets.add(target)
        if target.endswith(".py") and anchor:
            line, _ = lines_of(ROOT / target, anchor)
            # a tool's page has its options, so its lines are on no page
            anchor = "" if site_name(target).startswith("tools/") else f"__codelineno-0-{line}"
        return os.path.relpath(site_name(target), PurePosixPath(here).parent) + (anchor and f"#{anchor}")

    def link(found: re.Match) -> str:
        target, _, anchor = found[1].partition("#")
        return to(os.path.normpath(folder / target), anchor)

    def prose(part: str) -> str:
        part = SHOWN.sub(lambda found: found[0] + "\n\n" + _code(folder, *found.groups()), part)
        pieces = FENCE.split(part)  # code that was just put in stays as it is
        return "".join(
            piece if i % 2 else FILE.sub(lambda f: f"[`{f[1]}`]({to(f[1])})", LINK.sub(link, piece))
            for i, piece in enumerate(pieces)
        )

    parts = FENCE.split(text)
    return "".join(part if i % 2 else prose(part) for i, part in enumerate(parts)), targets


def file_page(path: str) -> str:
    """Return the page of a file that is no Markdown: its text with numbered lines, left out of the search."""
    text = (ROOT / path).read_text(encoding="utf-8").rstrip()
    language = LANGUAGES.get(Path(path).suffix, "text")
    return (
        f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
        f'~~~~~~ {{ .{language} linenums="1" }}\n{text}\n~~~~~~\n'
    )


def _code(folder: PurePosixPath, target: str, symbol: str) -> str:
    """Return a folded block with the lines of a definition."""
    path = os.path.normpath(folder / target)
    first, last = lines_of(ROOT / path, symbol)
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()[first - 1 : last]
    code = "\n".join(f"    {line}".rstrip() for line in lines)
    title = f'??? quote "{path}, lines {first} to {last}"'
    return f'{title}\n\n    ```{{ .python linenums="{first}" }}\n{code}\n    ```\n'
