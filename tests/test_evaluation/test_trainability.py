"""Scores are read from logs as mmengine writes them."""

import csv
import json
import subprocess
import sys

import pytest

from detdiffusion.evaluation.trainability import compare_runs, read_run
from detdiffusion.utils.errors import UserError


def write_run(folder, score, stamp="20260101_000000", iterations=300, torn=False):
    log = folder / stamp / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    lines = [
        {"lr": 1e-3, "loss": 2.0, "iter": 50, "step": 50},
        {"coco/bbox_mAP": 0.1, "coco/bbox_mAP_50": 0.2, "step": 150},
        {"lr": 1e-3, "loss": 1.0, "iter": iterations, "step": iterations},
        {"coco/bbox_mAP": score, "coco/bbox_mAP_50": 0.6, "coco/bbox_mAP_s": -1.0, "step": iterations},
    ]
    text = "\n".join(map(json.dumps, lines)) + ('\n{"loss": 1' if torn else "\n")
    log.write_text(text)
    return folder


def test_last_validation_of_the_newest_log(tmp_path):
    write_run(tmp_path / "a", 0.3)
    write_run(tmp_path / "a", 0.4, stamp="20260102_000000", torn=True)
    run = read_run(tmp_path / "a")
    assert run.metrics["bbox_mAP"] == 0.4 and run.iterations == 300


def test_iterations_are_those_of_the_validation(tmp_path):
    """Training is logged every 50 iterations; a run may be shorter or end between two lines."""
    for end, logged in ((20, ()), (120, (50, 100))):
        log = tmp_path / str(end) / "20260101_000000/vis_data/scalars.json"
        log.parent.mkdir(parents=True)
        lines = [dict(loss=1.0, iter=i, step=i) for i in logged] + [{"coco/bbox_mAP": 0.1, "step": end}]
        log.write_text("\n".join(map(json.dumps, lines)))
        assert read_run(tmp_path / str(end)).iterations == end


def test_compare(tmp_path):
    runs = {s: read_run(write_run(tmp_path / str(s), s)) for s in (0.30, 0.34, 0.40)}
    rows, notes = compare_runs({"real": [runs[0.30], runs[0.34]], "hard": [runs[0.40]]})
    assert rows[0]["bbox_mAP"] == pytest.approx(0.32) and rows[0]["bbox_mAP_std"] == pytest.approx(
        0.02828, abs=1e-4
    )
    assert rows[1]["difference"] == pytest.approx(0.08) and rows[1]["bbox_mAP_std"] is None
    assert len(notes) == 1 and "3 seeds" in notes[0]
    longer = read_run(write_run(tmp_path / "long", 0.5, iterations=600))
    assert any("iterations" in note for note in compare_runs({"a": [longer], "b": [runs[0.30]]})[1])


def test_errors(tmp_path):
    with pytest.raises(UserError, match="not found"):
        read_run(tmp_path / "none")
    with pytest.raises(UserError, match="no validation"):
        read_run(tmp_path)


def test_tool(tmp_path, repo_root):
    tool = [sys.executable, str(repo_root / "tools" / "compare_trainability.py")]
    dirs = [f"{n}={write_run(tmp_path / n, s)}" for n, s in (("real", 0.3), ("hard", 0.35))]
    env = {"PYTHONPATH": str(repo_root), "PATH": ""}
    done = subprocess.run(
        [*tool, *dirs, "--out", str(tmp_path / "out")], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    assert [r["bbox_mAP"] for r in rows] == [0.3, 0.35]
    table = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert table[1]["name"] == "hard" and float(table[1]["difference"]) == pytest.approx(0.05)
    assert "| hard | 1 | 300 | 35.0 |" in (tmp_path / "out" / "comparison.md").read_text()
    bad = subprocess.run(
        [*tool, str(tmp_path / "none"), "--out", "x"], capture_output=True, text=True, env=env
    )
    assert bad.returncode == 2 and bad.stderr.startswith("error: ")
