"""Scores are read from logs as mmengine writes them, and compared by detector, arm and seed."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from detdiffusion.apis.trainability import compare_trainability, markdown_tables
from detdiffusion.evaluation.trainability import compare_runs, group_runs, rarest_classes, read_run
from detdiffusion.utils.errors import UserError


def write_run(folder, score, stamp="20260101_000000", iterations=300, torn=False, **config):
    log = folder / stamp / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    classes = {"coco/pine tree_precision": score + 0.1, "coco/ball_precision": float("nan")}
    lines = [
        {"lr": 1e-3, "loss": 2.0, "iter": 50, "step": 50},
        {"coco/bbox_mAP": 0.1, "coco/bbox_mAP_50": 0.2, "step": 150},
        {"lr": 1e-3, "loss": 1.0, "iter": iterations, "step": iterations},
        {
            "coco/bbox_mAP": score,
            "coco/bbox_mAP_50": 0.6,
            "coco/bbox_mAP_s": -1.0,
            **classes,
            "step": iterations,
        },
    ]
    text = "\n".join(map(json.dumps, lines)) + ('\n{"loss": 1' if torn else "\n")
    log.write_text(text)
    if config:
        log.with_name("config.py").write_text("\n".join(f"{k} = {v!r}" for k, v in config.items()))
    return folder


def seeded(folder, score, seed, detector="ATSS", **more):
    return write_run(folder, score, model=dict(type=f"mmdet.{detector}"), randomness=dict(seed=seed), **more)


def test_last_validation_of_the_newest_log(tmp_path):
    write_run(tmp_path / "a", 0.3)
    write_run(tmp_path / "a", 0.4, stamp="20260102_000000", torn=True)
    run = read_run(tmp_path / "a")
    assert run.metrics["bbox_mAP"] == 0.4 and run.iterations == 300
    assert run.per_class == {"pine tree": pytest.approx(0.5), "ball": -1.0}
    assert run.curve == [(150, 0.1), (300, 0.4)] and run.losses == [(50, 2.0), (300, 1.0)]
    assert (run.detector, run.seed, run.train_ann) == ("", None, None)


def test_the_dumped_config_tells_detector_seed_and_training_set(tmp_path):
    (tmp_path / "train.json").write_text("{}")
    inner = dict(type="X", data_root=str(tmp_path), ann_file="train.json")
    loader = dict(dataset=dict(type="RepeatDataset", dataset=inner))
    run = read_run(seeded(tmp_path / "a", 0.3, 7, train_dataloader=loader))
    assert (run.detector, run.seed, run.train_ann) == ("ATSS", 7, tmp_path / "train.json")
    (next((tmp_path / "a").glob("*/vis_data/config.py"))).write_text("raise ValueError")
    assert read_run(tmp_path / "a").detector == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"loss": 1.0, "iter": [1]}, r"scalars\.json, line 5: 'iter' must be a number, it is \[1\]"),
        ({"loss": 1.0, "iter": 10.5}, "'iter' must be a whole number of at least 0, it is 10.5"),
        ({"coco/bbox_mAP": "0.4", "step": 300}, "'coco/bbox_mAP' must be a number, it is '0.4'"),
        ({"coco/bbox_mAP": 0.4, "coco/bbox_mAP_50": [], "step": 300}, "'coco/bbox_mAP_50' must be a number"),
        ({"coco/bbox_mAP": float("nan"), "step": 300}, "'coco/bbox_mAP' must be a number, it is nan"),
        ({"coco/bbox_mAP": 0.4, "step": -1}, "'step' must be a whole number"),
        ({"coco/bbox_mAP": 0.4, "coco/ball_precision": "x", "step": 300}, "'coco/ball_precision' must be"),
    ],
)
def test_values_that_are_no_numbers_are_named(line, message, tmp_path):
    log = next(write_run(tmp_path, 0.3).glob("*/vis_data/scalars.json"))
    log.write_text(log.read_text() + json.dumps(line) + "\n")
    with pytest.raises(UserError, match=message):
        read_run(tmp_path)


def test_what_cannot_be_read_is_noted(tmp_path):
    """Lines in the midst of a log and the dumped config; a torn last line and a full disk's zeros are normal."""
    log = next(write_run(tmp_path / "a", 0.3).glob("*/vis_data/scalars.json"))
    lines = log.read_text().splitlines()
    log.write_text("\ufeff" + "\n".join([lines[0], lines[1][:20], "[1]", *lines[2:], '{"loss": 1', "\0" * 9]))
    run = read_run(tmp_path / "a")
    assert run.metrics["bbox_mAP"] == 0.3 and len(run.losses) == 2
    assert "2 × line that is not a json object: left out (lines 2, 3)" in run.notes[0]
    assert "config.py: cannot be read, so detector, seed and data are unknown" in run.notes[1]
    compared = compare_trainability([str(tmp_path / "a")], tmp_path / "out")
    assert "2 × line that is not a json object" in compared["markdown"]
    log.unlink()
    log.mkdir()
    with pytest.raises(UserError, match="scalars.json: cannot read this log: Is a directory"):
        read_run(tmp_path / "a")


