"""An mmdet detector: config + checkpoint + images → :class:`~.predictions.Predictions`."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from detdiffusion.utils import compat
from detdiffusion.utils.checkpoint import stored_classes
from detdiffusion.utils.config import load_config
from detdiffusion.utils.config_kind import kind_of
from detdiffusion.utils.devices import choose_device
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.files import sha256_of

from .image_detector import Detected, ImageDetector, Reader, check_detected, check_size

_ANNOTATION_STEPS = ("LoadAnnotations", "LoadPanopticAnnotations")


class MMDetDetector(ImageDetector):
    """A trained mmdet detector.

    Args:
        config: path (or ``package::file.py``) of an mmdet config; its ``model`` and the test pipeline of its
            ``test_dataloader`` are used.
        checkpoint: its weights, loaded strictly and with ``weights_only=True``.
        device: torch device; None uses CUDA if it is available.
        cfg_options: ``key=value`` overrides of the config.

    Attributes:
        classes: class names in label order, from the checkpoint's ``dataset_meta`` or else from the config.

    Raises:
        UserError: config or checkpoint is missing or damaged, weights are not finite or do not match the config, or
            the class names are unknown or their number differs from that of the head.
    """

    shows_features = True

    def __init__(
        self,
        config: str | Path,
        checkpoint: str | Path,
        device: str | None = None,
        cfg_options: Sequence[str] | None = None,
    ) -> None:
        compat.setup()
        from detdiffusion.utils.checkpoint import load_checkpoint, load_strictly

        self.name, self.checkpoint = str(config), str(checkpoint)
        self.config = load_config(self.name, cfg_options)
        for key in ("model", "test_dataloader"):
            if key not in self.config:
                raise UserError(
                    f"{config}: not a detector's config, it is {kind_of(self.config)}: it lacks '{key}'"
                )
        if kind_of(self.config).startswith("a generator"):
            raise UserError(f"{config}: not a detector's config, it is {kind_of(self.config)}")
        self._dataset_cfg = _test_dataset(self.config, self.name)
        stored = load_checkpoint(checkpoint)
        self._weights = sha256_of(checkpoint)
        self.default_batch_size = self.config.test_dataloader.get("batch_size", 1)
        with _mmdet_scope():
            self.classes = _class_names(stored, self._dataset_cfg, checkpoint)
            self.model = _build(self.config, self.name)
        where, hint = f"{config}: checkpoint {checkpoint}", "Use the config it was trained with."
        mismatch = _class_mismatch(self.model, self.classes)
        load_strictly(self.model, stored, where, hint=f"{hint} {mismatch}".rstrip())
        if mismatch:
            raise UserError(f"{where}: {mismatch}")
        self.device = choose_device(device)
        self.model.to(self.device).eval()

    def identity(self) -> dict:
        """See :meth:`ImageDetector.identity`."""
        return dict(
            kind="mmdet",
            model=json.dumps(self.config.model.to_dict(), sort_keys=True, default=str),
            pipeline=json.dumps(self._steps(), sort_keys=True, default=str),
            weights=self._weights,
            classes=list(self.classes),
        )

    def describe(self) -> dict:
        """See :meth:`ImageDetector.describe`."""
        return dict(
            config=self.name, checkpoint=self.checkpoint, sha256=self._weights, classes=list(self.classes)
        )

    def settings(self) -> dict:
        """See :meth:`ImageDetector.settings`; those of the second stage for a two-stage detector."""
        test_cfg = getattr(self.model, "test_cfg", None) or {}
        final = test_cfg.get("rcnn") or test_cfg
        network = getattr(self.model, "network_cfg", None)
        return dict(
            type=type(self.model).__name__,
            network=network.name if network else type(self.model).__name__,
            score_thr=final.get("score_thr"),
            nms=_plain(final.get("nms")),
            test_cfg=_plain(test_cfg),
            pipeline=_plain(self._dataset_cfg["pipeline"]),
        )

    @contextlib.contextmanager
    def pooled_features(self) -> Iterator[list[torch.Tensor]]:
        """Collect average-pooled features of the last backbone stage, (B, D) float32 on the CPU for each batch."""
        rows: list[torch.Tensor] = []

        def pool(module, inputs, outputs):
            rows.append(outputs[-1].float().mean(dim=(2, 3)).cpu())

        handle = self.model.backbone.register_forward_hook(pool)
        try:
            yield rows
        finally:
            handle.remove()

    def predict_arrays(self, images: Sequence[np.ndarray], batch_size: int | None = None) -> list[dict]:
        """Detect objects in images in memory.

        Args:
            images: (H, W, 3) uint8 RGB.
            batch_size: default: :attr:`default_batch_size`.

        Returns:
            For each image, ``boxes`` (N, 4) float64 xyxy in pixels, ``scores`` (N,) float64 and ``labels`` (N,) int64,
            which are indices of :attr:`classes`.
        """
        from mmengine.dataset import pseudo_collate

        found, size = [], batch_size or self.default_batch_size
        for start in range(0, len(images), size):
            part = images[start : start + size]
            arrays = [dict(img=np.ascontiguousarray(i[..., ::-1]), img_id=0) for i in part]
            batch = pseudo_collate([self._array_pipeline(array) for array in arrays])
            for _, labels, boxes, scores in self._run(batch):
                check_detected(self.name, f"image {len(found)}", labels, boxes, scores, len(self.classes))
                found.append(dict(boxes=boxes, scores=scores, labels=labels))
        return found

    def detect(
        self,
        images: Sequence[dict],
        img_dir: Path,
        batch_size: int,
        num_workers: int,
        reader: Reader | None = None,
    ) -> Iterator[Detected]:
        """See :meth:`ImageDetector.detect`."""
        from mmengine.dataset import pseudo_collate

        loader = DataLoader(
            _Images(images, img_dir, self._pipeline(from_array=reader is not None), reader),
            batch_size=batch_size,
            num_workers=num_workers,
            collate_fn=pseudo_collate,
        )
        for batch in loader if images else ():
            yield from self._run(batch)

    def _run(self, batch: dict) -> Iterator[Detected]:
        with torch.inference_mode():
            samples = self.model.test_step(batch)
        for sample in samples:
            found = sample.pred_instances.detach().cpu()
            yield (
                sample.img_id,
                found.labels.numpy().astype(np.int64),
                found.bboxes.numpy().astype(np.float64).reshape(-1, 4),
                found.scores.numpy().astype(np.float64),
            )

    @cached_property
    def _array_pipeline(self):
        return self._pipeline(from_array=True)

    def _steps(self) -> list[dict]:
        steps = [copy.deepcopy(s) for s in self._dataset_cfg["pipeline"]]
        steps = [s for s in steps if s["type"].rpartition(".")[2] not in _ANNOTATION_STEPS]
        for step in steps:
            if step["type"].rpartition(".")[2] == "PackDetInputs":
                keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
                step["meta_keys"] = tuple(dict.fromkeys((*keys, *step.get("meta_keys", ()))))
        return steps

    def _pipeline(self, from_array: bool = False):
        from mmcv.transforms import Compose

        from detdiffusion.datasets.mmdet_images import use_one_reader

        steps = self._steps()
        if from_array:
            load = [s for s in steps if s["type"].rpartition(".")[2] == "LoadImageFromFile"]
            floats = any(step.get("to_float32") for step in load)
            steps = [step for step in steps if step not in load]
            steps.insert(0, dict(type="mmdet.LoadImageFromNDArray", to_float32=floats))
        with _mmdet_scope():
            pipeline = Compose(steps)
        use_one_reader(pipeline)
        return pipeline


class _Images(Dataset):
    """Images processed by a detector's test pipeline; unreadable files and unexpected sizes raise a UserError."""

    def __init__(self, images: Sequence[dict], img_dir: Path, pipeline, reader: Reader | None) -> None:
        self.images, self.img_dir, self.pipeline, self.reader = images, img_dir, pipeline, reader

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        image = self.images[index]
        path = self.img_dir / image["file_name"]
        if self.reader is not None:
            pixels = self.reader(path)
            check_size(path, image, pixels.shape[1], pixels.shape[0])
            return self.pipeline(dict(img=pixels, img_id=image["id"]))
        size = dict(width=image["width"], height=image["height"])
        results = self.pipeline(dict(img_path=str(path), img_id=image["id"], **size))
        height, width = results["data_samples"].ori_shape  # a custom loading step may not check this
        check_size(path, image, width, height)
        return results


