"""Real graphs of every kind of export, run by onnxruntime: fed and decoded right, or refused by naming both files."""

import cv2
import numpy as np
import pytest
from tiny_onnx import kind_of, node, port, tensor, write_constant, write_graph, write_seeing

from detdiffusion.perception.onnx_detector import OnnxDetector
from detdiffusion.utils.errors import UserError

pytest.importorskip("onnxruntime")

COLOURS = [(90, 40, 10), (20, 80, 30), (5, 15, 95), (70, 60, 50)]  # RGB
NMS = dict(iou_threshold=0.65, score_thr=0.01, max_per_image=100)


@pytest.fixture
def images(tmp_path):
    entries = []
    for key, colour in enumerate(COLOURS, 1):
        cv2.imwrite(str(tmp_path / f"{key}.png"), np.full((64, 64, 3), colour[::-1], np.uint8))
        entries.append(dict(id=key, file_name=f"{key}.png", width=64, height=64))
    return entries


def detector(folder, graph, output, classes=3, nms="layout's", **inputs):
    spec = dict(input=dict(dict(size=(64, 64)), **inputs), output=output, classes=tuple("abcdefgh"[:classes]))
    if nms != "layout's":
        spec["nms"] = nms
    (folder / "model.py").write_text(f"onnx_detector = {spec!r}\n")
    return OnnxDetector(folder / "model.py", graph, device="cpu")


def found(model, images, folder, batch_size=None):
    """Image id -> [(label, score, box)], by falling score."""
    categories = {name: k for k, name in enumerate(model.classes)}
    got = model.predict(images, folder, categories, batch_size=batch_size, progress=False)
    rows = {image["id"]: [] for image in images}
    columns = (got.image_ids, got.category_ids, got.scores, got.boxes)
    for key, label, score, box in zip(*(column.tolist() for column in columns)):
        rows[key].append((label, score, box))
    return rows


def refused(folder, graph, output, match, images=None, **options):
    with pytest.raises(UserError, match=match) as caught:
        found(detector(folder, graph, output, **options), images or [], folder)
    assert "model.onnx" in str(caught.value) and "model.py" in str(caught.value)


