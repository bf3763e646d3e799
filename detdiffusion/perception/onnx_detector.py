"""An ONNX detector with a declared output layout, run by onnxruntime (an optional dependency).

Its config (see ``configs/onnx``) has one entry::

    onnx_detector = dict(
        input=dict(size=(416, 416), resize="letterbox", anchor="top-left", pad_value=114,
                   channels="bgr", mean=(0, 0, 0), std=(1, 1, 1)),   # onnx_input.InputSpec
        output=dict(type="YOLOXOutput", strides=(8, 16, 32)),                # onnx_outputs
        nms=dict(iou_threshold=0.65, score_thr=0.01, max_per_image=100),     # None: inside the graph
        classes=("person", ...),
    )

Data type, channel position and batch size of the input are read from the graph; outputs that contradict the config are
errors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from detdiffusion.datasets.class_names import read_names
from detdiffusion.datasets.image_reading import read_bgr
from detdiffusion.registry import OUTPUT_LAYOUTS
from detdiffusion.utils.config import load_config
from detdiffusion.utils.config_kind import kind_of
from detdiffusion.utils.errors import UserError

from .image_detector import Detected, ImageDetector, Reader, check_size
from .onnx_graph import OnnxGraph
from .onnx_input import InputSpec, settle_input
from .onnx_layout import OutputLayout, check_boxes


class OnnxDetector(ImageDetector):
    """A detector in an ``.onnx`` file.

    Args:
        config: path of a config with ``onnx_detector``, see the module's docstring.
        weights: the ``.onnx`` file.
        device: 'cpu', 'cuda' or 'cuda:N'; None uses CUDA if onnxruntime supports it.
        cfg_options: ``key=value`` overrides of the config.

    Attributes:
        graph: the opened :class:`.onnx_graph.OnnxGraph`.

    Raises:
        UserError: onnxruntime is not installed; the file does not exist or is not an ONNX model; the config lacks an
            entry or does not match the model.
    """

    def __init__(
        self,
        config: str | Path,
        weights: str | Path,
        device: str | None = None,
        cfg_options: Sequence[str] | None = None,
    ) -> None:
        self.name, self.weights = str(config), str(weights)
        self.config = load_config(self.name, cfg_options)
        spec = _read_spec(self.config, self.name)
        self._spec = json.dumps(spec, sort_keys=True)
        self.classes = tuple(spec["classes"])
        self._layout = _build_output(spec["output"], len(self.classes), self.name)
        self.nms = _nms(spec, self._layout, self.name)
        declared = _build(InputSpec, spec["input"], f"{config}: onnx_detector.input")
        self.graph = OnnxGraph(weights, device)
        self._input = settle_input(declared, self.graph, self.name)
        self._outputs = self._with_context(self._layout.names, [port.name for port in self.graph.outputs])
        self.default_batch_size = self._input.batch or 8
        self._batches: bool | None = True if self._input.batch else None

    def identity(self) -> dict:
        """See :meth:`ImageDetector.identity`."""
        return dict(kind="onnx", spec=self._spec, weights=self.graph.sha256)

    def describe(self) -> dict:
        """See :meth:`ImageDetector.describe`."""
        return dict(
            config=self.name, checkpoint=self.weights, sha256=self.graph.sha256, classes=list(self.classes)
        )

    def settings(self) -> dict:
        """See :meth:`ImageDetector.settings`."""
        spec, nms = json.loads(self._spec), self.nms or {}
        return dict(
            type="ONNX",
            network=f"{Path(self.weights).name}, {spec['output']['type']}",
            score_thr=nms.get("score_thr"),
            nms=dict(type="nms", iou_threshold=nms["iou_threshold"]) if nms else None,
            test_cfg=nms,
            pipeline=[spec["input"]],
        )

    def detect(
        self,
        images: Sequence[dict],
        img_dir: Path,
        batch_size: int,
        num_workers: int,
        reader: Reader | None = None,
    ) -> Iterator[Detected]:
        """See :meth:`ImageDetector.detect`; a model with a fixed batch size ignores ``batch_size``."""
        from concurrent.futures import ThreadPoolExecutor

        size = self._input.batch or batch_size
        with ThreadPoolExecutor(max(1, num_workers)) as pool:
            for start in range(0, len(images), size):
                batch = images[start : start + size]
                prepared = list(pool.map(lambda image: self._load(image, img_dir, reader), batch))
                arrays = self._infer([inputs for inputs, *_ in prepared])
                for image, outputs, (_, scale, offset) in zip(batch, arrays, prepared):
                    where = f"image {image['file_name']} (id {image['id']}): "
                    detected = self._with_context(self._boxes, outputs, image, scale, offset, where=where)
                    yield image["id"], *detected

    def _load(self, image: Mapping, img_dir: Path, reader: Reader | None):
        path = img_dir / image["file_name"]
        pixels = read_bgr(path, image) if reader is None else reader(path)
        check_size(path, image, pixels.shape[1], pixels.shape[0])
        return self._input.spec.prepare(pixels)

    def _infer(self, inputs: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Return the output arrays of each image.

        Many exports that declare a dynamic batch size return rows of one image only, or of all images without their
        index. Therefore batches are used only after the outputs of a batch were equal to those of its images run one
        at a time; otherwise the model is run image by image.
        """
        if len(inputs) == 1 or self._batches:
            return self._with_context(self._run, inputs)
        alone = [row for image in inputs for row in self._with_context(self._run, [image])]
        if self._batches is None:
            try:
                together = self._run(inputs)
                self._batches = all(map(_alike, together, alone))
            except UserError:
                self._batches = False
            if not self._batches:
                print(
                    f"note: {self.weights} declares a dynamic batch size, but does not return the detections of each "
                    "image of a batch: images are run one at a time",
                    file=sys.stderr,
                )
            elif not any(np.any(array) for arrays in together[1:] for array in arrays):
                self._batches = None  # inconclusive: nothing was detected in the other images
        return alone

    def _run(self, inputs: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        fed = self._input.pack(inputs)
        arrays = self.graph.run(fed, self._outputs)
        images = self._layout.split(arrays, len(fed))
        if images is None:
            given = ", ".join(f"{name} {list(array.shape)}" for name, array in zip(self._outputs, arrays))
            raise UserError(
                f"outputs {given} for {len(fed)} image(s), but {type(self._layout).__name__} reads "
                f"{self._layout.shapes}; correct onnx_detector.output.type, or name the outputs in order by "
                "output.outputs=('...',)"
            )
        return images

    def _with_context(self, step: Callable, *args, where: str = ""):
        """Call ``step``, and add the files and ``where`` to its errors."""
        try:
            return step(*args)
        except (IndexError, ValueError) as error:
            raise UserError(f"{self.weights} (declared in {self.name}): {where}{error}") from error

    def _boxes(self, arrays, image: Mapping, scale, offset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return labels, boxes in pixels of the image and scores, by descending score."""
        for name, array in zip(self._outputs, arrays):
            _check_finite(f"output {name}", array)
        boxes, scores = self._layout(arrays, self._input.spec.size)
        if scores.shape[1] != len(self.classes):
            raise UserError(
                f"the model scores {scores.shape[1]} classes, but onnx_detector.classes names {len(self.classes)} "
                f"(output {', '.join(str(list(array.shape)) for array in arrays)} per image)"
            )
        _check_finite("its decoded boxes", boxes)
        threshold = 0.0 if self.nms is None else self.nms["score_thr"]
        check_boxes(boxes, (scores > threshold).any(axis=1), self._input.spec.size)
        boxes = (boxes - np.tile(offset, 2)) / np.tile(scale, 2)
        boxes = np.clip(boxes, 0, [image["width"], image["height"]] * 2)
        rows, labels = np.nonzero(scores > threshold)
        boxes, scores = boxes[rows], scores[rows, labels]
        order = (
            np.argsort(-scores, kind="stable") if self.nms is None else self._suppress(boxes, scores, labels)
        )
        return labels[order], boxes[order], scores[order]

    def _suppress(self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the rows kept by class-wise NMS, by descending score."""
        import torch
        from torchvision.ops import batched_nms

        kept = batched_nms(
            torch.from_numpy(boxes),
            torch.from_numpy(scores),
            torch.from_numpy(labels),
            float(self.nms["iou_threshold"]),
        )
        return kept[: self.nms["max_per_image"]].numpy()


def _read_spec(cfg: Mapping, config: str) -> dict:
    spec = cfg.get("onnx_detector")
    if spec is None:
        raise UserError(
            f"{config}: not an ONNX detector's config, it is {kind_of(cfg)}: it lacks 'onnx_detector' (see "
            "configs/onnx)"
        )
    spec = spec.to_dict()
    for key in ("input", "output", "classes"):
        if key not in spec:
            raise UserError(f"{config}: onnx_detector lacks '{key}'; see configs/onnx for examples")
    unknown = set(spec) - {"input", "output", "nms", "classes"}
    if unknown:
        raise UserError(f"{config}: onnx_detector has unknown entries {', '.join(sorted(unknown))}")
    if isinstance(spec["classes"], str):
        spec["classes"] = _read_names(spec["classes"], config)
    return spec


def _read_names(path: str, config: str) -> list[str]:
    try:
        return read_names(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{config}: onnx_detector.classes {path}: cannot be read: {error}; a single name needs a comma: ('cat',)"
        ) from None


def _build(cls, values: Mapping, where: str):
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise UserError(f"{where}: {error}") from error


def _build_output(spec: Mapping, classes: int, config: str) -> OutputLayout:
    from . import onnx_outputs  # noqa: F401  registers the layouts

    layouts = OUTPUT_LAYOUTS.module_dict
    cls = layouts.get(str(spec.get("type")))
    if cls is None:
        raise UserError(
            f"{config}: onnx_detector.output: no layout {spec.get('type')!r}; known: {', '.join(layouts)}"
        )
    options = {key: value for key, value in spec.items() if key != "type"}
    if cls.nms_inside:
        options.setdefault("num_classes", classes)
    layout = _build(cls, options, f"{config}: onnx_detector.output")
    if cls.nms_inside and layout.num_classes != classes:
        raise UserError(
            f"{config}: onnx_detector.output.num_classes={layout.num_classes}, but onnx_detector.classes names "
            f"{classes} classes"
        )
    return layout


def _nms(spec: Mapping, layout: OutputLayout, config: str) -> dict | None:
    """Return the config's NMS options with defaults, or None if the graph contains NMS."""
    nms = spec.get("nms", None if layout.nms_inside else {})
    if nms is None and layout.nms_inside:
        return None
    if nms is None:
        raise UserError(
            f"{config}: onnx_detector.nms=None, but {type(layout).__name__} is the layout of a graph without NMS: give "
            "nms=dict(iou_threshold=...) (1.0 keeps every box), or the layout of a graph with NMS inside "
            "(EndToEndOutput, DetsLabelsOutput, ...)"
        )
    known = dict(iou_threshold=0.65, score_thr=0.01, max_per_image=100)
    unknown = sorted(set(nms) - set(known))
    if unknown:
        raise UserError(
            f"{config}: onnx_detector.nms has unknown entries {', '.join(unknown)}; it takes {', '.join(known)}"
        )
    nms = {**known, **nms}
    if not (0 < nms["iou_threshold"] <= 1 and 0 <= nms["score_thr"] < 1 and nms["max_per_image"] >= 1):
        raise UserError(
            f"{config}: onnx_detector.nms={nms}: iou_threshold must lie in (0, 1], score_thr in [0, 1), and "
            "max_per_image be at least 1"
        )
    return nms


def _check_finite(name: str, array: np.ndarray) -> None:
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise UserError(
            f"{bad} of {array.size} numbers of {name} {list(array.shape)} are NaN or infinite; the model's weights are "
            "damaged, or its computation overflows (a float16 export): export it again in float32"
        )


def _alike(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> bool:
    """Return whether two runs returned the same arrays, up to rounding due to the batch size."""
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=0.05, atol=0.05, equal_nan=True)
        for a, b in zip(first, second)
    )