def test_a_dumped_config_of_odd_types_is_no_obstacle(tmp_path):
    odd = dict(
        model="ATSS", randomness=3, train_dataloader=[1], val_dataloader=dict(dataset=dict(ann_file=[1]))
    )
    run = read_run(write_run(tmp_path, 0.3, **odd))
    assert (run.detector, run.seed, run.train_ann, run.dataset) == ("", None, None, "")


def test_iterations_are_those_of_the_validation(tmp_path):
    """Training is logged every 50 iterations; a run may be shorter or end between two lines."""
    for end, logged in ((20, ()), (120, (50, 100))):
        log = tmp_path / str(end) / "20260101_000000/vis_data/scalars.json"
        log.parent.mkdir(parents=True)
        lines = [dict(loss=1.0, iter=i, step=i) for i in logged] + [{"coco/bbox_mAP": 0.1, "step": end}]
        log.write_text("\n".join(map(json.dumps, lines)))
        assert read_run(tmp_path / str(end)).iterations == end


def test_validations_by_epoch_are_placed_at_their_iteration(tmp_path):
    log = tmp_path / "20260101_000000/vis_data/scalars.json"
    log.parent.mkdir(parents=True)
    lines = []
    for epoch in (1, 2, 3):
        lines += [
            dict(loss=1.0 / epoch, iter=100 * epoch, step=100 * epoch),
            {"coco/bbox_mAP": 0.1 * epoch, "step": epoch},
        ]
    log.write_text("\n".join(map(json.dumps, lines)))
    run = read_run(tmp_path)
    assert [x for x, _ in run.curve] == [100, 200, 300] and run.iterations == 300


def test_compare(tmp_path):
    runs = {s: read_run(write_run(tmp_path / str(s), s)) for s in (0.30, 0.34, 0.40)}
    rows, notes = compare_runs(group_runs([("real", runs[0.30]), ("real", runs[0.34]), ("hard", runs[0.40])]))
    assert rows[0]["bbox_mAP"] == pytest.approx(0.32) and rows[0]["bbox_mAP_std"] == pytest.approx(
        0.02828, abs=1e-4
    )
    assert rows[1]["difference"] == pytest.approx(0.08) and rows[1]["bbox_mAP_std"] is None
    assert len(notes) == 1 and "3 seeds" in notes[0]
    longer = read_run(write_run(tmp_path / "long", 0.5, iterations=600))
    notes = compare_runs(group_runs([("a", longer), ("b", runs[0.30])]))[1]
    assert any("iterations" in note for note in notes)


def test_seeds_are_paired(tmp_path):
    real, hard = {0: 0.30, 1: 0.35, 2: 0.33, 5: 0.31}, {2: 0.36, 0: 0.32, 1: 0.39}
    named = [("real", read_run(seeded(tmp_path / f"r{s}", v, s))) for s, v in real.items()]
    named += [("hard", read_run(seeded(tmp_path / f"h{s}", v, s))) for s, v in hard.items()]
    row = compare_runs(group_runs(named))[0][1]
    expected = stats.ttest_1samp([hard[s] - real[s] for s in hard], 0).pvalue
    assert row["pairs"] == 3 and row["p_value"] == pytest.approx(expected)
    same = [("real", named[0][1]), ("real", named[1][1]), ("hard", named[0][1]), ("hard", named[1][1])]
    row = compare_runs(group_runs(same))[0][1]
    assert row["pairs"] == 2 and row["p_value"] is None  # no spread: no test


def test_detectors_are_compared_each_with_its_own_reference(tmp_path):
    scores = {("ATSS", "real"): 0.5, ("FCOS", "real"): 0.3, ("ATSS", "hard"): 0.52, ("FCOS", "hard"): 0.29}
    named = [(arm, read_run(seeded(tmp_path / f"{d}{arm}", s, 0, d))) for (d, arm), s in scores.items()]
    rows, _ = compare_runs(group_runs(named))
    assert [(r["detector"], r["name"]) for r in rows] == [
        ("ATSS", "real"), ("ATSS", "hard"), ("FCOS", "real"), ("FCOS", "hard"),
    ]  # fmt: skip
    assert [r["difference"] for r in rows] == pytest.approx([0, 0.02, 0, -0.01])
    table = markdown_tables(rows)
    assert "| ATSS | hard | 1 | 300 | **52.0** |" in table and "| FCOS | real | 1 | 300 | **30.0** |" in table


