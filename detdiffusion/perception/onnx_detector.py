"""An ONNX detector with a declared output layout, run by onnxruntime (an optional dependency).

Its config (``configs/onnx``) has one entry::

    onnx_detector = dict(
        input=dict(size=(416, 416), resize="letterbox", anchor="top-left", pad_value=114,
                   channels="bgr", mean=(0, 0, 0), std=(1, 1, 1)),
        output=dict(type="YOLOXOutput", strides=(8, 16, 32)),
        nms=dict(iou_threshold=0.65, score_thr=0.01, max_per_image=100),
        classes=("person", ...),
    )
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detdiffusion.datasets.image_files import cut_off, refusal
from detdiffusion.utils.config import load_config
from detdiffusion.utils.config_kind import kind_of
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.threads import thread_count

from .image_detector import Detected, ImageDetector, Reader, check_size


@dataclass(frozen=True)
class InputSpec:
    """How an image becomes the network's input.

    Attributes:
        size: (height, width) in pixels.
        resize: 'letterbox' keeps the aspect ratio and pads; 'stretch' does not.
        anchor: where a letterboxed image lies, 'top-left' or 'centre'.
        pad_value: grey level of the padding, 0 to 255.
        channels: 'bgr' or 'rgb'.
        mean, std: subtracted and divided by, in grey levels, in the order of the channels.

    Raises:
        UserError: an unknown word.
    """

    size: tuple[int, int]
    resize: str = "letterbox"
    anchor: str = "top-left"
    pad_value: int = 114
    channels: str = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)

    def __post_init__(self) -> None:
        known = dict(resize=("letterbox", "stretch"), anchor=("top-left", "centre"), channels=("bgr", "rgb"))
        for name, words in known.items():
            if getattr(self, name) not in words:
                raise UserError(
                    f"onnx_detector.input: {name} must be one of {words}, got {getattr(self, name)!r}"
                )

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The input of one image.

        Args:
            image: (h, w, 3) uint8 BGR.

        Returns:
            ``(inputs, scale, offset)``: (3, H, W) float32, and the (x, y) factors and shifts with
            ``input pixel = image pixel * scale + offset``.
        """
        import cv2

        height, width = self.size
        h, w = image.shape[:2]
        if self.resize == "stretch":
            new_h, new_w = height, width
        else:
            ratio = min(height / h, width / w)
            new_h, new_w = max(1, int(h * ratio)), max(1, int(w * ratio))
        top, left = 0, 0
        if self.anchor == "centre":
            top, left = (height - new_h) // 2, (width - new_w) // 2
        canvas = np.full((height, width, 3), self.pad_value, np.uint8)
        canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h))
        if self.channels == "rgb":
            canvas = canvas[:, :, ::-1]
        inputs = (canvas.astype(np.float32) - np.float32(self.mean)) / np.float32(self.std)
        scale = np.array([new_w / w, new_h / h])
        return np.ascontiguousarray(inputs.transpose(2, 0, 1)), scale, np.array([left, top], np.float64)


