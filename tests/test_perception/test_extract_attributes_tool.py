"""tools/extract_attributes.py: real photographs' annotations, exit codes and messages."""

import json
import runpy
import subprocess
import sys

import pytest

NAMES = {1: "cat", 2: "dog", 3: "sky"}


def image(i):
    return {"id": i, "file_name": f"{i}.png", "width": 100, "height": 100}


def coco(annotations, categories=NAMES):
    return {
        "images": [image(1), image(2)],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "bbox": b, "iscrowd": 0} for k, i, c, b in annotations
        ],
        "categories": [{"id": c, "name": n} for c, n in categories.items()],
    }


THINGS = [(1, 1, 1, [0, 0, 50, 50]), (2, 1, 2, [50, 50, 50, 50]), (3, 2, 1, [10, 10, 20, 20])]
STUFF = [(4, 1, 3, [0, 0, 100, 30])]
RESULTS = [
    {"image_id": 1, "category_id": 2, "bbox": [0, 0, 50, 48], "score": 0.9},
    {"image_id": 1, "category_id": 2, "bbox": [52, 50, 48, 50], "score": 0.8},
    {"image_id": 2, "category_id": 1, "bbox": [60, 60, 20, 20], "score": 0.9},
]


@pytest.fixture
def files(work_dir):
    for name, data in (
        ("things.json", coco(THINGS, {1: "cat", 2: "dog"})),
        ("stuff.json", coco(STUFF)),
        ("results.json", RESULTS),
    ):
        (work_dir / name).write_text(json.dumps(data))
    return work_dir


