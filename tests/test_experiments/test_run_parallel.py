"""Steps of several folders at the same time: in order where they need each other, side by side where not."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from detdiffusion.experiments.run_parallel import FolderSteps, chains_behind, run_parallel
from detdiffusion.experiments.run_steps import claim, run_steps
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import Step, needed_steps

# Writes when it began and ended.
SCRIPT = """
import sys, time, pathlib
out, seconds = sys.argv[1:3]
begin = time.time()
if seconds == "fail": sys.exit("error: no luck")
time.sleep(float(seconds))
pathlib.Path(out).write_text(f"{begin} {time.time()}")
"""


def step(folder, name, *needs, seconds="0.3"):
    out = folder / name
    return Step(
        name, name, ("wait.py", str(out), seconds), inputs=tuple(folder / n for n in needs), outputs=(out,)
    )


@pytest.fixture
def work(work_dir):
    """Returns the steps of a folder, as :func:`run_parallel` takes them; ``work.finished`` are those that ended."""
    (work_dir / "wait.py").write_text(SCRIPT)
    finished = []

    def make(name, steps):
        folder = work_dir / name
        return FolderSteps(
            folder, claim(folder, ".mark", "--out"), steps(folder), lambda s: finished.append((name, s.name))
        )

    make.dir, make.finished = work_dir, finished
    return make


def times(folder, name):
    return tuple(map(float, (folder / name).read_text().split()))


def test_steps_run_side_by_side_but_after_what_they_need(work, capsys):
    works = [
        work(name, lambda f: [step(f, "a"), step(f, "b"), step(f, "c", "a"), step(f, "d", "b", "c")])
        for name in ("one", "two")
    ]
    run_parallel(works, 3, work.dir)
    spans = {(w.folder.name, s.name): times(w.folder, s.name) for w in works for s in w.steps}
    for name in ("one", "two"):
        for late, early in (("c", "a"), ("d", "b"), ("d", "c")):
            assert spans[name, late][0] >= spans[name, early][1]
    at_work = [sum(b <= begin < e for b, e in spans.values()) for begin, _ in spans.values()]
    assert 2 <= max(at_work) <= 3
    assert sorted(work.finished) == sorted(spans)
    assert all(json.loads(p.read_text())["finished"] for w in works for p in w.folder.glob("stamps/*.json"))
    assert "8 of 8 steps are done" in capsys.readouterr().out
    before = (works[0].folder / "a").read_text()
    run_parallel(works, 3, work.dir)  # nothing is done twice
    assert capsys.readouterr().out.count("done before") == 8
    assert (works[0].folder / "a").read_text() == before


def test_what_the_longest_chain_waits_for_comes_first(work):
    one = work("one", lambda f: [step(f, "alone"), step(f, "a"), step(f, "b", "a"), step(f, "c", "b")])
    assert chains_behind(needed_steps(one.steps)) == dict(alone=0, a=2, b=1, c=0)
    run_parallel([one], 1, work.dir)
    assert [name for _, name in work.finished] == ["a", "b", "alone", "c"]


def test_a_failed_step_starts_no_other_and_loses_nothing(work):
    one = work("one", lambda f: [step(f, "bad", seconds="fail"), step(f, "next", "bad"), step(f, "later")])
    two = work("two", lambda f: [step(f, "long", seconds="2"), step(f, "after", "long")])
    with pytest.raises(UserError, match="step bad failed.*\n.*no luck"):
        run_parallel([one, two], 2, work.dir)
    assert work.finished == [("two", "long")]
    assert not any((work.dir / path).exists() for path in ("one/next", "one/later", "two/after"))


def test_configs_that_set_variables_of_their_bases(work):
    """Reading them replaces parts of mmengine for a moment, which several threads at once would leave replaced."""
    (work.dir / "base.py").write_text("scale = (8, 8)\npipeline = dict(scale=scale)\n")
    for name in "abcdef":
        (work.dir / f"{name}.py").write_text("_base_ = './base.py'\nscale = (4, 4)\n")
    one = work("one", lambda f: [replace(step(f, n), configs=(f"{n}.py",)) for n in "abcdef"])
    run_parallel([one], 6, work.dir)
    assert len(work.finished) == 6


def test_all_errors_are_said(work, capsys):
    one = work("one", lambda f: [step(f, "bad", seconds="fail"), step(f, "worse", seconds="fail")])
    with pytest.raises(UserError, match="step (bad|worse) failed"):
        run_parallel([one], 2, work.dir)
    said = capsys.readouterr().out
    assert "step bad failed" in said and "step worse failed" in said


def test_what_follows_a_step(work):
    """It is called before the steps that wait for the step start, also if the step was done before; an error of it ends
    the run; so does one behind another."""
    seen, make = [], lambda f: [replace(step(f, "a"), after=lambda: seen.append("a")), step(f, "b", "a")]
    one = work("one", make)
    seconds, threads = run_parallel([one], 2, work.dir)
    assert seen == ["a"] and threads >= 1
    assert seconds[one.folder].keys() == {"a", "b"} and min(seconds[one.folder].values()) >= 0.3
    run_steps(one.steps, 2, work.dir, one.folder, one.lock)
    assert seen == ["a", "a"]

    def refuse():
        raise UserError("it finds too little")

    for name, run in (
        ("side by side", lambda w: run_parallel([w], 2, work.dir)),
        ("in turn", lambda w: run_steps(w.steps, 2, work.dir, w.folder, w.lock)),
    ):
        bad = work(name, lambda f: [replace(step(f, "a"), after=refuse), step(f, "b", "a")])
        with pytest.raises(UserError, match="finds too little"):
            run(bad)
        assert (bad.folder / "a").exists() and not (bad.folder / "b").exists()


def test_an_interrupt_stops_the_running_steps(work):
    """Their stamps say so, and the lock is free."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_run_parallel import *;"
        "from pathlib import Path; d = Path(sys.argv[2]) / 'one';"
        "run_parallel([FolderSteps(d, claim(d, '.mark', '--out'), [step(d, n, seconds='60') for n in 'ab'],"
        " print)], 2, d.parent)"
    )
    command = [sys.executable, "-c", code, os.path.dirname(__file__), str(work.dir)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(work.dir.glob("one/stamps/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1].decode()
    stamps = [json.loads(path.read_text()) for path in work.dir.glob("one/stamps/*.json")]
    assert len(stamps) == 2 and not any(stamp["finished"] for stamp in stamps)
    claim(work.dir / "one", ".mark", "--out").close()
