"""A bar on a terminal, lines in a log, nothing where it is switched off."""

import os
import pty
import re
import subprocess
import sys

import pytest

from detdiffusion.utils import progress
from detdiffusion.utils.progress import Progress

LINE = r"(\w+): (\d+)/(\d+) (\w+), [\d.]+ \w+/s, \d+:\d\d:\d\d left"


def test_a_log_gets_the_last_line(capsys):
    with Progress("drawing", total=3) as bar:
        for _ in range(3):
            bar.advance()
    out, err = capsys.readouterr()
    assert not out and re.fullmatch(LINE + "\n", err).groups() == ("drawing", "3", "3", "images")


def test_and_one_every_so_often(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    with Progress("reading", "files", total=5, done=2) as bar:
        assert list(bar.track("abc")) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [re.fullmatch(LINE, line)[2] for line in lines] == ["3", "4", "5"]


def test_a_total_that_is_unknown(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    with Progress("converting") as bar:
        list(bar.track("ab"))
    assert re.fullmatch(r"(converting: \d images, [\d.]+ images/s\n){2}", capsys.readouterr().err)


def test_it_may_say_nothing(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    with Progress("x", total=2, enabled=False) as bar:
        list(bar.track("ab"))
    assert capsys.readouterr() == ("", "")


def test_the_rate_is_that_of_now(capsys, monkeypatch):
    """What was at hand before does not make the rest look quick."""
    clock = iter([0.0, 0.0, 0.0, 10.0, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "EVERY", 0)
    with Progress("x", total=110, done=100) as bar:
        bar.advance(5)
    assert capsys.readouterr().err == "x: 105/110 images, 0.50 images/s, 0:00:10 left\n"


@pytest.mark.parametrize("fails", [False, True])
def test_a_terminal_gets_a_bar_that_leaves_the_cursor(fails, repo_root):
    code = (
        "from detdiffusion.utils.progress import Progress\n"
        "with Progress('drawing [red]', total=4) as bar:\n"
        f"    bar.advance(4)\n    print('kept'); assert not {fails}\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE, cwd=repo_root, text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert done.stdout == "kept\n" and (done.returncode != 0) == fails
    assert b"drawing [red]" in shown and b"4/4" in shown
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1  # hidden and shown again
