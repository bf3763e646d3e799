"""The paper's tables: its figures as its text has them, ours in the right place, 'not run' everywhere else."""

import csv
import json
import re
import subprocess
import sys

import pytest

from detdiffusion.evaluation.paper_figures import TABLES
from detdiffusion.evaluation.paper_tables import NOT_RUN, cells_of, collect, normalise, to_csv, to_markdown
from detdiffusion.evaluation.results import read_result_file, result_file
from detdiffusion.evaluation.trainability import compare_runs, group_runs, read_run, result_of
from detdiffusion.utils.errors import UserError


def write(path, kind, methods, dataset="MiniScenes val", protocol="prompted objects, atss", **more):
    content = result_file(kind, dataset, dict(name=protocol, **more), methods)
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def fidelity(tmp_path):
    methods = [
        dict(
            method="real",
            metrics=dict(bbox_mAP=0.7, bbox_mAP_50=0.95, bbox_mAP_75=0.8),
            distances=dict(lama_tf=dict(fid=12.5, images=5, bound="halves of 5 and 5 images")),
        ),
        dict(
            method="easy",
            metrics=dict(bbox_mAP=0.3111, bbox_mAP_50=0.8, bbox_mAP_75=-1.0, frechet=1.05),
            distances=dict(lama_tf=dict(fid=19.664, images=10)),
        ),
        dict(method="my model", metrics=dict(bbox_mAP=0.1)),
    ]
    return write(tmp_path / "fidelity.json", "fidelity", methods)


def line_of(tables, number, key):
    (found,) = [line for line in tables[number] if line.row.key == key]
    return found


def test_printed_figures_are_the_papers(shared_dir):
    """Every figure of a row stands, in order, in that row of the paper's text."""
    text = (shared_dir / "paper/detdiffusion_paper.md").read_text()
    rows = [re.findall(r"(?<![\w.])\d+\.\d+|(?<=\t)-(?=\t|\n|$)", line + "\n") for line in text.splitlines()]
    printed = [[None if cell == "-" else float(cell) for cell in row] for row in rows if row]
    for table in TABLES:
        for row in table.rows:
            if any(value is not None for value in row.values):
                assert list(row.values) in printed, (table.number, row.key)


def test_methods_find_their_rows(fidelity):
    tables, notes = collect([fidelity])
    easy = line_of(tables, 1, "easy")
    assert easy.ours == pytest.approx({"FID": 19.664, "mAP": 31.11, "AP50": 80.0})
    assert (easy.dataset, easy.protocol) == ("MiniScenes val", "lama_tf; prompted objects, atss")
    real = line_of(tables, 1, "real")  # the bound, and what it is
    assert real.ours["FID"] == 12.5
    assert real.protocol == "lama_tf, halves of 5 and 5 images; prompted objects, atss"
    cells = cells_of(TABLES[0], easy)
    assert cells[1:9] == ["19.66", "19.66", "31.2", "31.1", "40.2", "80.0", "35.6", NOT_RUN]
    bound = cells_of(TABLES[0], line_of(tables, 1, "real"))
    assert bound[1:5] == ["–", "12.50", "–", "70.0"]
    assert len(notes) == 1 and "'my model'" in notes[0]
    for number, lines in tables.items():
        for line in lines:
            if (number, line.row.key) not in ((1, "easy"), (1, "real")):
                assert (
                    set(cells_of(TABLES[number - 1], line)[2:-2:2]) == {NOT_RUN} and line.dataset == NOT_RUN
                )


def test_trainings_by_detector(tmp_path):
    methods = [
        dict(
            method="real_only",
            metrics=dict(bbox_mAP=0.3),
            per_class={"train": 0.5, "tv": 0.4},
            detector="FasterRCNN",
        ),
        dict(method="real + hard", metrics=dict(bbox_mAP=0.32), detector="FasterRCNN"),
        dict(method="hard", metrics=dict(bbox_mAP=0.33), detector="FCOS"),
    ]
    file = write(tmp_path / "comparison.json", "trainability", methods)
    tables, notes = collect([file, file])
    assert notes == []
    assert line_of(tables, 2, "real").ours == pytest.approx({"mAP": 30.0})
    assert line_of(tables, 2, "hard").ours == pytest.approx({"mAP": 32.0})
    assert line_of(tables, 3, "real").ours == pytest.approx({"mAP": 30.0, "train": 50.0, "tv": 40.0})
    assert line_of(tables, 5, "fcos/hard").ours == pytest.approx({"mAP": 33.0})
    assert line_of(tables, 5, "fcos/real").ours == line_of(tables, 5, "atss/hard").ours == {}


