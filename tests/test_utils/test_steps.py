"""Steps with stamps: nothing is done twice, everything that depends on a change is."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detdiffusion.utils.digests import config_digest
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import Step, StepRunner
from detdiffusion.utils.work_folder import seen_from

# Appends a line to a record and writes the sum of its inputs.
SCRIPT = """
import sys, pathlib
out, *numbers = sys.argv[1:]
with open("record.txt", "a") as record: print(out, file=record)
total = sum(int(pathlib.Path(n).read_text()) if pathlib.Path(n).exists() else int(n) for n in numbers)
print("total", total)
pathlib.Path(out).write_text(str(total))
"""


@pytest.fixture
def chain(work_dir):
    (work_dir / "add.py").write_text(SCRIPT)
    said = []
    runner = StepRunner(work_dir, work_dir / "w", say=said.append)

    def run(first="1"):
        a, b, c = (work_dir / name for name in "abc")
        steps = [
            Step("a", "first", ("add.py", "a", first), outputs=(a,), remove=(a,)),
            Step("b", "second", ("add.py", "b", "5"), outputs=(b,), remove=(b,)),
            Step("c", "sum", ("add.py", "c", "a", "b"), inputs=(a, b), outputs=(c,), remove=(c,)),
        ]
        (work_dir / "record.txt").write_text("")
        said.clear()
        for step in steps:
            runner.run(step)
        return (work_dir / "record.txt").read_text().split()

    run.said, run.dir = said, work_dir
    return run


def test_other_code_is_mentioned_but_redoes_nothing(chain):
    chain()
    for stamp in (chain.dir / "w/stamps").glob("[ab].json"):
        data = json.loads(stamp.read_text())
        stamp.write_text(json.dumps({**data, "code": "0" * 64}))
    assert chain() == []
    mentioned = ["by another version of the code" in line for line in chain.said]
    assert mentioned == [True, True, False]


def test_finished_steps_are_not_redone(chain):
    assert chain() == ["a", "b", "c"] and (chain.dir / "c").read_text() == "6"
    assert chain() == [] and all("done before" in line for line in chain.said)


def test_exactly_what_depends_on_a_change_is_redone(chain):
    chain()
    assert chain(first="2") == ["a", "c"] and (chain.dir / "c").read_text() == "7"
    (chain.dir / "b").write_text("50")  # an input of c, changed by hand
    assert chain(first="2") == ["c"] and (chain.dir / "c").read_text() == "52"
    (chain.dir / "c").unlink()
    assert chain(first="2") == ["c"]
    (chain.dir / "w/stamps/b.json").write_text("{ torn")
    assert chain(first="2") == ["b", "c"] and (chain.dir / "c").read_text() == "7"


def test_without_a_stamp_nothing_is_continued(chain):
    """What a lost stamp leaves was made by nobody knows which command."""
    (chain.dir / "leave.py").write_text(
        "import pathlib\nout = pathlib.Path('d/out')\nout.parent.mkdir(exist_ok=True)\n"
        "out.write_text('continued' if pathlib.Path('d/part').exists() else 'new')\n"
        "pathlib.Path('d/part').touch()\n"
    )
    out = chain.dir / "d/out"
    step = Step("d", "", ("leave.py",), outputs=(out,), remove=(chain.dir / "d",))
    runner = StepRunner(chain.dir, chain.dir / "w", say=lambda _: None)
    for _ in range(2):
        runner.run(step)
        assert out.read_text() == "new"
        (chain.dir / "w/stamps/d.json").unlink()


def test_what_follows_a_step_follows_it_each_time(chain):
    runner, after = StepRunner(chain.dir, chain.dir / "w", say=lambda _: None), []
    step = Step(
        "e", "", ("add.py", "e", "1"), outputs=(chain.dir / "e",), after=lambda: after.append("after")
    )
    assert runner.seconds(step) is None
    runner.run(step)
    runner.run(step)
    assert after == ["after"] * 2


def test_seconds_are_those_of_a_step_as_it_is_now(chain):
    chain()
    runner, out = StepRunner(chain.dir, chain.dir / "w", say=lambda _: None), chain.dir / "c"
    inputs = (chain.dir / "a", chain.dir / "b")
    step = Step("c", "sum", ("add.py", "c", "a", "b"), inputs=inputs, outputs=(out,), remove=(out,))
    assert runner.seconds(step) > 0
    inputs[0].write_text("100")
    assert runner.seconds(step) is None
    inputs[0].write_text("1")
    assert runner.seconds(step) > 0
    inputs[1].unlink()
    assert runner.seconds(step) is None


def test_configs_of_a_package_are_inputs_too(work_dir):
    """As tools take them: mmdet::NAME."""
    (work_dir / "add.py").write_text(SCRIPT)
    runner = StepRunner(work_dir, work_dir / "w", say=lambda _: None)
    step = Step("a", "", ("add.py", "a", "1"), configs=("mmdet::atss/atss_r50_fpn_1x_coco.py",))
    other = Step(
        "a", "", ("add.py", "a", "1"), configs=("mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",)
    )
    assert runner.key(step) != runner.key(other)


def test_a_path_has_one_spelling(work_dir, monkeypatch):
    """Commands do not depend on where a tool is called, and a run's steps are not made again."""
    (work_dir / "inner").mkdir()
    for place, path in (
        (work_dir, "w/x"),
        (work_dir, "./w/../w/x"),
        (work_dir, str(work_dir / "w/x")),
        (work_dir / "inner", "../w/x"),
    ):
        monkeypatch.chdir(place)
        assert seen_from(work_dir, path) == Path("w/x")
    monkeypatch.chdir(work_dir / "inner")
    outside = work_dir.parent / "elsewhere"
    for path in ("../../elsewhere", str(outside)):
        assert seen_from(work_dir, path) == outside
    with pytest.raises(UserError, match="must not contain commas"):
        seen_from(work_dir, "a,b")


