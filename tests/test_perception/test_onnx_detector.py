"""ONNX detectors: the declared layouts against direct transcriptions, real models on real photographs."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from option_values import extract
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detdiffusion.evaluation.detection import METRIC_NAMES, evaluate_detection
from detdiffusion.perception import load_detector
from detdiffusion.perception.onnx_detector import InputSpec, OnnxDetector
from detdiffusion.perception.onnx_outputs import (
    CentreSizeOutput,
    DetsLabelsOutput,
    FastestDetOutput,
    YOLOXOutput,
)
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.image_rules import use_image_rules

CONFIGS = Path(__file__).resolve().parents[2] / "configs/onnx"
YOLOX, FASTESTDET = "yolox_nano/yolox_nano.onnx", "fastestdet/FastestDet.onnx"


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_yolox_cells_of_all_strides_in_turn():
    rng = np.random.default_rng(0)
    raw = rng.uniform(-1, 1, (16 * 8 + 8 * 4, 5 + 3)).astype(np.float32)  # 128 x 64 at strides 8 and 16
    raw[:, 4:] = np.abs(raw[:, 4:])
    boxes, scores = YOLOXOutput(strides=(8, 16))([raw], (128, 64))
    row = 0
    for stride in (8, 16):
        for y in range(128 // stride):
            for x in range(64 // stride):
                tx, ty, tw, th, objectness, *classes = raw[row].astype(np.float64)
                cx, cy, w, h = (x + tx) * stride, (y + ty) * stride, np.exp(tw) * stride, np.exp(th) * stride
                expected = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                np.testing.assert_allclose(boxes[row], expected)
                np.testing.assert_allclose(scores[row], objectness * np.array(classes))
                row += 1
    assert row == len(boxes)
    with pytest.raises(UserError, match="160 rows, but strides .* give 40 cells"):
        YOLOXOutput(strides=(16, 32))([raw], (128, 64))


def test_fastestdet_map():
    rng = np.random.default_rng(1)
    raw = rng.uniform(0, 1, (5 + 2, 3, 4)).astype(np.float32)
    boxes, scores = FastestDetOutput(objectness_power=0.6, class_power=0.4)([raw], (30, 80))
    for y in range(3):
        for x in range(4):
            objectness, tx, ty, tw, th, *classes = raw[:, y, x].astype(np.float64)
            cx, cy = (x + np.tanh(tx)) / 4 * 80, (y + np.tanh(ty)) / 3 * 30
            w, h = sigmoid(tw) * 80, sigmoid(th) * 30
            k = y * 4 + x
            np.testing.assert_allclose(boxes[k], [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
            np.testing.assert_allclose(scores[k], objectness**0.6 * np.array(classes) ** 0.4)


def test_decoded_layouts():
    rows = np.array([[50, 40, 20, 10, 0.5, 0.8, 0.1], [10, 10, 4, 4, 0.9, 0.2, 0.6]])
    boxes, scores = CentreSizeOutput(transposed=True)([rows.T], (64, 64))
    assert boxes.tolist() == [[40, 35, 60, 45], [8, 8, 12, 12]] and scores.tolist() == rows[:, 4:].tolist()
    _, scores = CentreSizeOutput(transposed=False, objectness=True)([rows], (64, 64))
    assert scores == pytest.approx(np.array([[0.4, 0.05], [0.18, 0.54]]))
    dets = np.array([[1, 2, 3, 4, 0.9], [5, 6, 7, 8, 0.4], [0, 0, 0, 0, 0.0]])
    boxes, scores = DetsLabelsOutput(num_classes=3)([dets, np.array([2, 0, -1])], (64, 64))
    assert boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]] and scores.tolist() == [[0, 0, 0.9], [0.4, 0, 0]]


@pytest.mark.parametrize("anchor", ["top-left", "centre"])
def test_letterbox_keeps_the_aspect_ratio_and_the_way_back(anchor):
    image = np.full((60, 120, 3), (10, 20, 30), np.uint8)
    spec = InputSpec((100, 100), anchor=anchor, channels="bgr", std=(1, 1, 1), pad_value=114)
    inputs, scale, offset = spec.prepare(image)
    assert inputs.shape == (3, 100, 100) and inputs.dtype == np.float32
    top = 25 if anchor == "centre" else 0
    assert offset.tolist() == [0, top] and scale == pytest.approx([100 / 120, 50 / 60])
    assert (inputs[:, top : top + 50] == np.array([10, 20, 30])[:, None, None]).all()
    assert (inputs == 114).all(axis=0).sum() == 50 * 100


def test_stretching_channels_and_normalisation():
    image = np.full((60, 120, 3), (10, 20, 30), np.uint8)
    spec = InputSpec((40, 50), resize="stretch", channels="rgb", mean=(1, 2, 3), std=(2, 4, 8))
    inputs, scale, offset = spec.prepare(image)
    assert inputs[:, 7, 9].tolist() == [29 / 2, 18 / 4, 7 / 8] and offset.tolist() == [0, 0]
    assert scale == pytest.approx([50 / 120, 40 / 60])
    with pytest.raises(UserError, match="resize must be one of"):
        InputSpec((40, 50), resize="squash")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda p: p.stem)
def test_every_shipped_config_declares_input_output_and_classes(path, tmp_path):
    """All of a declaration is checked before the weights are looked for."""
    with pytest.raises(UserError, match="no such ONNX file"):
        OnnxDetector(path, tmp_path / "none.onnx")


@pytest.fixture(scope="module")
def world(shared_dir):
    """Photographs, and a detector by its weights' name."""
    pytest.importorskip("onnxruntime")
    folder = shared_dir / "data/coco_cc"
    if not (folder / "instances.json").is_file():
        pytest.skip(f"no photographs at {folder}")
    return shared_dir


