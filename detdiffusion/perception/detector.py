"""Predictions of an mmdet detector: config + checkpoint + images → :class:`Predictions`."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from detdiffusion.datasets.image_files import unreadable
from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config
from detdiffusion.utils.devices import choose_device
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of

from .predictions import UNKNOWN_CATEGORY, Predictions

_ANNOTATION_STEPS = ("LoadAnnotations", "LoadPanopticAnnotations")


class MMDetDetector:
    """A trained mmdet detector that labels images.

    Args:
        config: path (or ``package::file.py``) of an mmdet config; its ``model`` and the test pipeline of its
            ``test_dataloader`` are used.
        checkpoint: its weights, loaded strictly and with ``weights_only=True``.
        device: torch device; None takes CUDA where it is available.
        cfg_options: ``key=value`` overrides of the config.

    Attributes:
        classes: the class names that it can give, in label order: from the checkpoint's ``dataset_meta``,
            else from the config.

    Raises:
        UserError: a missing or broken config or checkpoint, weights of another model, or no class names.
    """

    def __init__(
        self,
        config: str | Path,
        checkpoint: str | Path,
        device: str | None = None,
        cfg_options: Sequence[str] | None = None,
    ) -> None:
        compat.setup()
        from detdiffusion.engine.checkpoint import load_checkpoint, load_strictly

        self.config_path, self.checkpoint_path = str(config), str(checkpoint)
        self.config = load_config(self.config_path, cfg_options)
        for key in ("model", "test_dataloader"):
            if key not in self.config:
                raise UserError(f"{config}: not a detector's config: it lacks '{key}'")
        self._dataset_cfg = _test_dataset(self.config, self.config_path)
        stored = load_checkpoint(checkpoint)
        with _mmdet_scope():
            self.classes = _class_names(stored, self._dataset_cfg, checkpoint)
            self.model = _build(self.config, self.config_path)
        load_strictly(self.model, stored, f"{config}: checkpoint {checkpoint}")
        self.device = choose_device(device)
        self.model.to(self.device).eval()

    @cached_property
    def identity(self) -> dict:
        """Checksums of the network with its test pipeline and of the weights: equal for equal predictions."""
        parts = dict(model=self.config.model.to_dict(), pipeline=self._dataset_cfg["pipeline"])
        text = json.dumps(parts, sort_keys=True, default=str)
        return dict(
            config_sha256=hashlib.sha256(text.encode()).hexdigest(),
            checkpoint_sha256=sha256_of(self.checkpoint_path),
        )

    @property
    def batch_size(self) -> int:
        """Images a batch: that of the config's ``test_dataloader``."""
        return self.config.test_dataloader.get("batch_size", 1)

    @contextlib.contextmanager
    def pooled_features(self) -> Iterator[list[torch.Tensor]]:
        """A list that every batch within adds to: (B, D) float32 on the CPU, the last backbone stage averaged."""
        rows: list[torch.Tensor] = []

        def pool(module, inputs, outputs):
            rows.append(outputs[-1].float().mean(dim=(2, 3)).cpu())

        handle = self.model.backbone.register_forward_hook(pool)
        try:
            yield rows
        finally:
            handle.remove()

    def predict_arrays(self, images: Sequence[np.ndarray], batch_size: int | None = None) -> list[dict]:
        """Detects on images in memory.

        Args:
            images: (H, W, 3) uint8 RGB.
            batch_size: default: :attr:`batch_size`.

        Returns:
            For each image ``boxes`` (N, 4) float64 xyxy in its pixels, ``scores`` (N,) float64 and ``labels``
            (N,) int64 into :attr:`classes`.
        """
        from mmengine.dataset import pseudo_collate

        pipeline, found = self._array_pipeline, []
        size = batch_size or self.batch_size
        with torch.inference_mode():
            for start in range(0, len(images), size):
                part = images[start : start + size]
                batch = [pipeline(dict(img=np.ascontiguousarray(i[..., ::-1]), img_id=0)) for i in part]
                for sample in self.model.test_step(pseudo_collate(batch)):
                    _, labels, boxes, scores = self._columns(sample, np.arange(len(self.classes)))
                    found.append(dict(boxes=boxes, scores=scores, labels=labels))
        return found

    def predict(
        self,
        images: Sequence[dict],
        img_dir: str | Path,
        category_ids: Mapping[str, int],
        *,
        batch_size: int | None = None,
        num_workers: int = 0,
        progress: bool = True,
    ) -> Predictions:
        """Detects on images of a COCO file.

        Args:
            images: COCO image dicts (``id``, ``file_name``, ``width``, ``height``).
            img_dir: folder that ``file_name`` is relative to.
            category_ids: class name -> category id of the annotation file. Predictions of other classes are
                kept with :data:`UNKNOWN_CATEGORY`: class-agnostic matching uses them.
            batch_size: default: that of the config's ``test_dataloader``.
            num_workers: processes that load images.
            progress: print a bar with the remaining time on stderr.

        Raises:
            UserError: images that are missing, cannot be read or have another size than the file says.
        """
        from mmengine.dataset import pseudo_collate
        from tqdm import tqdm

        check_image_files(images, Path(img_dir))
        batch_size = batch_size or self.batch_size
        loader = DataLoader(
            _Images(images, Path(img_dir), self._pipeline()),
            batch_size=batch_size,
            num_workers=num_workers,
            collate_fn=pseudo_collate,
        )
        to_category = np.array([category_ids.get(name, UNKNOWN_CATEGORY) for name in self.classes], np.int64)
        # The bar has the remaining time; a log file gets a line every half minute.
        bar = tqdm(total=len(images), desc="detecting", unit="img", disable=not progress, mininterval=0.5)
        if not bar.disable and not bar.fp.isatty():
            bar.mininterval = 30
        columns: list[tuple] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))]
        with bar, torch.inference_mode():
            for batch in loader:
                for sample in self.model.test_step(batch):
                    columns.append(self._columns(sample, to_category))
                    bar.update()
        image_ids, labels, boxes, scores = (np.concatenate(c) for c in zip(*columns))
        predictions = Predictions(image_ids, labels, boxes, scores)
        unknown = int((labels == UNKNOWN_CATEGORY).sum())
        if unknown:
            predictions.report["predictions of classes that the annotation files lack"] = unknown
        return predictions

    def _columns(self, sample, to_category: np.ndarray) -> tuple:
        found = sample.pred_instances.detach().cpu()
        labels = found.labels.numpy()
        if len(labels) and labels.max() >= len(to_category):
            raise UserError(
                f"{self.config_path}: the detector gives label {labels.max()}, but has only "
                f"{len(to_category)} class names; the checkpoint's classes do not belong to the config"
            )
        return (
            np.full(len(labels), sample.img_id, np.int64),
            to_category[labels],
            found.bboxes.numpy().astype(np.float64).reshape(-1, 4),
            found.scores.numpy().astype(np.float64),
        )

    @cached_property
    def _array_pipeline(self):
        return self._pipeline(from_array=True)

    def _pipeline(self, from_array: bool = False):
        from mmcv.transforms import Compose

        steps = [copy.deepcopy(s) for s in self._dataset_cfg["pipeline"]]
        if from_array:
            steps = [s for s in steps if s["type"].rpartition(".")[2] != "LoadImageFromFile"]
            steps.insert(0, dict(type="mmdet.LoadImageFromNDArray"))
        steps = [s for s in steps if s["type"].rpartition(".")[2] not in _ANNOTATION_STEPS]
        for step in steps:
            if step["type"].rpartition(".")[2] == "PackDetInputs":
                step["meta_keys"] = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
        with _mmdet_scope():
            return Compose(steps)


