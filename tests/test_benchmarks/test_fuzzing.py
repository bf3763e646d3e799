"""The fuzzer sees what it is for: lossy, wrong, hanging and crashing tools are told from sound ones."""

import json
import sys
import time

import pytest

from benchmarks.fuzzing.case import Case, Run
from benchmarks.fuzzing.onnx_file import write_constant_model
from benchmarks.fuzzing.reading import average_precision, equation_2, read_coco
from benchmarks.fuzzing.session import Session, record, run_all, table
from benchmarks.fuzzing.targets.voc import VocToCoco
from benchmarks.fuzzing.targets.worlds import CLASSES, OBJECTS, coco, write_json
from benchmarks.fuzzing.targets.yolo import YoloToCoco
from benchmarks.fuzzing.verdict import Account, balance, sort_out
from detdiffusion.utils.errors import UserError


def lossy(drop_images=0, drop_objects=0, shift=0.0, says="", then=lambda: None):
    """A tool in the converter's place that converts the sound VOC set, less what it loses."""

    def main():
        from detdiffusion.datasets.formats.voc import read_voc

        made = read_voc(sys.argv[1], progress=False)
        written = made.write(sys.argv[sys.argv.index("--out") + 1], "none")
        for path in written.values():
            data = json.loads(path.read_text())
            gone = {image["id"] for image in data["images"][:drop_images]}
            data["images"] = data["images"][drop_images:]
            kept = [a for a in data["annotations"] if a["image_id"] not in gone][drop_objects:]
            data["annotations"] = [{**a, "bbox": [a["bbox"][0] + shift, *a["bbox"][1:]]} for a in kept]
            path.write_text(json.dumps(data))
        print(says)
        then()

    return main


def fail(error):
    def raiser():
        raise error

    return raiser


class Stand(VocToCoco):
    """The VOC target with another tool in it, and no damage."""

    def __init__(self, main):
        self.main = main

    def load(self):
        return self.main

    def damage(self, case):
        pass


OUTCOME_OF = {
    "right": lossy(),
    "silent loss": lossy(drop_images=1),
    "wrong result": lossy(shift=5.0),
    "foreign traceback": lossy(then=fail(KeyError("bbox"))),
    "clear error": lossy(then=fail(UserError("Annotations/IMG_1.xml: broken"))),
    "unclear error": lossy(then=fail(UserError("something is broken"))),
    "hang": lossy(then=lambda: time.sleep(60)),
}


@pytest.mark.parametrize("outcome", OUTCOME_OF)
def test_every_outcome_is_seen(outcome, tmp_path):
    session = Session([Stand(lossy())], tmp_path, seconds=3 if outcome == "hang" else 60)
    session.prepare()
    session.use("voc_to_coco", OUTCOME_OF[outcome])
    result, run = session.run("voc_to_coco", 1)
    assert result.outcome == outcome, (result, run.output)


def test_losses_must_be_said_and_add_up(tmp_path):
    """One object a split is gone; a count of it is asked for, of both, under their names."""
    session = Session([Stand(lossy())], tmp_path)
    session.prepare()
    both = "  2 × object without a box: left out (IMG_1.xml, object 1; IMG_4.xml, object 1)"
    for says, outcome in (
        ("", "silent loss"),
        ("3 images, 13 objects", "silent loss"),
        (both.replace("2 ×", "1 ×"), "silent loss"),
        (both.replace("IMG_4.xml", "IMG_3.xml"), "silent loss"),
        (both, "counted"),
    ):
        session.use("voc_to_coco", lossy(drop_objects=1, says=says))
        assert session.run("voc_to_coco", 1)[0].outcome == outcome, says


def test_a_tool_that_is_wrong_on_its_sound_input_stops_the_session(tmp_path):
    with pytest.raises(RuntimeError, match="voc_to_coco: silent loss on its sound input"):
        Session([Stand(lossy(drop_images=2))], tmp_path).prepare()


def test_forty_inputs(tmp_path):
    session = Session([VocToCoco(), YoloToCoco()], tmp_path, seed=1)
    session.prepare()
    results = run_all(session, 40, 0)
    found = {result.outcome for result in results}
    assert {"right", "counted", "clear error"} <= found
    assert not found & {"foreign traceback", "hang", "silent loss", "wrong result"}, table(results)
    again, _ = session.run(*results[7].case.split(":")[:1], int(results[7].case.split(":")[1]))
    assert (again.damages, again.outcome) == (results[7].damages, results[7].outcome)
    data = record(results, "command", 0.1, 1)
    assert data["cases"] == 40 and sum(data["outcomes"].values()) == 40
    assert sum(sum(row["forked"].values()) for row in data["tools"].values()) == 40


def test_status_and_output_decide_before_the_judge(tmp_path):
    case = Case("x", 1, 0, tmp_path, tmp_path)
    (tmp_path / "labels.json").write_text("")

    def outcome(status, output, hung=False):
        return sort_out(case, Run(status, output, 1.0, hung), fail(AssertionError)).outcome

    assert outcome(-9, "", hung=True) == "hang"
    assert outcome(-11, "") == outcome(1, "") == outcome(137, "") == "foreign traceback"
    assert outcome(2, "Traceback (most recent call last)\nerror: labels.json") == "foreign traceback"
    assert outcome(2, "error: labels.json: broken") == "clear error"
    assert outcome(2, "usage\ntool.py: error: labels.json: broken") == "clear error"
    assert outcome(2, "error: broken") == outcome(2, "") == "unclear error"
    assert balance(Account(), "").outcome == "right"


def test_readers_know_simple_truths(tmp_path):
    write_json(tmp_path / "a.json", coco(2))
    data = read_coco(tmp_path / "a.json")
    assert len(data.images) == 2 and len(data.boxes) == len(data.entries) == 6
    found = [(i, CLASSES[c], (x, y, x + w, y + h), 0.9) for i in (1, 2) for c, x, y, w, h in OBJECTS]
    assert average_precision(data, [1, 2], found) == pytest.approx(1)
    assert average_precision(data, [1, 2], found[:3]) == pytest.approx(51 / 101)  # one of two of each class
    box = (0, 0, 10, 10)
    assert equation_2(box, 1, [((0, 0, 10, 6), 0.9)], {1}) == "easy"
    assert equation_2(box, 1, [((0, 0, 10, 4), 0.9), (box, 0.3)], {1}) == "hard"
    assert equation_2(box, 2, [(box, 0.9)], {1}) == "background"
    assert equation_2(box, 1, [((0, 0, 10, 5), 0.9)], {1}) is None  # an overlap of 0.5: rounding decides


def test_a_constant_model_runs(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    import numpy as np

    arrays = {
        "dets": np.arange(300, dtype=np.float32).reshape(1, 60, 5),
        "labels": np.array([[300, -1]], np.int64),
    }
    write_constant_model(tmp_path / "m.onnx", arrays, ("n", 3, 8, 8), "float16")
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    (one,) = session.get_inputs()
    assert (one.shape, one.type) == (["n", 3, 8, 8], "tensor(float16)")
    outputs = session.run(None, {one.name: np.zeros((2, 3, 8, 8), np.float16)})
    assert all((a == b).all() and a.dtype == b.dtype for a, b in zip(outputs, arrays.values()))
