"""``tools/extract_attributes.py``, from predictions and with ONNX detectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..case import Case, Run
from ..onnx_file import write_constant_model
from ..reading import corners, equation_2, is_number, picture, read_coco, read_json, sound_box
from ..verdict import Account, printed_counts
from .target import Target, damage_some
from .worlds import CLASSES, OBJECTS, SIZE, coco, write_json, write_set

_IMPORTS = (
    "detdiffusion.perception.extraction",
    "matplotlib.pyplot",
    "onnxruntime",
    "torchvision.ops",
    "cv2",
    "rich.table",
)


class PredictionAttributes(Target):
    """Annotations and a results json."""

    name, tool, imports = "extract_predictions", "extract_attributes.py", _IMPORTS

    def prepare(self, base: Path) -> None:
        data = coco(5)
        write_json(base / "instances.json", data)
        found = []
        for k, one in enumerate(data["annotations"]):
            if one["category_id"] == 5 or k % 4 == 0:
                continue  # the tree has no name in the detector, every fourth object is not found
            x, y, w, h = one["bbox"]
            found.append(
                dict(
                    image_id=one["image_id"],
                    category_id=one["category_id"],
                    bbox=[x + 1, y + 1, w, h],
                    score=0.9 if k % 3 else 0.2,
                )
            )
        write_json(base / "results.json", found)

    def damage(self, case: Case) -> None:
        damage_some(case, {"json": ["instances.json", "results.json"]})

    def arguments(self, case: Case) -> list[str]:
        names = ("--predictions", "results.json"), ("--ann", "instances.json")
        files = [part for option, name in names for part in (option, str(case.source / name))]
        return [*files, "--out", str(case.out / "attributes.json")]

    def judge(self, case: Case, run: Run) -> Account:
        source = read_coco(case.source / "instances.json")
        entries = read_json(case.source / "results.json")
        detections: dict = {}
        unsound = len([e for e in entries if not _is_sound(e)]) if isinstance(entries, list) else 1
        nameable = set()
        for one in entries if isinstance(entries, list) else ():
            if _is_sound(one):
                nameable.add(one["category_id"])
                detections.setdefault(one["image_id"], []).append((corners(one["bbox"]), one["score"]))
        account = judge_attributes(case, source, lambda image_id: detections.get(image_id, []), nameable)
        elsewhere = sum(len(found) for image_id, found in detections.items() if image_id not in source.images)
        for _ in range(elsewhere + unsound):
            account.lose("a prediction")
        return account


def _is_sound(entry) -> bool:
    return (
        isinstance(entry, dict)
        and type(entry.get("image_id")) is int
        and type(entry.get("category_id")) is int
        and is_number(entry.get("score"))
        and isinstance(entry.get("bbox"), list)
        and len(entry["bbox"]) == 4
        and all(map(is_number, entry["bbox"]))
    )


def judge_attributes(case: Case, source, detections_of, nameable) -> Account:
    """Compare the attributes file with Equation 2, computed from the remaining annotations."""
    account = Account()
    written = read_json(case.out / "attributes.json")
    attributes = dict(written["attributes"])
    for k, one in enumerate(source.entries):
        box, key = source.boxes.get(k), str(one.get("id")) if isinstance(one, dict) else ""
        came = attributes.pop(key, None)
        if came is None:
            account.lose(f"annotation {k}, id {key}")
        elif box is None:
            account.wrong.append(f"id {key} is {came}, but has no sound box")
        else:
            right = equation_2(box, one["category_id"], detections_of(one["image_id"]), nameable)
            if right is not None and came != right:
                account.wrong.append(f"id {key} is {came}, right is {right}")
    if attributes:
        account.wrong.append(f"attributes of ids that are not there: {list(attributes)[:3]}")
    return account


ONNX_CONFIG = """onnx_detector = dict(
    input=dict(size=(64, 64)), output=dict(type="DetsLabelsOutput", num_classes={count}),
    nms=None, classes=({classes}),
)
"""


def write_onnx_detector(folder: Path, dets: np.ndarray, labels: np.ndarray, **options) -> None:
    """Write a detector with the same result for every image, in mmdeploy's form: ``model.py`` and ``model.onnx``.

    Args:
        folder: folder of both files.
        dets: (1, N, 5) x1, y1, x2, y2, score in input pixels.
        labels: (1, N).
        options: options of :func:`write_constant_model`.
    """
    classes = ", ".join(map(repr, CLASSES.values()))
    (folder / "model.py").write_text(ONNX_CONFIG.format(count=len(CLASSES), classes=classes))
    write_constant_model(folder / "model.onnx", dict(dets=dets, labels=labels), **options)


def sound_outputs(objects=OBJECTS, score: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(dets, labels)`` of the objects of :mod:`.worlds`; images of 64 x 48 are at the top left of 64 x 64."""
    order = list(CLASSES)
    dets = [[x, y, x + w, y + h, score] for _, x, y, w, h in objects]
    labels = [order.index(category) for category, *_ in objects]
    return np.array([dets], np.float32), np.array([labels], np.int64)


