"""Pages of the documentation, with their shell commands, Python blocks, tables and the records of their figures."""

import json
import re
import shlex
import statistics
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
DOCS = {path.stem: path for path in sorted((ROOT / "docs").rglob("*.md"))}
TEXTS = {name: path.read_text() for name, path in DOCS.items()}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.values()]
RESULTS = ROOT / "benchmarks/results"
RECORDS = [ROOT / "detdiffusion/zoo/README.md", *sorted(RESULTS.rglob("*.md"))]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(text, language):
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text):
    """Lines of the shell blocks as words, continuations joined and comments cut off."""
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def tables(text, start_of_header="|"):
    """Cells of the Markdown tables whose header starts so: header, rows."""
    for lines in re.findall(r"^\|.*\n\|[-| :]+\|\n(?:\|.*\n?)*", text, re.MULTILINE):
        if lines.startswith(start_of_header):
            header, _, *rows = lines.splitlines()
            header, *rows = [
                [cell.strip() for cell in line.strip("|").split("|")] for line in (header, *rows)
            ]
            yield header, rows


def table(text, start_of_header):
    """The only such table."""
    (found,) = tables(text, start_of_header)
    return found


@lru_cache
def help_of(tool):
    """What ``--help`` of a tool prints."""
    result = subprocess.run([sys.executable, tool, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


def read(path):
    """A record of figures."""
    return json.loads(path.read_text())


def ap(value):
    """An AP as pages show it."""
    return f"{100 * value:.1f}"


def page(name):
    """The text of a page."""
    return TEXTS[name]


def text_of(name):
    """The same in one line."""
    return " ".join(page(name).split())


def percent(row):
    """The AP of a record's row as pages show it."""
    return ap(row["bbox_mAP"])


def aps(seeds):
    """The AP of each seed's row in percent."""
    return [100 * one["bbox_mAP"] for one in seeds.values()]


def percent_of(seeds):
    """Their mean as pages show it."""
    return f"{statistics.fmean(aps(seeds)):.1f}"


def signed(value):
    """A difference as pages show it."""
    return f"{value:+.1f}".replace("-", "−")


def change(arms, arm, other):
    """Mean difference with its 95 % interval over seeds, and p, as text."""
    found = stats.ttest_rel(aps(arms[arm]), aps(arms[other]))
    low, high = found.confidence_interval(0.95)
    mean = statistics.fmean(aps(arms[arm])) - statistics.fmean(aps(arms[other]))
    return f"{mean:+.1f} [{low:.1f}, {high:.1f}]".replace("-", "−"), chance(found.pvalue)


def chance(p):
    """A p as pages show it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