def attributes_of(weights, ann, out, world, **options):
    """Through the library's whole path: detector, results json, attributes."""
    if not (world / "weights" / weights).is_file():
        pytest.skip(f"no weights {weights}")
    return extract(
        [ann],
        out,
        detector=(str(CONFIGS / f"{weights.split('/')[0]}_coco.py"), str(world / "weights" / weights)),
        img_dir=world / "data/coco_cc/images",
        class_aware=True,
        device="cpu",
        **options,
    )


@pytest.fixture(scope="module")
def found(world, tmp_path_factory):
    """YOLOX-nano on all 90 photographs."""
    root = tmp_path_factory.mktemp("found")
    ann = world / "data/coco_cc/instances.json"
    attributes_of(YOLOX, ann, root / "attributes.json", world, save_predictions=root / "results.json")
    return root


def test_share_of_easy_objects_on_real_photographs(found):
    """About 44 %: .78 of the large, .51 of the medium, .20 of the small."""
    info = json.loads((found / "attributes.json").read_text())["info"]
    assert info["summary"]["all"]["all"]["easy_share"] == pytest.approx(0.44, abs=0.01)
    assert info["counts"]["background"] == 0 and sum(info["skipped"].values()) == 6
    by_size = {name: row["easy_share"] for name, row in info["summary"]["size"].items()}
    assert by_size == pytest.approx(dict(large=0.78, medium=0.51, small=0.20), abs=0.01)


def test_a_weaker_detector_finds_fewer(found, world, tmp_path):
    data = json.loads((world / "data/coco_cc/instances.json").read_text())
    data["images"] = data["images"][::4]
    kept = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
    (tmp_path / "part.json").write_text(json.dumps(data))
    weak = attributes_of(FASTESTDET, tmp_path / "part.json", tmp_path / "a.json", world).attributes
    strong = json.loads((found / "attributes.json").read_text())["attributes"]
    easy = sum(word == "easy" for word in weak.values())
    assert 0.15 * len(weak) < easy < 0.95 * sum(strong[str(key)] == "easy" for key in weak)