DENSE = dict(type="CentreSizeOutput", transposed=False)
LAYOUTS = {
    "nchw": [("n", 3, 64, 64), (1, 3, 64, 64), (2, 3, 64, 64), ("n", 3, "h", "w"), (1, "c", 64, 64)],
    "nhwc": [("n", 64, 64, 3), (1, 64, 64, 3), (2, 64, 64, 3), ("n", "h", "w", 3), (3, 64, 64, "c")],
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8"])
@pytest.mark.parametrize(
    ("layout", "shape"), [(layout, shape) for layout, shapes in LAYOUTS.items() for shape in shapes]
)
def test_the_graph_gets_the_type_the_layout_and_the_batch_that_it_takes(
    dtype, layout, shape, images, tmp_path
):
    graph = write_seeing(tmp_path / "model.onnx", dtype, shape, layout)
    whole = dtype == "uint8"  # grey levels as they are; the means go to 95
    model = detector(tmp_path, graph, dict(DENSE, scores="percent" if whole else "probability"))
    for key, rows in found(model, images, tmp_path, batch_size=3).items():
        scores = np.array(COLOURS[key - 1]) / (100 if whole else 255)
        order = np.argsort(-scores)
        assert [label for label, *_ in rows] == order.tolist()
        assert [score for _, score, _ in rows] == pytest.approx(scores[order], abs=2e-3)
        assert all(box == [16, 16, 48, 48] for *_, box in rows)


@pytest.mark.parametrize(("shape", "layout"), [(("n", 1, 64, 64), "nchw"), ((1, 64, 64, 1), "nhwc")])
def test_one_channel_is_fed_with_grey_where_the_config_says_so(shape, layout, images, tmp_path):
    graph = write_seeing(tmp_path / "model.onnx", "float32", shape, layout)
    rows = found(detector(tmp_path, graph, DENSE, classes=1, channels="grey"), images, tmp_path)
    for key, colour in enumerate(COLOURS, 1):
        luma = np.dot(colour, (0.299, 0.587, 0.114))
        assert rows[key][0][1] == pytest.approx(luma / 255, abs=0.003)
    refused(tmp_path, graph, DENSE, "rgb, channels first or last.*'grey' is one channel", classes=1)


def test_inputs_that_cannot_be_fed_are_refused(tmp_path):
    path, output = tmp_path / "model.onnx", {"rows": np.zeros((1, 0, 7), np.float32)}
    for dtype in ("int32", "int64", "bool"):
        refused(
            tmp_path,
            write_constant(path, output, dtype),
            DENSE,
            f"images {dtype}.*an image of type float, float16",
        )
    write_seeing(path, "bfloat16")
    refused(tmp_path, path, DENSE, "bfloat16|not an ONNX model that onnxruntime can run")
    for shape in ((1, 4, 64, 64), (1, 3, 32, 32), (3, 64, 64), (1, 64, 3, 64)):
        graph = write_constant(path, output, shape=shape)
        refused(
            tmp_path, graph, DENSE, rf"takes images float \[{shape[0]}, .*correct onnx_detector.input.size"
        )
    refused(tmp_path, write_seeing(path), DENSE, "correct onnx_detector.input.size", layout="nhwc")
    graph = write_seeing(path, "uint8")
    refused(tmp_path, graph, DENSE, "input.std=.*unchanged grey levels", std=(255, 255, 255))
    inputs = [port(name, "float32", ("n", 3, 64, 64)) for name in ("images", "sizes")]
    nodes = [node("Add", ["images", "sizes"], ["rows"])]
    graph = write_graph(path, nodes, [], inputs, [port("rows", "float32", ("n", 3, 64, 64))])
    refused(tmp_path, graph, DENSE, "takes images float .*, sizes float .*without its other inputs")


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_graph_that_does_not_say_its_layout_asks_for_it(layout, images, tmp_path):
    graph = write_seeing(tmp_path / "model.onnx", shape=("n", "x", "y", "z"), layout=layout)
    refused(tmp_path, graph, DENSE, "set onnx_detector.input.layout='nchw' or 'nhwc'")
    rows = found(detector(tmp_path, graph, DENSE, layout=layout), images, tmp_path)
    assert [rows[key][0][0] for key in rows] == [0, 1, 2, 0]


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("first_alone", [False, True])
def test_every_image_gets_its_own_rows(index, first_alone, images, tmp_path, capsys):
    """Also of exports whose free batch is none: rows of the first image alone, whose others would be lost."""
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((64, 64, 3), np.uint8))
    graph = write_seeing(tmp_path / "model.onnx", first_alone=first_alone, index=index)
    output = dict(type="BatchIndexOutput") if index else DENSE
    rows = found(detector(tmp_path, graph, output), images, tmp_path, batch_size=3)
    assert rows[2] == []
    for key in (1, 3, 4):
        score = max(COLOURS[key - 1][:1] if index else COLOURS[key - 1]) / 255
        assert rows[key][0][1:] == (pytest.approx(score, abs=1e-4), [16, 16, 48, 48])
    assert ("images are run one at a time" in capsys.readouterr().err) == first_alone


def test_a_fixed_batch_with_rows_of_one_image_is_refused(images, tmp_path):
    graph = write_constant(
        tmp_path / "model.onnx", {"rows": np.full((1, 5, 7), 0.5, np.float32)}, shape=(2, 3, 64, 64)
    )
    refused(tmp_path, graph, DENSE, r"rows \[1, 5, 7\] for 2 image\(s\)", images)
    graph = write_constant(
        tmp_path / "model.onnx", {"rows": np.float32([[3, 1, 1, 9, 9, 0, 0.5]])}, shape=(2, 3, 64, 64)
    )
    refused(tmp_path, graph, dict(type="BatchIndexOutput"), r"an index from 0 to B - 1", images)


