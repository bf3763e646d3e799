"""A resumed training whose epochs have another number of steps says so, and how to make them equal."""

import json

import pytest
from test_train_tool import CONFIG, train

EPOCHS = """
train_cfg = dict(_delete_=True, type="ResumableEpochLoop", max_epochs=4)
train_dataloader = dict(sampler=dict(type="SeededSampler", shuffle=True))
param_scheduler = [dict(type="CosineAnnealingLR", begin=0, end=4, eta_min=0.0, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=dict(interval=1, by_epoch=True))
randomness = dict(seed=0)
"""


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """Two of four epochs, each of 4 steps of 4 images."""
    folder = tmp_path_factory.mktemp("epochs")
    (folder / "config.py").write_text(f"_base_ = [{str(CONFIG)!r}]\n{EPOCHS}")
    train(folder / "config.py", "--work-dir", folder / "w", cwd=folder)
    return folder


def resumed(half, folder, capsys, *options):
    """Log of the other two epochs, in one line, and their learning rates."""
    arguments = ("--work-dir", folder, "--resume", half / "w" / "epoch_2.pth")
    train(half / "config.py", *arguments, *(("--cfg-options", *options) if options else ()), cwd=folder)
    (path,) = folder.glob("*/vis_data/scalars.json")
    rates = [row["lr"] for row in map(json.loads, path.read_text().splitlines()) if "lr" in row]
    return " ".join(capsys.readouterr().out.split()), rates


def test_it_says_which_batch_makes_the_schedule_fit(half, tmp_path, capsys):
    log, rates = resumed(half, tmp_path, capsys, "train_dataloader.batch_size=2")
    assert "an epoch has 8 steps, but 4 in the checkpoint" in log
    assert "will end before the last epoch" in log
    assert "Set train_dataloader.batch_size=4 for 4 images a step" in log
    assert len(rates) == 16 and rates[7] > 0 and max(rates[8:]) < 1e-3  # what the warning is about


def test_larger_steps_cut_the_schedule_off(half, tmp_path, capsys):
    log, rates = resumed(half, tmp_path, capsys, "train_dataloader.batch_size=8")
    assert "an epoch has 2 steps, but 4 in the checkpoint" in log and "will end after the last epoch" in log
    assert min(rates) > 0.01


def test_equal_steps_need_no_warning(half, tmp_path, capsys):
    log, rates = resumed(half, tmp_path, capsys)
    assert "learning-rate schedule" not in log and len(rates) == 8


def test_a_schedule_that_counts_epochs_needs_no_warning(half, tmp_path, capsys):
    (tmp_path / "config.py").write_text(
        (half / "config.py").read_text().replace("convert_to_iter_based=True", "by_epoch=True")
    )
    for options in ((), ("--resume", "w/epoch_2.pth", "--cfg-options", "train_dataloader.batch_size=2")):
        train("config.py", "--work-dir", "w", *options, cwd=tmp_path)
    assert "learning-rate schedule" not in " ".join(capsys.readouterr().out.split())
