"""A training's start: a screenful that says what runs; the whole config and environment are in files."""

import re

import pytest
from test_train_tool import CONFIG, train

ROWS = "config|work dir|training data|validation data|model|optimizer|schedule|device|seed|starts"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Work dir and terminal of a training with validation."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("start")
    (folder / "config.py").write_text(
        f"_base_ = [{str(CONFIG)!r}]\n"
        "val_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(type='ToyData'),\n"
        "    sampler=dict(type='DefaultSampler', shuffle=False))\n"
        "val_evaluator = dict(type='ToyMetric')\nval_cfg = dict(type='ValLoop')\n"
        "optim_wrapper = dict(accumulative_counts=2)\n"
    )
    with contextlib.redirect_stdout(io.StringIO()) as terminal:
        train(folder / "config.py", "--work-dir", folder / "w", cwd=folder)
    return folder / "w", terminal.getvalue()


def rows(text):
    return dict(re.findall(rf"^  ({ROWS}) +(.*)$", text, re.MULTILINE))


def test_the_screen_says_what_matters(run):
    work_dir, terminal = run
    found = rows(terminal)
    assert set(found) == set(ROWS.split("|"))
    assert found["config"].endswith("config.py") and str(work_dir) in found["work dir"]
    assert found["training data"] == "ToyData of 16 samples, 0 workers, batches of 4, 2 batches a step"
    assert found["validation data"] == "ToyData of 16 samples, 0 workers"
    assert found["model"] == "ToyModel, 0.00 M parameters, 0.00 M of them trained"
    assert found["optimizer"] == "SGD by OptimWrapper, learning rate 0.1"
    assert found["schedule"] == "4 iterations, CosineAnnealingLR, checkpoint every 2 iterations"
    assert found["device"] == "cpu, 1 thread on the CPU" and found["seed"] == "0"
    assert found["starts"] == "from the beginning"
    start = terminal[: terminal.index("(train)")]
    assert len(start.splitlines()) <= 40 and "System environment" not in terminal
    assert not re.search("warn|deprecat", start, re.IGNORECASE)


def test_the_rest_is_in_files(run):
    work_dir, _ = run
    assert "max_iters=4" in (work_dir / "config.py").read_text()
    (log,) = work_dir.glob("*/*.log")
    text = log.read_text()
    for part in ("System environment:", "PyTorch: ", "Config:\n", "Hooks will be executed", "Training:\n"):
        assert part in text
    assert f"hooks in {log.parent.name}/" in text


def test_resuming_says_where_from(run, capsys):
    work_dir, _ = run
    config = work_dir.parent / "config.py"
    options = ["--cfg-options", "train_cfg.max_iters=6"]
    train(config, "--work-dir", work_dir, "--resume", *options, cwd=work_dir.parent)
    assert rows(capsys.readouterr().out)["starts"] == "resumed after iteration 4"
    options = ["--cfg-options", f"load_from={work_dir / 'iter_2.pth'}"]
    train(config, "--work-dir", work_dir / "new", *options, cwd=work_dir.parent)
    assert rows(capsys.readouterr().out)["starts"] == f"from the weights of {work_dir / 'iter_2.pth'}"