BOX, FLOAT = [16, 16, 48, 48], np.float32
ROW = FLOAT([[[*BOX, 0.9, 1], [0, 0, 0, 0, 0, 0]]])
INSIDE = {
    "end to end": (dict(type="EndToEndOutput"), dict(rows=ROW)),
    "end to end, no batch": (dict(type="EndToEndOutput"), dict(rows=ROW[0])),
    "end to end, half": (dict(type="EndToEndOutput"), dict(rows=ROW.astype(np.float16))),
    "end to end, normalised": (
        dict(type="EndToEndOutput", normalised=True),
        dict(rows=ROW / FLOAT([64, 64, 64, 64, 1, 1])),
    ),
    "end to end, other columns": (
        dict(type="EndToEndOutput", columns=("class", "score", "x1", "y1", "x2", "y2")),
        dict(rows=ROW[..., [5, 4, 0, 1, 2, 3]]),
    ),
    "end to end, percent": (
        dict(type="EndToEndOutput", scores="percent"),
        dict(rows=ROW * FLOAT([1, 1, 1, 1, 100, 1])),
    ),
    "batch index": (dict(type="BatchIndexOutput"), dict(rows=FLOAT([[0, *BOX, 1, 0.9]]))),
    "dets, labels": (
        dict(type="DetsLabelsOutput"),
        dict(dets=FLOAT([[[*BOX, 0.9], [0] * 5]]), labels=np.int64([[1, -1]])),
    ),
    "labels, dets": (
        dict(type="DetsLabelsOutput", outputs=("dets", "labels")),
        dict(labels=np.int32([[1]]), dets=FLOAT([[[*BOX, 0.9]]])),
    ),
    "masks too": (
        dict(type="DetsLabelsOutput"),
        dict(dets=FLOAT([[[*BOX, 0.9]]]), labels=np.int64([[1]]), masks=FLOAT([[[[1]]]])),
    ),
    "counted": (
        dict(type="EfficientNMSOutput"),
        dict(num=np.int32([[1]]), boxes=ROW[..., :4], scores=FLOAT([[0.9, 0.8]]), labels=np.int32([[1, 7]])),
    ),
    **{
        f"boxes, scores, labels, {kind}": (
            dict(type="BoxesScoresLabelsOutput"),
            dict(boxes=FLOAT([BOX]), scores=FLOAT([0.9]), labels=np.array([1], kind)),
        )
        for kind in ("int64", "int32", "float32", "float16")
    },
    "torchvision": (
        dict(type="BoxesScoresLabelsOutput", outputs=("boxes", "scores", "labels"), first_label=1),
        dict(boxes=FLOAT([BOX]), labels=np.int64([2]), scores=FLOAT([0.9])),
    ),
}


@pytest.mark.parametrize("name", INSIDE)
def test_graphs_with_nms_inside(name, images, tmp_path):
    output, arrays = INSIDE[name]
    model = detector(tmp_path, write_constant(tmp_path / "model.onnx", arrays), output)
    assert model.nms is None
    for rows in found(model, images, tmp_path).values():
        assert [(label, box) for label, _, box in rows] == [(1, BOX)]
        assert rows[0][1] == pytest.approx(0.9, abs=1e-3)