def test_a_photograph_that_is_cut_off_is_named(world, tmp_path):
    data = json.loads((world / "data/coco_cc/instances.json").read_text())
    image = data["images"][0]
    content = (world / "data/coco_cc/images" / image["file_name"]).read_bytes()
    (tmp_path / image["file_name"]).write_bytes(content[: len(content) // 2])
    detector = load_detector(CONFIGS / "yolox_nano_coco.py", world / "weights" / YOLOX, device="cpu")
    with pytest.raises(UserError, match=r"\(image id \d+\): is cut off"):
        detector.predict([image], tmp_path, {"person": 1}, progress=False)


def test_a_photograph_turned_by_its_exif_tag(world, tmp_path):
    """Stored upside down and shown upright, it is refused, or read as the upright one."""
    data = json.loads((world / "data/coco_cc/instances.json").read_text())
    image = dict(data["images"][0], file_name="a.png")
    with Image.open(world / "data/coco_cc/images" / data["images"][0]["file_name"]) as file:
        upright = file.convert("RGB")
    detector = load_detector(CONFIGS / "yolox_nano_coco.py", world / "weights" / YOLOX, device="cpu")
    upright.save(tmp_path / "a.png")
    expected = detector.predict([image], tmp_path, {"person": 1}, progress=False)
    exif = Image.Exif()
    exif[274] = 3
    upright.rotate(180).save(tmp_path / "a.png", exif=exif)
    with pytest.raises(UserError, match="a.png .*EXIF orientation.*--exif-orientation"):
        detector.predict([image], tmp_path, {"person": 1}, progress=False)
    use_image_rules("apply")
    found = detector.predict([image], tmp_path, {"person": 1}, progress=False)
    assert np.array_equal(found.boxes, expected.boxes) and len(found) > 0
    assert found.report["images turned or mirrored as their EXIF orientation says"] == 1


def test_ap_equals_pycocotools_on_the_same_results(found, world):
    path = world / "data/coco_cc/instances.json"
    results = json.loads((found / "results.json").read_text())
    truth = COCO(str(path))
    oracle = COCOeval(truth, truth.loadRes(results), "bbox")
    oracle.evaluate()
    oracle.accumulate()
    oracle.summarize()
    ours = evaluate_detection(results, str(path))
    assert [ours[m] for m in METRIC_NAMES] == pytest.approx(oracle.stats[:6].tolist(), abs=1e-12)
    assert ours["bbox_mAP"] == pytest.approx(0.391, abs=0.005)


def test_results_of_the_detector_and_the_detector_give_the_same_attributes(found, world, tmp_path):
    again = extract(
        [world / "data/coco_cc/instances.json"],
        tmp_path / "a.json",
        predictions=found / "results.json",
        class_aware=True,
    )
    stored = json.loads((found / "attributes.json").read_text())["attributes"]
    assert {str(k): v for k, v in again.attributes.items()} == stored


@pytest.fixture
def yolox(world):
    weights = world / "weights" / YOLOX
    if not weights.is_file():
        pytest.skip("no weights")
    return str(CONFIGS / "yolox_nano_coco.py"), str(weights)


def test_threads_are_those_of_the_process_and_sleep_while_they_wait(yolox, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for policy, spins in (("PASSIVE", "0"), ("ACTIVE", "")):
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
        options = OnnxDetector(*yolox, device="cpu").graph.session.get_session_options()
        assert options.intra_op_num_threads == 1
        if spins:
            assert options.get_session_config_entry("session.intra_op.allow_spinning") == spins


def test_faults_are_one_message(yolox, world, tmp_path):
    config, weights = yolox
    with pytest.raises(UserError, match="no such ONNX file"):
        OnnxDetector(config, tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="not an ONNX model that onnxruntime can run"):
        OnnxDetector(config, tmp_path / "bad.onnx")
    with pytest.raises(UserError, match="correct onnx_detector.input.size"):
        OnnxDetector(config, weights, cfg_options=["onnx_detector.input.size=(320,320)"])
    with pytest.raises(UserError, match="no layout 'YoloOutput'; known: .*YOLOXOutput"):
        OnnxDetector(config, weights, cfg_options=["onnx_detector.output.type=YoloOutput"])
    with pytest.raises(UserError, match="unexpected keyword argument 'pad'"):
        OnnxDetector(config, weights, cfg_options=["onnx_detector.input.pad=3"])
    with pytest.raises(UserError, match="`device` tpu: the installed onnxruntime has"):
        OnnxDetector(config, weights, device="tpu")
    (tmp_path / "empty.py").write_text("model = 3")
    with pytest.raises(UserError, match="lacks 'onnx_detector'"):
        OnnxDetector(tmp_path / "empty.py", weights)

    def predict(detector, **image):
        entry = dict(dict(id=7, file_name="a.png", width=64, height=48), **image)
        return detector.predict([entry], tmp_path, {"person": 1}, progress=False)

    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(UserError, match="scores 80 classes, but onnx_detector.classes names 2"):
        predict(OnnxDetector(config, weights, cfg_options=["onnx_detector.classes=[cat,dog]"]))
    wrong = ["onnx_detector.output.type=DetsLabelsOutput", "onnx_detector.output.num_classes=80"]
    wrong += ["onnx_detector.output.strides=None"]
    with pytest.raises(UserError, match="unexpected keyword argument 'strides'"):
        OnnxDetector(config, weights, cfg_options=wrong)
    detector = OnnxDetector(config, weights)
    assert len(predict(detector)) == 0  # nothing on black
    with pytest.raises(UserError, match="64 x 48 pixels, but the annotation file says 60 x 48"):
        predict(detector, width=60)
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(UserError, match=r"a.png \(image id 7\): cannot be read as an image"):
        predict(detector)
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")  # a wrong suffix: read as what it is
    assert len(predict(detector)) == 0


def test_without_onnxruntime_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as Python marks a module that cannot be imported
    with pytest.raises(UserError, match="pip install onnxruntime"):
        load_detector(CONFIGS / "yolox_nano_coco.py", tmp_path / "a.onnx")