class OnnxAttributes(Target):
    """Annotations, images and an ONNX file with damaged outputs."""

    name, tool, imports = "extract_onnx", "extract_attributes.py", _IMPORTS

    def prepare(self, base: Path) -> None:
        write_set(base, 4)
        write_onnx_detector(base, *sound_outputs(OBJECTS[:2]))

    def damage(self, case: Case) -> None:
        if case.rng.random() < 0.5:
            self._damage_outputs(case)
        if not case.damages or case.rng.random() < 0.5:
            damage_some(
                case, {"json": ["instances.json"], "image": ["images/*"] * 2, "text": ["model.py"]}, 2
            )

    def _damage_outputs(self, case: Case) -> None:
        """Replace the model, and write the meaning of its rows to ``meaning.json``."""
        rng = case.rng
        dets, labels = sound_outputs(OBJECTS[:2])
        ways = {
            "NaN scores": lambda: dets.__setitem__((..., 4), np.nan),
            "a NaN score": lambda: dets.__setitem__((0, 0, 4), np.nan),
            "NaN boxes": lambda: dets.__setitem__((..., slice(0, 4)), np.nan),
            "an infinite box": lambda: dets.__setitem__((0, 0, 2), np.inf),
            "scores in percent": lambda: dets.__setitem__((..., 4), dets[..., 4] * 100),
            "logits": lambda: dets.__setitem__((..., 4), (4.2, -3.0)),
            "negative scores": lambda: dets.__setitem__((..., 4), -dets[..., 4]),
            "normalised boxes": lambda: dets.__setitem__((..., slice(0, 4)), dets[..., :4] / 64),
            "low scores": lambda: dets.__setitem__((..., 4), (0.31, 0.29)),
            "labels from 1": lambda: labels.__iadd__(2),
            "negative labels": lambda: labels.__isub__(2),
        }
        shapes = {
            "float16": lambda: (dets.astype(np.float16), labels),
            "float64 labels": lambda: (dets, labels.astype(np.float64)),
            "int32 labels": lambda: (dets, labels.astype(np.int32)),
            "without a batch": lambda: (dets[0], labels[0]),
            "no rows": lambda: (dets[:, :0], labels[:, :0]),
            "rows of four": lambda: (dets[..., :4], labels),
            "rows of six": lambda: (np.concatenate((dets, dets[..., :1]), -1), labels),
            "transposed": lambda: (dets.transpose(0, 2, 1), labels),
            "fewer labels": lambda: (dets, labels[:, :1]),
            "a batch of three": lambda: (np.repeat(dets, 3, 0), np.repeat(labels, 3, 0)),
        }
        inputs = {
            "an input of uint8": dict(dtype="uint8"),
            "an input of float16": dict(dtype="float16"),
            "an input of float64": dict(dtype="float64"),
            "channels last": dict(shape=(1, 64, 64, 3)),
            "free sides": dict(shape=(1, 3, "h", "w")),
            "one channel": dict(shape=(1, 1, 64, 64)),
            "another size": dict(shape=(1, 3, 32, 32)),
            "three sides": dict(shape=(3, 64, 64)),
            "a free batch": dict(shape=("n", 3, 64, 64)),
            "a batch of two": dict(shape=(2, 3, 64, 64)),
        }
        options: dict = {}
        way = rng.choice([*ways, *shapes, *inputs])
        if way in ways:
            ways[way]()
        elif way in shapes:
            dets, labels = shapes[way]()
        else:
            options = inputs[way]
        write_onnx_detector(case.source, dets, labels, **options)
        case.damages.append(f"model.onnx: {way}")
        unsound = way in ways and way not in ("low scores", "negative labels")
        rows = (
            []
            if way in ("no rows", "negative labels")
            else [[c, 0.9] for c in map(list, map(corners, (o[1:] for o in OBJECTS[:2])))]
        )
        if way == "low scores":
            rows = [[rows[0][0], 0.31], [rows[1][0], 0.29]]
        (case.source / "meaning.json").write_text(json.dumps(dict(unsound=unsound, way=way, rows=rows)))

    def arguments(self, case: Case) -> list[str]:
        files = [str(case.source / name) for name in ("model.py", "model.onnx")]
        return [
            "--detector", *files, "--ann", str(case.source / "instances.json"),
            "--img-dir", str(case.source / "images"), "--out", str(case.out / "attributes.json"),
            "--no-cache", "--device", "cpu",
        ]  # fmt: skip

    def judge(self, case: Case, run: Run) -> Account:
        source = read_coco(case.source / "instances.json")
        meaning = read_json(case.source / "meaning.json") or dict(
            unsound=False, way="", rows=[[corners(o[1:]), 0.9] for o in OBJECTS[:2]]
        )
        if meaning["unsound"]:
            return Account(wrong=[f"attributes out of a model with {meaning['way']}"])
        known = {name: key for key, name in source.names.items()}
        nameable = {known[name] for name in _model_classes(case) if name in known}
        account = judge_attributes(case, source, lambda _: _clipped(meaning["rows"]), nameable)
        for image_id, image in source.images.items():
            name = str(image.get("file_name"))
            if picture(case.source / "images" / name) is None:
                account.wrong.append(f"image id {image_id} cannot be read, yet its objects have attributes")
        account.counted = printed_counts(run.output)
        return account


def _model_classes(case: Case) -> list[str]:
    """Read the classes from the config, which may be damaged but is valid Python."""
    scope: dict = {}
    try:
        exec((case.source / "model.py").read_text(), scope)  # noqa: S102  our own file
        return list(scope["onnx_detector"]["classes"])
    except Exception:
        return list(CLASSES.values())


def _clipped(rows) -> list:
    return [
        (sound_box([b[0], b[1], b[2] - b[0], b[3] - b[1]], *SIZE) or (0, 0, 0, 0), score) for b, score in rows
    ]