def _plain(value):
    """Convert a value of a config to json types."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _mmdet_scope():
    """Set the default scope to mmdet within a context; the previous one, e.g. of a training, is restored."""
    from mmengine.registry import DefaultScope

    return DefaultScope.overwrite_default_scope("mmdet")


def _test_dataset(config, path: str) -> dict:
    """Return the innermost data set config of the test dataloader, which has the pipeline."""
    dataset = config.test_dataloader.get("dataset", {})
    while "pipeline" not in dataset:
        inner = dataset.get("dataset") or dataset.get("datasets")
        if not inner:
            raise UserError(f"{path}: 'test_dataloader.dataset' has no 'pipeline' to prepare images with")
        dataset = inner[0] if isinstance(inner, (list, tuple)) else inner
    return dataset


def _class_names(stored: dict, dataset_cfg: dict, checkpoint: str | Path) -> tuple[str, ...]:
    if names := stored_classes(stored, f"checkpoint {checkpoint}"):
        return names
    for candidate in (dataset_cfg.get("metainfo") or {}, _default_metainfo(dataset_cfg)):
        classes = candidate.get("classes") or candidate.get("CLASSES")
        if classes:
            return (classes,) if isinstance(classes, str) else tuple(classes)
    raise UserError(
        f"{checkpoint}: neither the checkpoint ('dataset_meta') nor the config has class names; set "
        "test_dataloader.dataset.metainfo = dict(classes=(...)) in the config, in label order"
    )


def _class_mismatch(model: torch.nn.Module, classes: Sequence[str]) -> str:
    """Describe a mismatch between the head's number of classes and the class names; '' if there is none."""
    if hasattr(model, "language_model"):  # open-vocabulary: any number of names
        return ""
    for name in ("roi_head.bbox_head.0", "roi_head.bbox_head", "bbox_head"):
        try:
            count = getattr(model.get_submodule(name), "num_classes", None)
        except AttributeError:
            continue
        if isinstance(count, int) and count != len(classes):
            return (
                f"The config's {name} has num_classes={count}, but there are {len(classes)} class names "
                f"({some(classes)}) in the checkpoint or, if it has none, in the config; they must agree."
            )
    return ""


def _default_metainfo(dataset_cfg: dict) -> dict:
    from mmdet.registry import DATASETS

    return getattr(DATASETS.get(dataset_cfg.get("type", "")), "METAINFO", None) or {}


def _build(config, path: str):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.model.utils import revert_sync_batchnorm

    register_all_modules(init_default_scope=False)
    model = copy.deepcopy(config.model)
    _drop_init_cfg(model)
    try:
        return revert_sync_batchnorm(MODELS.build(model))
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, ImportError) as err:
        raise UserError(f"{path}: its model cannot be built: {err}") from err


def _drop_init_cfg(node) -> None:
    """Remove ``init_cfg`` of pretrained backbones, as the checkpoint overwrites these weights."""
    if isinstance(node, dict):
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None
        for child in node.values():
            _drop_init_cfg(child)
    elif isinstance(node, (list, tuple)):
        for child in node:
            _drop_init_cfg(child)