class _Images(Dataset):
    """Images through a detector's test pipeline; a file that is no image or has another size is named."""

    def __init__(self, images: Sequence[dict], img_dir: Path, pipeline) -> None:
        self.images, self.img_dir, self.pipeline = images, img_dir, pipeline

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        image = self.images[index]
        path = self.img_dir / image["file_name"]
        try:
            results = self.pipeline(dict(img_path=str(path), img_id=image["id"]))
        except Exception as err:
            reason = unreadable(path, image["id"])
            if reason is None:
                raise
            raise reason from err
        height, width = results["data_samples"].ori_shape
        if (height, width) != (image["height"], image["width"]):
            raise UserError(
                f"{path} (image id {image['id']}): the file has {width} x {height} pixels, but the "
                f"annotation file says {image['width']} x {image['height']}; correct one of them"
            )
        return results


def _mmdet_scope():
    """mmdet's names without prefix, and the scope as it was afterwards: a generator may be training around this."""
    from mmengine.registry import DefaultScope

    return DefaultScope.overwrite_default_scope("mmdet")


def check_image_files(images: Sequence[dict], img_dir: Path) -> None:
    """Raises UserError, with their number, if files of COCO image dicts are missing in ``img_dir``."""
    if not img_dir.is_dir():
        raise UserError(f"{img_dir}: no such image folder; give it by --img-dir")
    missing = [image for image in images if not (img_dir / image["file_name"]).is_file()]
    if missing:
        names = ", ".join(image["file_name"] for image in missing[:3]) + (", …" if len(missing) > 3 else "")
        raise UserError(
            f"{img_dir}: {len(missing)} of {len(images)} images are missing ({names}); give "
            "their folder by --img-dir"
        )


def _test_dataset(config, path: str) -> dict:
    """The innermost data set config of the test dataloader: the one with a pipeline."""
    dataset = config.test_dataloader.get("dataset", {})
    while "pipeline" not in dataset:
        inner = dataset.get("dataset") or dataset.get("datasets")
        if not inner:
            raise UserError(f"{path}: 'test_dataloader.dataset' has no 'pipeline' to prepare images with")
        dataset = inner[0] if isinstance(inner, (list, tuple)) else inner
    return dataset


def _class_names(stored: dict, dataset_cfg: dict, checkpoint: str | Path) -> tuple[str, ...]:
    meta = stored.get("meta") or {}
    metas = [
        meta.get("dataset_meta") or {},
        meta,
        dataset_cfg.get("metainfo") or {},
        _default_metainfo(dataset_cfg),
    ]
    for candidate in metas:
        classes = candidate.get("classes") or candidate.get("CLASSES")
        if classes:
            return (classes,) if isinstance(classes, str) else tuple(classes)
    raise UserError(
        f"{checkpoint}: names no classes ('dataset_meta'), nor does the config; set "
        "test_dataloader.dataset.metainfo = dict(classes=(...)) in the config, in label order"
    )


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
        raise UserError(f"{path}: its model does not build: {err}") from err


def _drop_init_cfg(node) -> None:
    """Pretrained backbones are not fetched: the checkpoint overwrites them."""
    if isinstance(node, dict):
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None
        for child in node.values():
            _drop_init_cfg(child)
    elif isinstance(node, (list, tuple)):
        for child in node:
            _drop_init_cfg(child)