@pytest.fixture
def tool(repo_root, monkeypatch, capsys):
    """Runs the tool in this process as the shell would; returns (exit status, stdout, stderr)."""

    def run(*args):
        path = str(repo_root / "tools" / "extract_attributes.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(path, run_name="__main__")
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return run


def words(folder, name="a.json"):
    return json.loads((folder / name).read_text())["attributes"]


BASE = ("--predictions", "results.json", "--ann", "things.json", "--ann", "stuff.json", "--out", "a.json")


def test_easy_hard_and_background(files, tool):
    status, out, err = tool(*BASE)
    assert (status, err) == (0, "")
    assert words(files) == {"1": "easy", "2": "easy", "3": "hard", "4": "background"}
    assert "background, since the detector does not know these classes: sky" in out
    info = json.loads((files / "a.json").read_text())["info"]
    assert info["counts"] == {"images": 2, "predictions": 3, "easy": 2, "hard": 1, "background": 1}
    assert info["nameable"] == ["cat", "dog"] and not info["class_aware"]
    assert [entry["path"] for entry in info["annotation_files"]] == ["things.json", "stuff.json"]
    assert not list(files.glob(".tmp*"))


def test_options_change_the_rule(files, tool):
    assert tool(*BASE, "--class-aware")[0] == 0
    assert words(files) == {"1": "hard", "2": "easy", "3": "hard", "4": "background"}
    assert tool(*BASE, "--score-thr", "0.85")[0] == 0
    assert words(files) == {"1": "easy", "2": "hard", "3": "hard", "4": "background"}
    assert tool(*BASE, "--iou-thr", "0.97")[0] == 0
    assert set(words(files).values()) == {"hard", "background"}
    assert tool(*BASE, "--detector-classes", "cat", "dog", "sky", "--scores")[0] == 0
    assert words(files)["4"] == "hard"
    assert json.loads((files / "a.json").read_text())["scores"]["1"] == pytest.approx(0.9 * 0.96)


def test_levels_by_the_continuous_score(files, tool):
    """Scores are 0.9 x 0.96, 0.8 x 0.96 and 0."""
    status, out, _ = tool(*BASE, "--levels", "easy=0.8", "medium=0.5", "hard")
    assert status == 0 and "easy above 0.8, medium above 0.5, hard below" in out
    assert words(files) == {"1": "easy", "2": "medium", "3": "hard", "4": "background"}
    assert (files / "a.png").read_bytes().startswith(b"\x89PNG")


def test_class_names_from_a_text_file(files, tool):
    (files / "names.txt").write_text("cat\ndog\n\nsky\n")
    assert tool(*BASE, "--detector-classes", "names.txt")[0] == 0
    assert words(files)["4"] == "hard"


def test_the_annotations_themselves_as_predictions_are_all_found(shared_dir, work_dir, tool):
    ann = shared_dir / "data" / "coco_cc" / "instances.json"
    data = json.loads(ann.read_text())
    perfect, shifted = [], []
    for a in data["annotations"]:
        x, y, w, h = a["bbox"]
        entry = dict(image_id=a["image_id"], category_id=a["category_id"], score=0.31)
        perfect.append(dict(entry, bbox=[x, y, w, h]))
        shifted.append(dict(entry, bbox=[x + 0.4 * w, y, w, h]))  # IoU 0.6 / 1.4 with its own object
    for name, results in (("perfect", perfect), ("shifted", shifted)):
        (work_dir / f"{name}.json").write_text(json.dumps(results))
    common = ("--ann", ann, "--out", "a.json", "--class-aware")
    status, out, _ = tool("--predictions", "perfect.json", *common)
    found = words(work_dir)
    assert status == 0 and "6 × crowd" in out
    assert len(found) == 605 and set(found.values()) == {"easy"}
    assert tool("--predictions", "shifted.json", *common)[0] == 0
    share = list(words(work_dir).values()).count("easy") / 605
    assert share < 0.25, "only a neighbour's shifted box can still match"
    assert tool("--predictions", "perfect.json", *common, "--score-thr", "0.31")[0] == 0
    assert set(words(work_dir).values()) == {"hard"}


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


BAD = {
    "missing annotations": (lambda f: (f / "things.json").unlink(), "things.json: no such COCO json file"),
    "missing results": (lambda f: (f / "results.json").unlink(), "results.json: no such COCO results json"),
    "broken annotations": (lambda f: (f / "things.json").write_text('{"images": ['), "broken json at line 1"),
    "broken results": (lambda f: (f / "results.json").write_text("[{]"), "results.json: broken json"),
    "unknown category": (
        lambda f: edit(f / "things.json", lambda d: d["annotations"][0].update(category_id=9)),
        "things.json: annotations[0] (id 1): unknown category id 9",
    ),
    "unknown category in results": (
        lambda f: edit(f / "results.json", lambda d: d[1].update(category_id=9)),
        "results.json: entry 1: unknown category id 9",
    ),
    "missing image": (
        lambda f: edit(f / "things.json", lambda d: d["annotations"][0].update(image_id=9)),
        "its image id 9 is not among the 2 images",
    ),
    "same ids in both files": (
        lambda f: edit(f / "stuff.json", lambda d: d["annotations"][0].update(id=2)),
        "annotation id 2 occurs in things.json too",
    ),
    "results of another set": (
        lambda f: edit(f / "results.json", lambda d: [e.update(image_id=77) for e in d]),
        "none of its 3 predictions is on one of the 2 images",
    ),
    "nothing predicted": (lambda f: (f / "results.json").write_text("[]"), "give them by --detector-classes"),
    "no annotation left": (
        lambda f: [edit(f / n, lambda d: d.update(annotations=[])) for n in ("things.json", "stuff.json")],
        "no usable annotation",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_message(case, files, tool):
    spoil, part = BAD[case]
    spoil(files)
    status, _, err = tool(*BASE)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1 and part in err
    assert not (files / "a.json").exists()


def test_defect_boxes_are_skipped_and_counted(files, tool):
    def change(data):
        data["annotations"][0]["bbox"] = [5, 5, 0, 5]
        data["annotations"][1]["bbox"] = [200, 5, 5, 5]

    edit(files / "things.json", change)
    status, out, _ = tool(*BASE)
    assert status == 0 and words(files) == {"3": "hard", "4": "background"}
    assert "1 × box of zero or negative size: skipped (annotation id 1)" in out
    assert "1 × box outside its image: skipped (annotation id 2)" in out


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (
            ("--ann", "things.json", "--out", "a.json"),
            "by --detector, or its results by --predictions",
        ),
        ((*BASE, "--img-dir", "x"), "--img-dir requires a detector"),
        (("--detector", "config.py", "det.pth", *BASE), "not both"),
        (
            (
                "--detector",
                "c.py",
                "d.pth",
                "--ann",
                "things.json",
                "--out",
                "a.json",
                "--detector-classes",
                "x",
            ),
            "its own class",
        ),
        ((*BASE, "--score-thr", "1.5"), "below 1"),
        (
            (*BASE, "--detector-classes", "cta", "dog"),
            "no category 'cta' in the annotation files; near matches: cat",
        ),
        ((*BASE, "--detector-classes", "cat"), "has predictions of dog"),
        ((*BASE, "--cache", "x"), "--cache is for a detector"),
        ((*BASE, "--save-predictions", "x.json"), "--save-predictions requires a detector"),
        ((*BASE, "--levels", "easy=0.3", "medium=0.6", "hard"), "in descending order"),
        ((*BASE, "--levels", "easy"), "at least two"),
        ((*BASE[:-1], "a.png"), "--out must be a json file"),
        (("--detector", "c.py", "no.onnx", "--ann", "things.json", "--out", "a.json"), "no.onnx"),
        ((*BASE[:-1], "."), "--out must be a file, but this is a folder"),
        ((*BASE[:-1], "results.json"), "overwrite an input"),
        ((*BASE[:-1], "stuff.json/a.json"), "stuff.json is a file, not a folder"),
        (("--detector", "c.py", "no.pth", "--ann", "things.json", "--out", "a.json"), "no.pth"),
    ],
)
def test_bad_options_are_one_clear_message(args, part, files, tool):
    status, _, err = tool(*args)
    assert status == 2 and part in err and "Traceback" not in err


def test_in_a_shell(files, repo_root):
    def run(*args):
        command = [sys.executable, str(repo_root / "tools" / "extract_attributes.py"), *args]
        return subprocess.run(command, capture_output=True, text=True, cwd=files)

    good = run(*BASE)
    assert good.returncode == 0 and "written: a.json (4 attributes)" in good.stdout
    (files / "things.json").write_text("{")
    bad = run(*BASE)
    assert bad.returncode == 2 and bad.stderr.splitlines()[-1].startswith("error: things.json: broken json")
    assert "Traceback" not in bad.stderr