def test_from_work_dirs_to_tables(tmp_path):
    """Logs and the config in a work dir, as mmengine leaves them, through tools/compare_trainability.py's file."""
    named = []
    for name, ap in (("real", 0.345), ("hard", 0.354)):
        folder = tmp_path / name
        (folder / "1/vis_data").mkdir(parents=True)
        entry = {"coco/bbox_mAP": ap, "coco/bbox_mAP_50": 0.5, "coco/tv_precision": 0.4, "step": 90}
        (folder / "1/vis_data/scalars.json").write_text(json.dumps(entry) + "\n")
        text = "model = dict(type='mmdet.FasterRCNN')\n"
        text += "val_dataloader = dict(dataset=dict(data_root='coco/', ann_file='v.json'))\n"
        (folder / "1/vis_data/config.py").write_text(text)
        named.append((name, read_run(folder)))
    arms = group_runs(named)
    rows, notes = compare_runs(arms)
    (tmp_path / "comparison.json").write_text(json.dumps(result_of(rows, notes, arms)))
    tables, _ = collect([str(tmp_path / "comparison.json")])
    line = line_of(tables, 3, "hard")
    assert line.ours == pytest.approx({"mAP": 35.4, "tv": 40})
    assert (line.dataset, line.protocol) == ("coco/v.json", "90 iterations, at least 1 seed an arm")
    assert line_of(tables, 2, "real").ours == pytest.approx({"mAP": 34.5, "AP50": 50})


def test_several_files_stand_below_each_other(fidelity, tmp_path):
    other = write(
        tmp_path / "yolo.json",
        "yolo_score",
        [dict(method="DetDiffusion_easy", metrics=dict(bbox_mAP=0.2))],
        "COCO",
    )
    tables, _ = collect([fidelity, other])
    lines = [line for line in tables[1] if line.row.key == "easy"]
    assert [line.dataset for line in lines] == ["MiniScenes val", "COCO"]
    assert lines[1].ours == pytest.approx({"mAP": 20.0})


@pytest.mark.parametrize("order", [("modern", "lama_tf"), ("lama_tf", "modern")])
def test_the_papers_fid_is_that_of_its_protocol(tmp_path, order):
    fids = dict(modern=dict(fid=5.0), lama_tf=dict(fid=20.0))
    entry = dict(
        method="DetDiffusion_easy", metrics=dict(bbox_mAP=0.3), distances={k: fids[k] for k in order}
    )
    tables, _ = collect([write(tmp_path / "f.json", "fidelity", [entry])])
    assert line_of(tables, 1, "easy").ours == pytest.approx({"FID": 20.0, "mAP": 30.0})


def test_assigned_rows(fidelity, tmp_path):
    geo = write(tmp_path / "geo.json", "fidelity", [dict(method="origin", metrics=dict(bbox_mAP=0.25))])
    tables, _ = collect(
        [], {"4/attr": fidelity, "4/baseline": geo, "table7/without-dice": f"{fidelity}#my model"}
    )
    assert line_of(tables, 4, "attr").ours == pytest.approx({"FID": 19.664, "mAP": 31.11})
    assert line_of(tables, 4, "baseline").ours["mAP"] == pytest.approx(25)
    assert line_of(tables, 7, "without-dice").ours == pytest.approx({"mAP": 10})
    for place, source, message in (
        ("8/x", fidelity, "tables 1 to 7"),
        ("7/x", fidelity, "table 7 has the rows full, "),
        ("7/full", f"{fidelity}#none", "has the methods real, easy, my model"),
        ("2/real", f"{fidelity}#real", "takes trainability results"),
    ):
        with pytest.raises(UserError, match=message):
            collect([], {place: source})


def test_names():
    names = ("DetDiffusion_easy", "real + hard", "real_plus_hard", "L.Diffusion", "DetDiffusion", "real-only")
    assert [normalise(n) for n in names] == [
        "easy",
        "realplushard",
        "realplushard",
        "ldiffusion",
        "origin",
        "realonly",
    ]


def test_broken_files(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(UserError, match="not a result file"):
        read_result_file(tmp_path / "a.json")
    (tmp_path / "b.json").write_text('{"kind": "fidelity", "methods": [{"method": "x"}]}')
    with pytest.raises(UserError, match=r"methods\[0\] lacks"):
        read_result_file(tmp_path / "b.json")
    with pytest.raises(ValueError, match="kind 'speed'"):
        result_file("speed", "d", dict(name="p"), [])


def test_tool_writes_three_forms(fidelity, tmp_path, repo_root):
    command = [
        sys.executable,
        str(repo_root / "tools/paper_tables.py"),
        fidelity,
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run([*command, "--assign", f"7/full={fidelity}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nothing was run for table 2, 3, 4, 5, 6" in done.stdout
    text = (tmp_path / "out/tables.md").read_text()
    assert text.count("## Table ") == 7 and "| DetDiffusion easy | 19.66 | 19.66 | 31.2 | 31.1 |" in text
    rows = list(csv.DictReader((tmp_path / "out/tables.csv").open()))
    (value,) = [r for r in rows if (r["table"], r["row"], r["metric"]) == ("7", "DetDiffusion", "mAP")]
    assert (value["paper"], value["ours"], value["dataset"]) == ("31.2", "31.11", "MiniScenes val")
    assert sum(r["ours"] == NOT_RUN for r in rows) > 100
    assert "<td>not run</td>" in (tmp_path / "out/tables.html").read_text()
    bad = subprocess.run([*command, "--assign", "7/full=none.json"], capture_output=True, text=True)
    assert bad.returncode == 2 and "none.json: no such result file" in bad.stderr
    tables, _ = collect([fidelity])
    assert to_csv(tables) and to_markdown(tables)
