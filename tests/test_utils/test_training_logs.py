"""Logs of a training that was continued, killed or counted by epochs."""

import json

import pytest

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.training_logs import TrainingLogs


def write_log(folder, name, lines):
    path = folder / name / "vis_data/scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def line(i, a):
    return dict(iter=i, loss=a + 1, loss_a=a, lr=0.1, time=3.0)


def test_losses_of_a_continued_training(tmp_path):
    write_log(tmp_path, "20260101_000000", [line(50, 4.0), line(100, 3.0), line(150, 9.0)])
    validation = {"coco/bbox_mAP": 0.5, "step": 0}
    write_log(tmp_path, "20260101_000100", [line(150, 2.0), line(200, float("nan")), validation, '{"torn'])
    logs = TrainingLogs.read(tmp_path)
    losses = logs.losses()
    assert losses["loss_a"] == [(50, 4.0), (100, 3.0), (150, 2.0)] and set(losses) == {"loss", "loss_a"}
    assert len(logs.files) == 2 and logs.notes == []
    assert [entry.iteration for entry in logs.entries] == [50, 100, 150, 150, 200, 200]
    assert TrainingLogs.read(tmp_path / "nothing").losses() == {}


def test_lines_that_are_no_entries_are_noted(tmp_path):
    log = write_log(tmp_path, "a", ["\ufeff" + json.dumps(line(1, 1.0)), "[1]", "{", line(2, 2.0), "\0\0\0"])
    logs = TrainingLogs.read(tmp_path)
    assert [entry.line for entry in logs.entries] == [1, 4]
    assert logs.notes == [f"{log}: 2 × line that is not a json object: left out (lines 2, 3)"]


@pytest.mark.parametrize("value", [[1], "50", None, -1, 1.5, True])
def test_an_iteration_that_is_none_is_named(value, tmp_path):
    log = write_log(tmp_path, "a", [line(1, 1.0), dict(loss=1.0, iter=value)])
    with pytest.raises(UserError, match=f"{log}, line 2: 'iter' must be a "):
        TrainingLogs.read(tmp_path)


def test_losses_that_are_no_numbers_are_left_out(tmp_path):
    write_log(tmp_path, "a", [dict(loss="high", iter=1), dict(loss=2.0, step=2), dict(loss_b=1.0, iter=3)])
    assert TrainingLogs.read(tmp_path).losses() == {"loss": [(2, 2.0)]}