class OnnxDetector(ImageDetector):
    """A detector in an ``.onnx`` file.

    Args:
        config: path of a config with ``onnx_detector``, see the module.
        weights: the ``.onnx`` file.
        device: 'cpu', 'cuda' or 'cuda:N'; None takes CUDA where onnxruntime has it.
        cfg_options: ``key=value`` overrides of the config.

    Raises:
        UserError: onnxruntime is not installed; no such file or no ONNX model; a config that lacks an entry or
            does not fit the model.
    """

    def __init__(
        self,
        config: str | Path,
        weights: str | Path,
        device: str | None = None,
        cfg_options: Sequence[str] | None = None,
    ) -> None:
        self.name, self.weights = str(config), str(weights)
        spec = _read_spec(self.name, cfg_options)
        self._spec = json.dumps(spec, sort_keys=True)
        self.classes = tuple(spec["classes"])
        self.input = _build(InputSpec, spec["input"], f"{config}: onnx_detector.input")
        self._decode = _build_output(spec["output"], self.name)
        self.nms = spec.get("nms", {})
        if self.nms is not None:
            self.nms = dict(dict(iou_threshold=0.65, score_thr=0.01, max_per_image=100), **self.nms)
        self.session = _session(self.weights, device)
        self._sha256 = sha256_of(self.weights)
        inputs = self.session.get_inputs()
        shape = inputs[0].shape
        fixed = [side for side in shape[2:] if isinstance(side, int)]
        if len(inputs) != 1 or len(shape) != 4 or (len(fixed) == 2 and tuple(fixed) != self.input.size):
            wants = ", ".join(f"{one.name} {one.shape}" for one in inputs)
            raise UserError(
                f"{weights}: takes {wants}, but {config} declares one image of "
                f"1 x 3 x {self.input.size[0]} x {self.input.size[1]}; correct onnx_detector.input.size"
            )
        self._input_name, self._fixed_batch = inputs[0].name, isinstance(shape[0], int) and shape[0]
        self.default_batch_size = self._fixed_batch or 8

    def identity(self) -> dict:
        """Weights and declaration."""
        return dict(kind="onnx", spec=self._spec, weights=self._sha256)

    def describe(self) -> dict:
        """Config, file, its checksum and the classes."""
        return dict(
            config=self.name, checkpoint=self.weights, sha256=self._sha256, classes=list(self.classes)
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
        """See :meth:`ImageDetector.detect`; a model with a fixed batch size is run with that."""
        from concurrent.futures import ThreadPoolExecutor

        size = self._fixed_batch or batch_size
        with ThreadPoolExecutor(max(1, num_workers)) as pool:
            for start in range(0, len(images), size):
                batch = images[start : start + size]
                prepared = list(pool.map(lambda image: self._load(image, img_dir, reader or _read), batch))
                inputs = np.stack([inputs for inputs, *_ in prepared])
                if len(inputs) < size and self._fixed_batch:
                    inputs = np.concatenate((inputs, np.repeat(inputs[:1], size - len(inputs), axis=0)))
                outputs = self.session.run(None, {self._input_name: inputs})
                for k, (image, (_, scale, offset)) in enumerate(zip(batch, prepared)):
                    yield image["id"], *self._boxes([array[k] for array in outputs], image, scale, offset)

    def _load(self, image: Mapping, img_dir: Path, reader: Reader):
        path = img_dir / image["file_name"]
        pixels = reader(path)
        if pixels is None:
            raise refusal(path, image["id"])
        check_size(path, image, pixels.shape[1], pixels.shape[0])
        return self.input.prepare(pixels)

    def _boxes(self, outputs, image: Mapping, scale, offset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, boxes in the image's pixels and scores, by falling score."""
        try:
            boxes, scores = self._decode(outputs, self.input.size)
        except (IndexError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            shapes = ", ".join(str(list(array.shape)) for array in outputs)
            raise UserError(
                f"{self.name}: onnx_detector.output does not fit the model, which gives {shapes} an image: {error}"
            ) from error
        if scores.shape[1] != len(self.classes):
            raise UserError(
                f"{self.name}: the model scores {scores.shape[1]} classes, but onnx_detector.classes names "
                f"{len(self.classes)}"
            )
        boxes = (boxes - np.tile(offset, 2)) / np.tile(scale, 2)
        boxes = np.clip(boxes, 0, [image["width"], image["height"]] * 2)
        threshold = 0.0 if self.nms is None else self.nms["score_thr"]
        rows, labels = np.nonzero(scores > threshold)
        boxes, scores = boxes[rows], np.clip(scores[rows, labels], 0, 1)
        order = (
            np.argsort(-scores, kind="stable") if self.nms is None else self._suppress(boxes, scores, labels)
        )
        return labels[order], boxes[order], scores[order]

    def _suppress(self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Kept rows of a class-wise NMS, by falling score."""
        import torch
        from torchvision.ops import batched_nms

        kept = batched_nms(
            torch.from_numpy(boxes),
            torch.from_numpy(scores),
            torch.from_numpy(labels),
            float(self.nms["iou_threshold"]),
        )
        return kept[: self.nms["max_per_image"]].numpy()


def _read(path: Path) -> np.ndarray | None:
    import cv2

    # boxes refer to the stored pixels, so an EXIF orientation must not turn the image
    return None if cut_off(path) else cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def _read_spec(config: str, cfg_options: Sequence[str] | None) -> dict:
    cfg = load_config(config, cfg_options)
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
        return [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{config}: onnx_detector.classes {path}: cannot be read: {error}") from None


def _build(cls, values: Mapping, where: str):
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise UserError(f"{where}: {error}") from error


def _build_output(spec: Mapping, config: str):
    from detdiffusion.registry import TASK_UTILS

    from . import onnx_outputs  # noqa: F401  registers the layouts

    cls = TASK_UTILS.get(str(spec.get("type")))
    if cls is None:
        known = [name for name in TASK_UTILS.module_dict if name.endswith("Output")]
        raise UserError(
            f"{config}: onnx_detector.output: no layout {spec.get('type')!r}; known: {', '.join(known)}"
        )
    return _build(cls, {k: v for k, v in spec.items() if k != "type"}, f"{config}: onnx_detector.output")


def _session(weights: str, device: str | None):
    if not Path(weights).is_file():
        raise UserError(f"{weights}: no such ONNX file; check the path")
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "an ONNX detector needs onnxruntime, which is not installed: pip install onnxruntime "
            "(onnxruntime-gpu for CUDA)"
        ) from None
    available = onnxruntime.get_available_providers()
    kind, _, index = (device or "").partition(":")
    providers: list = ["CPUExecutionProvider"]
    if kind in ("", "cuda") and "CUDAExecutionProvider" in available:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(index or 0)}))
    elif kind not in ("", "cpu"):
        raise UserError(f"--device {device}: onnxruntime has {', '.join(available)} here; take --device cpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = thread_count()
    if os.environ.get("OMP_WAIT_POLICY", "").upper() != "ACTIVE":
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(weights, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no public base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{weights}: not an ONNX model that onnxruntime can run: {reason}") from error