EMPTY = {
    "EndToEndOutput": dict(rows=np.zeros((1, 0, 6), FLOAT)),
    "BatchIndexOutput": dict(rows=np.zeros((0, 7), FLOAT)),
    "DetsLabelsOutput": dict(dets=np.zeros((1, 0, 5), FLOAT), labels=np.zeros((1, 0), np.int64)),
    "BoxesScoresLabelsOutput": dict(
        boxes=np.zeros((0, 4), FLOAT), scores=np.zeros(0, FLOAT), labels=np.zeros(0, np.int64)
    ),
    "EfficientNMSOutput": dict(
        num=np.zeros((1, 1), np.int32),
        boxes=np.zeros((1, 9, 4), FLOAT),
        scores=np.zeros((1, 9), FLOAT),
        labels=np.zeros((1, 9), np.int32),
    ),
    "CentreSizeOutput": dict(rows=np.zeros((1, 7, 0), FLOAT)),
    "YOLOXOutput": dict(rows=np.zeros((1, 84, 8), FLOAT)),
    "FastestDetOutput": dict(rows=np.zeros((1, 8, 4, 4), FLOAT)),
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("batch", [1, "n"])
def test_no_detection_is_a_result(name, batch, images, tmp_path):
    graph = write_constant(tmp_path / "model.onnx", EMPTY[name], shape=(batch, 3, 64, 64))
    assert found(detector(tmp_path, graph, dict(type=name)), images, tmp_path) == {1: [], 2: [], 3: [], 4: []}


def dense(*rows):
    return dict(rows=FLOAT(rows)[None])


END = dict(type="EndToEndOutput")
WRONG = {
    "logits": (DENSE, dense([32, 32, 32, 32, 4.2, -3, -5]), "range from -5 to 4.2"),
    "negative logits": (DENSE, dense([32, 32, 32, 32, -0.5, -3, -5]), "range from -5 to 0"),
    "percent": (DENSE, dense([32, 32, 32, 32, 25, 1, 1]), "range from 0 to 25"),
    "percent in a factor": (
        dict(DENSE, objectness=True),
        dense([32, 32, 32, 32, 50, 0.01, 0.01, 0.01]),
        "objectness range from 0 to 50",
    ),
    "no logits": (dict(DENSE, scores="logit"), dense([32, 32, 32, 32, 0.9, 0.1, 0.1]), "they are not logits"),
    "normalised": (DENSE, dense([0.5, 0.5, 0.5, 0.5, 0.9, 0, 0]), "look normalised"),
    "normalised corners": (END, dense([0.2, 0.2, 0.7, 0.7, 0.9, 1], [0] * 6), "look normalised"),
    "pixels": (dict(DENSE, normalised=True), dense([32, 32, 32, 32, 0.9, 0, 0]), "lie far outside"),
    "pixels of the image": (END, dense([900, 700, 1200, 900, 0.9, 1]), "lie far outside"),
    "sides": (END, dense([40, 40, 8, 8, 0.9, 1]), "corners in the wrong order"),
    "swapped corners": (END, dense([48, 48, 16, 16, 0.9, 1]), "corners in the wrong order"),
    "centre and size": (END, dense([32, 32, 32, 32, 0.9, 1]), "no area"),
    "class outside": (END, dense([*BOX, 0.9, 3]), "class index 3 is outside 0 to 2"),
    "class below": (END, dense([*BOX, 0.9, -2]), "class index -2 is outside"),
    "class fraction": (END, dense([*BOX, 1, 0.9]), "class indices must be whole numbers, got 0.9"),
    "background": (dict(END, first_label=1), dense([*BOX, 0.9, 0]), "class index 0 is outside 1 to 3"),
    "other rows": (END, dense([*BOX, 0.9, 1, 0]), "rows of 7 numbers, but its columns are"),
    "classes": (
        DENSE,
        dense([32, 32, 32, 32, 0.9, 0.1]),
        "scores 2 classes, but onnx_detector.classes names 3",
    ),
    "turned": (
        dict(type="CentreSizeOutput"),
        dense([32, 32, 32, 32, 0.9, 0.1, 0]),
        "but at least 5 are needed",
    ),
    "outputs": (dict(type="DetsLabelsOutput"), dense([1] * 6), "graph's outputs are rows"),
    "swapped outputs": (
        dict(type="DetsLabelsOutput"),
        dict(labels=np.int64([[0]]), dets=FLOAT([[[*BOX, 0.9]]])),
        r"outputs labels \[1, 1\], dets \[1, 1, 5\]",
    ),
    "count": (
        dict(type="EfficientNMSOutput"),
        dict(n=np.int32([[3]]), b=ROW[..., :4], s=FLOAT([[0.9, 0]]), c=np.int32([[1, 1]])),
        "counts 3 detections in 2 rows",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_numbers_that_are_not_what_is_declared(name, images, tmp_path):
    output, arrays, match = WRONG[name]
    refused(tmp_path, write_constant(tmp_path / "model.onnx", arrays), output, match, images)


def test_one_bad_image_among_good_ones_is_named(images, tmp_path):
    """Scores in percent of which most are below one."""
    cv2.imwrite(str(tmp_path / "3.png"), np.full((64, 64, 3), 255, np.uint8))
    graph = write_seeing(tmp_path / "model.onnx")
    refused(
        tmp_path,
        graph,
        DENSE,
        r"image 3.png \(id 3\): its scores range from 0 to 2.55",
        images,
        std=(100,) * 3,
    )


def test_end_to_end_rows_are_not_read_as_two_class_scores(images, tmp_path):
    """Six numbers a row are both; NMS would find boxes elsewhere."""
    for rows in (ROW, ROW[:, :1], ROW * FLOAT([1, 1, 1, 1, 1, 0])):
        graph = write_constant(tmp_path / "model.onnx", dict(rows=rows))
        refused(tmp_path, graph, DENSE, "EndToEndOutput", images, classes=2)
    plain = FLOAT([[[32, 32, 32, 32, 0.9, 0.0], [40, 40, 8, 8, 0.5, 0.0]]])
    rows = found(
        detector(tmp_path, write_constant(tmp_path / "model.onnx", dict(rows=plain)), DENSE, classes=2),
        images,
        tmp_path,
    )
    assert [score for _, score, _ in rows[1]] == pytest.approx([0.9, 0.5])
    with pytest.raises(UserError, match="model.py: onnx_detector.nms=None, but CentreSizeOutput"):
        detector(tmp_path, graph, DENSE, nms=None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 4])
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_numbers_that_are_none_are_refused(bad, column, kind, images, tmp_path):
    """Computed, so that no weight is wrong: divided by an image that is black."""
    tensors = [tensor("row", np.full((1, 1, 7), 0.5, kind)), tensor("zero", np.zeros((1, 1, 7), kind))]
    bump = np.zeros((1, 1, 7), kind)
    bump[..., column] = 0 if np.isnan(bad) else np.sign(bad)
    below = np.ones((1, 1, 7), kind)
    below[..., column] = 0
    tensors += [tensor("bump", bump), tensor("below", below)]
    nodes = [node("Cast", ["images"], ["seen"], to=kind_of(kind))]
    nodes += [node("ReduceMean", ["seen"], ["mean"], keepdims=0), node("Mul", ["mean", "zero"], ["nothing"])]
    nodes += [node("Add", ["nothing", "bump"], ["top"]), node("Add", ["nothing", "below"], ["bottom"])]
    nodes += [node("Div", ["top", "bottom"], ["spoilt"]), node("Add", ["row", "spoilt"], ["rows"])]
    ports = [port("images", "float32", (1, 3, 64, 64))], [port("rows", kind, (1, 1, 7))]
    graph = write_graph(tmp_path / "model.onnx", nodes, tensors, *ports)
    refused(tmp_path, graph, DENSE, r"1 of 7 numbers of output rows \[1, 7\] are NaN or infinite", images)


def write_weighted(path, weights, constant=0.0, external=None):
    """A convolution and an addition; ``constant`` is added behind a maximum that swallows NaN."""
    tensors = [tensor("conv.weight", weights, external), tensor("mask", np.float32([0, constant]))]
    nodes = [
        node("Conv", ["images", "conv.weight"], ["deep"]),
        node("ReduceMax", ["mask"], ["high"], keepdims=0),
        node("Constant", [], ["rows"], value=tensor("", np.zeros((1, 7, 1), np.float32))),
        node("ReduceMean", ["deep"], ["mean"], keepdims=0),
        node("Add", ["mean", "high"], ["unused"]),
    ]
    outputs = [port("rows", "float32", (1, 7, 1)), port("unused", "float32", ())]
    return write_graph(path, nodes, tensors, [port("images", "float32", (1, 3, 64, 64))], outputs)


def test_weights_inside_the_file_are_looked_at(images, tmp_path):
    path, output = tmp_path / "model.onnx", dict(type="CentreSizeOutput")
    weights = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    for constant in (0.0, -np.inf):  # an infinity that masks is no weight
        assert found(detector(tmp_path, write_weighted(path, weights, constant), output), images, tmp_path)
    for bad in (np.nan, np.inf):
        spoilt = weights.copy()
        spoilt[2, 1] = bad
        with pytest.raises(UserError, match=r"model.onnx: 1 of 3 weights .*conv.weight \(1 of 12 values\)"):
            detector(tmp_path, write_weighted(path, spoilt), output)
    with pytest.raises(UserError, match="mask"):
        detector(tmp_path, write_weighted(path, weights, np.nan), output)


def test_weights_beside_the_file_are_its_weights(tmp_path):
    path, output = tmp_path / "model.onnx", dict(type="CentreSizeOutput")
    weights = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    write_weighted(path, weights, external=("model.bin", 8))
    (tmp_path / "model.bin").write_bytes(b"\0" * 8 + weights.tobytes())
    before = detector(tmp_path, path, output).identity()
    (tmp_path / "model.bin").write_bytes(b"\0" * 8 + (weights + 1).tobytes())
    assert detector(tmp_path, path, output).identity() != before  # stored predictions are another model's
    weights[0] = np.nan
    (tmp_path / "model.bin").write_bytes(b"\0" * 8 + weights.tobytes())
    with pytest.raises(UserError, match=r"conv.weight \(3 of 12 values\)"):
        detector(tmp_path, path, output)


def test_a_declaration_that_cannot_be(tmp_path):
    graph = write_constant(tmp_path / "model.onnx", dict(rows=ROW))
    for options, match in (
        (dict(output=END, size=(64,)), "size must be .height, width."),
        (dict(output=END, std=(1, 0, 1)), "std must have 3"),
        (dict(output=END, channels="grey", mean=(1, 2, 3)), "mean must have 1"),
        (dict(output=END, nms=dict(NMS, score_thr=25)), r"score_thr in \[0, 1\)"),
        (dict(output=END, nms=dict(iou=0.5)), "unknown entries iou; it takes iou_threshold"),
        (dict(output=dict(END, scores="softmax")), "scores must be"),
        (dict(output=dict(END, columns=("x1",))), "lack class, score, x2, y1, y2"),
        (dict(output=dict(END, num_classes=5)), "num_classes=5, but onnx_detector.classes names 3"),
        (dict(output=dict(END, outputs=("dets",))), "graph's outputs are rows and outputs=.'dets'"),
    ):
        output = options.pop("output")
        with pytest.raises(UserError, match=match):
            detector(tmp_path, graph, output, **options)
