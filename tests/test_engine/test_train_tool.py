"""tools/train.py, tools/test.py and tools/dist_train.sh as a user runs them, on a toy model."""

import contextlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONFIG = HERE / "toy_config.py"


def tool(name, *args, cwd, code=0):
    """Run a tool's file as the main program, in this process: a start costs seconds of imports."""
    before, folder, path = sys.argv, os.getcwd(), list(sys.path)
    sys.argv = [name, *(str(a) for a in args)]
    sys.path.insert(0, str(HERE))
    os.chdir(cwd)
    stderr = io.StringIO()
    try:
        with pytest.raises(SystemExit) as end, contextlib.redirect_stderr(stderr):
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before, path
        os.chdir(folder)
    assert end.value.code == code, stderr.getvalue()
    return stderr.getvalue()


def train(*args, cwd, code=0):
    return tool("train.py", *args, cwd=cwd, code=code)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    train(CONFIG, cwd=folder)
    return folder / "work_dirs" / "toy_config"


def test_checkpoints_load_safely_and_appear_whole(trained):
    from detdiffusion.utils.checkpoint import load_checkpoint

    assert (trained / "last_checkpoint").read_text().strip().endswith("iter_4.pth")
    assert sorted(p.name for p in trained.glob("*.pth")) == ["iter_2.pth", "iter_4.pth"]
    assert not list(trained.glob(".*.part"))
    checkpoint = load_checkpoint(trained / "iter_4.pth")
    assert set(checkpoint) >= {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers"}
    assert checkpoint["meta"]["iter"] == 4
    assert len(checkpoint["message_hub"]["log_scalars"]["train/loss"].data[0]) == 4


def test_resume_continues_exactly(trained, tmp_path):
    train(CONFIG, "--work-dir", tmp_path, "--resume", trained / "iter_2.pth", cwd=tmp_path)
    ends = [torch.load(d / "iter_4.pth", weights_only=False) for d in (trained, tmp_path)]
    torch.testing.assert_close(ends[0]["state_dict"]["linear.bias"], ends[1]["state_dict"]["linear.bias"])
    assert (tmp_path / "rank0_iter2.pt").exists() and not (tmp_path / "rank0_iter1.pt").exists()


def test_resume_without_path_finds_the_last_one_or_starts(tmp_path):
    train(CONFIG, "--work-dir", "w", "--resume", "--cfg-options", "train_cfg.max_iters=2", cwd=tmp_path)
    (tmp_path / "w" / "rank0_iter0.pt").unlink()
    train(CONFIG, "--work-dir", "w", "--resume", cwd=tmp_path)
    assert (tmp_path / "w" / "iter_4.pth").exists() and not (tmp_path / "w" / "rank0_iter0.pt").exists()


def test_resume_starts_from_load_from_where_there_is_nothing_to_resume(trained, tmp_path):
    """And a second start goes on with its own checkpoint."""
    command = [CONFIG, "--work-dir", "w", "--resume", "--cfg-options", f"load_from={trained / 'iter_4.pth'}"]
    still = ["train_cfg.max_iters=2", "optim_wrapper.optimizer.lr=0"]
    train(*command, *still, cwd=tmp_path)
    weights = [torch.load(d, weights_only=False) for d in (trained / "iter_4.pth", tmp_path / "w/iter_2.pth")]
    assert torch.equal(*(found["state_dict"]["linear.bias"] for found in weights))
    (tmp_path / "w" / "rank0_iter0.pt").unlink()
    train(*command, cwd=tmp_path)
    assert (tmp_path / "w" / "iter_4.pth").exists() and not (tmp_path / "w" / "rank0_iter0.pt").exists()


def test_resume_gets_over_what_a_killed_run_left(tmp_path):
    train(CONFIG, "--work-dir", "w", "--resume", "--cfg-options", "train_cfg.max_iters=2", cwd=tmp_path)
    work_dir = tmp_path / "w"
    (work_dir / "last_checkpoint").write_text(str(work_dir / "iter_1.pth"))  # names a file that is gone
    (work_dir / ".iter_4.pth.part").write_bytes(b"half of it")
    (work_dir / "rank0_iter0.pt").unlink()
    train(CONFIG, "--work-dir", "w", "--resume", "--cfg-options", "train_cfg.max_iters=3", cwd=tmp_path)
    assert (work_dir / "rank0_iter2.pt").exists() and not (work_dir / "rank0_iter0.pt").exists()
    assert not list(work_dir.glob(".*.part"))
    for file in work_dir.glob("*.pth"):
        file.unlink()
    (work_dir / "last_checkpoint").write_text("")
    train(CONFIG, "--work-dir", "w", "--resume", cwd=tmp_path)
    assert (work_dir / "rank0_iter0.pt").exists() and (work_dir / "iter_4.pth").exists()


def test_two_gloo_ranks_agree_with_one(tmp_path):
    options = ["--cfg-options", "train_cfg.max_iters=2"]
    train(CONFIG, "--work-dir", "one", *options, cwd=tmp_path)
    port = str(20000 + os.getpid() % 20000)
    paths = dict(PYTHONPATH=f"{HERE}:{ROOT}", PYTHON=sys.executable, PORT=port, CUDA_VISIBLE_DEVICES="")
    command = ["bash", str(ROOT / "tools/dist_train.sh"), str(CONFIG), "2", "--work-dir", "two", *options]
    result = subprocess.run(
        [*command, "train_dataloader.batch_size=2"],
        cwd=tmp_path,
        env=dict(os.environ, **paths),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for step in range(2):  # plain SGD at first: equal weights are equal gradients
        ranks = [torch.load(tmp_path / "two" / f"rank{rank}_iter{step}.pt") for rank in range(2)]
        assert torch.equal(*ranks)
        torch.testing.assert_close(ranks[0], torch.load(tmp_path / "one" / f"rank0_iter{step}.pt"))


@pytest.mark.parametrize(
    "args, message",
    [
        (["toy_confg.py"], r"config .*toy_confg.py does not exist; did you mean .*toy_config.py"),
        (["broken.py"], "cannot be read: .*"),
        ([CONFIG, "--resume", "nowhere.pth"], "checkpoint nowhere.pth does not exist"),
        ([CONFIG, "--cfg-options", "load_from=junk.pth"], "junk.pth is damaged or is not a checkpoint"),
        (
            [CONFIG, "--cfg-options", "load_from=other.pth"],
            "does not fit the model.*linear.bias.*strict_load=False",
        ),
        (
            [CONFIG, "--cfg-options", "load_from=whole.pth", "model.width=4"],
            r"whole.pth does not fit the model: 1 of another shape \(linear.weight \(1, 3\) for \(1, 4\)\)",
        ),
        ([CONFIG, "--cfg-options", "a"], "'a' is not of the form key=value"),
        ([CONFIG, "--cfg-options", "model.fail=True"], "the toy model was told to fail"),
        ([CONFIG, "--cfg-options", "model.type=Nothing"], "Nothing is not in the .* registry"),
        ([CONFIG, "--cfg-options", "model.nope=1"], r"model.nope: model \(ToyModel\) has no 'nope'"),
        ([CONFIG, "--cfg-options", "train_dataloader.dataset.fail=True"], "toy item 0 is broken"),
        (
            [CONFIG, "--cfg-options", "train_dataloader.dataset.fail=True", "train_dataloader.num_workers=1"],
            "toy item 0 is broken",
        ),
        ([CONFIG, "--launcher", "pytorch"], "torchrun"),
    ],
)
def test_bad_input_is_one_message(args, message, tmp_path):
    (tmp_path / "toy_config.py").write_text(CONFIG.read_text())
    (tmp_path / "broken.py").write_text("model = dict(type=")
    (tmp_path / "junk.pth").write_bytes(b"no checkpoint at all")
    torch.save(dict(state_dict={"linear.weight": torch.zeros(1, 3)}), tmp_path / "other.pth")
    whole = {"linear.weight": torch.zeros(1, 3), "linear.bias": torch.zeros(1)}
    torch.save(dict(state_dict=whole), tmp_path / "whole.pth")
    stderr = train(*args, cwd=tmp_path, code=2)
    assert re.search(f"^error: .*{message}", stderr, re.MULTILINE | re.DOTALL), stderr
    assert "Traceback" not in stderr


def test_test_tool_reports_what_is_missing(trained, tmp_path):
    stderr = tool("test.py", CONFIG, trained / "iter_4.pth", cwd=tmp_path, code=2)
    assert stderr.startswith("error: ") and "test_dataloader" in stderr


def test_test_tool_writes_metrics(trained, tmp_path):
    config = tmp_path / "with_test.py"
    config.write_text(
        f"_base_ = [{str(CONFIG)!r}]\n"
        "test_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(type='ToyData'),\n"
        "    sampler=dict(type='DefaultSampler', shuffle=False))\n"
        "test_evaluator = dict(type='ToyMetric')\ntest_cfg = dict(type='TestLoop')\n"
    )
    out = tmp_path / "out" / "metrics.json"
    tool("test.py", config, trained / "iter_4.pth", "--out", out, cwd=tmp_path)
    assert json.loads(out.read_text()) == {"toy/count": 16.0}


def test_an_average_of_another_model_is_one_message(tmp_path):
    """EMAHook loads it before the model's weights are compared."""
    text = f"_base_ = {str(CONFIG)!r}\ncustom_hooks = [dict(type='EMAHook')]\ntrain_cfg = dict(max_iters=1)\n"
    (tmp_path / "mine.py").write_text(text)
    train("mine.py", "--work-dir", "w", cwd=tmp_path)
    options = ["--cfg-options", "model.width=4"]
    stderr = train("mine.py", "--work-dir", "w", "--resume", *options, cwd=tmp_path, code=2)
    assert re.search(r"^error: .*iter_1.pth does not fit the model: 1 of another shape", stderr, re.MULTILINE)
    assert "Traceback" not in stderr