def test_stamp_and_log(chain):
    chain()
    stamp = json.loads((chain.dir / "w/stamps/c.json").read_text())
    assert stamp["command"] == ["python", "add.py", "c", "a", "b"] and stamp["finished"]
    assert 0 < stamp["seconds"] < 30
    assert (chain.dir / "w/logs/c.log").read_text() == "total 6\n"


def test_a_failure_says_what_and_where(work_dir):
    (work_dir / "fail.py").write_text("import sys; print('out of cheese'); sys.exit(3)")
    runner = StepRunner(work_dir, work_dir / "w", say=lambda _: None)
    with pytest.raises(UserError, match="step f failed with status 3(.|\n)*f.log(.|\n)*out of cheese"):
        runner.run(Step("f", "", ("fail.py",)))
    (work_dir / "fail.py").write_text(
        "import sys; print('a table\\nerror: two cheeses\\nwarning: old'); sys.exit(1)"
    )
    with pytest.raises(UserError, match="g.log.:\n    error: two cheeses\n    warning: old\nRun the same"):
        runner.run(Step("g", "", ("fail.py",)))
    (work_dir / "fail.py").write_text("")
    with pytest.raises(UserError, match="did not write .*nothing"):
        runner.run(Step("f", "", ("fail.py",), outputs=(work_dir / "nothing",)))
    with pytest.raises(UserError, match="input .*gone is missing"):
        runner.run(Step("f", "", ("fail.py",), inputs=(work_dir / "gone",)))


def test_interrupted_work_is_continued_with_its_seconds(work_dir, repo_root):
    """A SIGINT to the parent ends the child too; the next run finds what it left."""
    (work_dir / "slow.py").write_text(
        "import pathlib, time\n"
        "part, out = pathlib.Path('d/part'), pathlib.Path('d/out')\n"
        "if part.exists(): out.write_text('continued')\n"
        "else:\n    part.parent.mkdir(); part.write_text('half'); time.sleep(60)\n"
    )
    parent = (
        "import sys; from pathlib import Path\n"
        "from detdiffusion.utils.steps import Step, StepRunner\n"
        "d = Path('d'); step = Step('s', 'slow', ('slow.py',), outputs=(d / 'out',), remove=(d,))\n"
        "StepRunner(Path('.'), Path('w')).run(step)\n"
    )
    env = dict(os.environ, PYTHONPATH=str(repo_root))
    child = subprocess.Popen(
        [sys.executable, "-c", parent],
        env=env,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored where tests run in the background
    )
    deadline = time.monotonic() + 60
    while not (work_dir / "d/part").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=180) != 0
    stamp = json.loads((work_dir / "w/stamps/s.json").read_text())
    assert not stamp["finished"] and stamp["seconds"] > 0.1
    result = subprocess.run(
        [sys.executable, "-c", parent], env=env, capture_output=True, text=True, check=True
    )
    assert "continues after" in result.stdout and (work_dir / "d/out").read_text() == "continued"
    assert json.loads((work_dir / "w/stamps/s.json").read_text())["seconds"] > stamp["seconds"]


def test_config_digest_is_of_the_content(work_dir):
    (work_dir / "base.py").write_text("a = 1\n")
    (work_dir / "one.py").write_text("_base_ = 'base.py'\nb = dict(c=[1, 2])\n")
    first = config_digest(work_dir / "one.py")
    (work_dir / "one.py").write_text("# a remark\n_base_ = 'base.py'\nb = dict(c=[1, 2])\n")
    assert config_digest(work_dir / "one.py") == first
    (work_dir / "base.py").write_text("a = 2\n")
    assert config_digest(work_dir / "one.py") != first
    with pytest.raises(UserError, match="none.py does not exist"):
        config_digest(work_dir / "none.py")