def write_annotations(path, counts):
    names = list(counts)
    coco = dict(
        images=[dict(id=1, file_name="a.png", width=9, height=9)],
        annotations=[],
        categories=[dict(id=k, name=n) for k, n in enumerate(names)],
    )
    for k, count in enumerate(counts.values()):
        for _ in range(count):
            key = len(coco["annotations"])
            coco["annotations"].append(dict(id=key, image_id=1, category_id=k, bbox=[1, 1, 3, 3]))
    path.write_text(json.dumps(coco))
    return str(path)


def test_rarest_classes_of_the_training_set(tmp_path):
    ann = write_annotations(tmp_path / "a.json", {"ball": 6, "pine tree": 1, "tent": 3})
    assert rarest_classes([ann], ["ball", "tent", "pine tree"], 2) == [("pine tree", 0.1), ("tent", 0.3)]


def test_tables_and_curves_are_written(tmp_path):
    ann = write_annotations(tmp_path / "a.json", {"ball": 3, "pine tree": 1})
    dirs = [f"real={seeded(tmp_path / 'r0', 0.3, 0)}", f"real={seeded(tmp_path / 'r1', 0.32, 1)}"]
    dirs += [f"hard={seeded(tmp_path / 'h0', 0.33, 0)}", f"hard={seeded(tmp_path / 'h1', 0.34, 1)}"]
    result = compare_trainability(dirs, tmp_path / "out", ann=[ann])
    text = (tmp_path / "out/comparison.md").read_text()
    assert text == result["markdown"]
    assert "| hard | 2 | 300 | **33.5 ± 0.7** |" in text and "| +2.5 |" in text
    assert "| arm | pine tree (25.0%) | ball (75.0%) |" in text and "| hard | **43.5 ± 0.7** | – |" in text
    rows = list(csv.DictReader((tmp_path / "out/classes.csv").open()))
    assert [float(r["pine tree"]) for r in rows] == pytest.approx([0.41, 0.435])
    picture = np.asarray(Image.open(tmp_path / "out/curves.png").convert("RGB"))
    for colour in ((31, 119, 180), (214, 39, 40)):  # both arms are drawn
        assert (abs(picture.astype(int) - colour).sum(axis=2) < 10).sum() > 50
    chosen = compare_trainability(dirs, tmp_path / "out", classes=["ball"])
    assert "| arm | ball |" in chosen["markdown"]
    with pytest.raises(UserError, match="no AP of cat in the logs; they have: pine tree, ball"):
        compare_trainability(dirs, tmp_path / "out", classes=["cat"])
    assert "give them by --ann" in compare_trainability(dirs, tmp_path / "out")["notes"][-1]


def test_errors(tmp_path):
    with pytest.raises(UserError, match="not found"):
        read_run(tmp_path / "none")
    with pytest.raises(UserError, match="no validation"):
        read_run(tmp_path)
    log = write_run(tmp_path / "a", 0.3) / "20260101_000000/vis_data/scalars.json"
    log.write_bytes(b"\0\xff\xfe" + log.read_bytes())  # a disk that was full
    assert read_run(tmp_path / "a").metrics["bbox_mAP"] == 0.3
    log.write_bytes(b"\xff\xfe binary")
    with pytest.raises(UserError, match="no validation"):
        read_run(tmp_path / "a")


def test_tool(tmp_path, repo_root):
    tool = [sys.executable, str(repo_root / "tools" / "compare_trainability.py")]
    dirs = [f"{n}={write_run(tmp_path / n, s)}" for n, s in (("real", 0.3), ("hard", 0.35))]
    env = {"PYTHONPATH": str(repo_root), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [*tool, *dirs, "--out", str(tmp_path / "out")], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    assert [r["bbox_mAP"] for r in rows] == [0.3, 0.35]
    table = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert table[1]["name"] == "hard" and float(table[1]["difference"]) == pytest.approx(0.05)
    assert "| hard | 1 | 300 | **35.0** |" in (tmp_path / "out" / "comparison.md").read_text()
    assert (tmp_path / "out" / "comparison.md").read_text() in done.stdout  # a log has lines of any length
    bad = subprocess.run(
        [*tool, str(tmp_path / "none"), "--out", "x"], capture_output=True, text=True, env=env
    )
    assert bad.returncode == 2 and bad.stderr.splitlines()[-1].startswith("error: ")
