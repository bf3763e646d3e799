"""A data set of layouts from COCO-Thing-Stuff json files, which counts every dropped object."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import nn
from torch.utils.data import Dataset

from detdiffusion.registry import DATASETS, TRANSFORMS
from detdiffusion.utils.errors import UserError

from . import transforms
from .class_names import check_known, class_list
from .coco_json import merge_checked, read_coco
from .filter_share import LEAST, describe, layouts_taken, refuse_least
from .json_files import collector_off
from .layout_index import MIN_BYTES, LayoutIndex, Segmentations, index_key, index_places, only_one, store
from .object_digests import object_digests
from .object_table import ObjectTable
from .sample_cache import SampleCache, cache_key

_LOADING = (transforms.LoadLayoutImage, transforms.LoadLayoutMasks)
LAMA_FILTER = dict(min_area_ratio=0.02, min_objects=3, max_objects=8, drop_classes=("other",))


@DATASETS.register_module()
class LayoutCocoDataset(Dataset):
    """Images with layouts from one or more COCO json files of the same images (instances, stuff).

    The filter is LAMA's: no crowds and no objects marked ``ignore``, boxes above a share of the image's area
    (exclusive), images with a minimum to a maximum number of objects. Everything dropped is counted in :attr:`report`
    and printed.

    Args:
        ann_files: COCO json paths; annotation ids must be unique across them.
        img_dir: folder of the images.
        data_root: prefix of relative ``ann_files`` and ``img_dir``.
        pipeline: transform configs; each receives ``img_path``, ``layout`` and ``segmentations``.
        classes: class names to keep, default all; a name that no json has is an error.
        filter_cfg: overrides of :data:`LAMA_FILTER`.
        test_mode: not used by the data set itself; required by mmengine.
        cache_index: cache the filter's result in ``.layout_index`` next to large annotation files (32 MB or more), or
            in the user's cache folder if that is not writable.
        min_kept: smallest share of the objects that the filter may keep; less is an error.

    Attributes:
        report: reason -> number of images or objects, kept and dropped.

    Raises:
        UserError: if a json is missing or broken, a class is unknown, ids are not unique, segmentations are invalid
            while the pipeline loads masks, no image is left, or less than ``min_kept`` of the objects are.
    """

    def __init__(
        self,
        ann_files: str | Sequence[str],
        img_dir: str,
        data_root: str = "",
        pipeline: Sequence[dict | Callable] = (),
        classes: Sequence[str] | None = None,
        filter_cfg: dict | None = None,
        test_mode: bool = False,
        cache_index: bool = True,
        min_kept: float = LEAST,
    ) -> None:
        ann_files = [ann_files] if isinstance(ann_files, (str, Path)) else ann_files
        self.ann_files = [str(Path(data_root, path)) for path in ann_files]
        self.img_dir, self.test_mode = Path(data_root, img_dir), test_mode
        if not self.img_dir.is_dir():
            raise UserError(
                f"no image folder {str(self.img_dir)!r}: set data_root (now {data_root!r}) to the folder of your "
                "data set"
            )
        unknown = set(filter_cfg or ()) - set(LAMA_FILTER)
        if unknown:
            raise UserError(
                f"filter_cfg: unknown keys {sorted(unknown)}; valid keys are {sorted(LAMA_FILTER)}"
            )
        self.filter_cfg = {**LAMA_FILTER, **(filter_cfg or {})}
        classes = None if classes is None else class_list(classes, "classes")
        self.layouts = self._load_layouts(classes, cache_index)
        self.report, self.categories = self.layouts.report, self.layouts.categories
        refuse_least(
            self.report.get("objects kept", 0),
            layouts_taken(self.report),
            min_kept,
            f"{', '.join(self.ann_files)}: {self.layouts.warning or self.summary()}",
            "set min_kept=0 beside filter_cfg (train_dataloader.dataset.min_kept, layout_datasets.SPLIT.min_kept)",
        )
        self.classes = self._check_classes(classes, [category["name"] for category in self.categories])
        self.metainfo = dict(classes=tuple(self.classes))
        self._segmentations = Segmentations(self.ann_files)
        with DefaultScope.overwrite_default_scope("detdiffusion"):  # building a detector may have set mmdet's
            self.pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        self._loading = [s for s in self.pipeline if isinstance(s, _LOADING)]
        self._later = [s for s in self.pipeline if not isinstance(s, _LOADING)]
        if self.layouts.mask_errors and any(isinstance(s, transforms.LoadLayoutMasks) for s in self.pipeline):
            raise UserError("\n".join(self.layouts.mask_errors))
        self._cache: SampleCache | None = None
        for number, step in enumerate(self.pipeline):
            if hasattr(step, "use_samples"):
                step.use_samples(partial(self.load, steps=self.pipeline[:number]), len(self))
        for step in self.pipeline:  # detect files of another data set before the first epoch
            if hasattr(step, "check"):
                step.check(self.layouts.ids, ", ".join(self.ann_files), self.ann_files, self.layouts.digests)
        for line in (*self.layouts.notes, self.summary()):
            print_log(line, logger="current")

    def _load_layouts(self, classes: Sequence[str] | None, cache: bool) -> LayoutIndex:
        """Load the cached index, or build it from the annotation files."""
        sizes = [os.path.getsize(path) for path in self.ann_files if os.path.isfile(path)]
        if not cache or len(sizes) < len(self.ann_files) or sum(sizes) < MIN_BYTES:
            return self._build(classes)
        settings = dict(filter=self.filter_cfg, classes=classes)
        places = index_places(self.ann_files[0], index_key(self.ann_files, settings))
        with only_one(places):
            for place in places:
                if (index := LayoutIndex.load(place)) is not None:
                    print_log(f"layouts read from the index {place}", logger="current")
                    return index
            index = self._build(classes)
            print_log(store(index, places), logger="current")
        return index

    def _check_classes(self, classes, names: list[str]) -> list[str]:
        if classes is None:
            return [name for name in names if name not in self.filter_cfg["drop_classes"]]
        check_known(classes, names, "classes", ", ".join(self.ann_files))
        return classes

    @collector_off()
    def _build(self, classes: Sequence[str] | None) -> LayoutIndex:
        files = [read_coco(path, spans=True) for path in self.ann_files]
        notes = [file.summary() for file in files if file.findings]
        mask_errors = [str(error) for file in files for error in file.mask_errors]
        for owner, file in enumerate(files):
            for annotation in file.annotations:
                annotation["owner"] = owner
        images, categories, annotations = merge_checked(files)
        del files
        self.categories = [categories[key] for key in sorted(categories)]
        self.classes = self._check_classes(classes, [category["name"] for category in self.categories])
        names = {category["id"]: category["name"] for category in self.categories}
        label_of = {name: label for label, name in enumerate(self.classes)}
        report: Counter = Counter()
        objects: dict[int, list[dict]] = {}
        ratios, counts = [], []
        for annotation in annotations:
            image = images[annotation["image_id"]]
            reason = self._drop_reason(annotation, image, names, label_of)
            if reason is None or reason.startswith("objects up to"):
                _, _, w, h = annotation["bbox"]
                ratios.append(w * h / (image["width"] * image["height"]))
            if reason:
                report[reason] += 1
            else:
                objects.setdefault(annotation["image_id"], []).append(annotation)
        del annotations
        low, high = self.filter_cfg["min_objects"], self.filter_cfg["max_objects"]
        kept_images, kept = [], []
        for image_id, image in images.items():
            image_objects = objects.pop(image_id, [])
            counts.append(len(image_objects))
            if low <= len(image_objects) <= high:
                kept_images.append(image)
                kept.append(image_objects)
                continue
            kind = "few" if len(image_objects) < low else "many"
            report[f"images with too {kind} objects"] += 1
            report[f"objects of images with too {kind}"] += len(image_objects)
        report.update({"images": len(images), "images kept": len(kept)})
        report["objects kept"] = sum(map(len, kept))
        self.report = report
        warning = describe(report, self.filter_cfg, ratios, counts) or ""
        note = f"; warning: {warning}" if warning else ""
        if not kept:
            raise UserError(
                f"no image is left after the filter: {self.summary()}{note}; relax filter_cfg or check the paths"
            )
        notes += [f"warning: {warning}"] if warning else []
        rest = dict(names=names, report=dict(report), categories=self.categories)
        rest.update(notes=notes, warning=warning, mask_errors=mask_errors)
        labels = {key: label_of[name] for key, name in names.items() if name in label_of}
        return _columns(kept_images, kept, labels, **rest)

    def _drop_reason(self, annotation: dict, image: dict, names: dict, label_of: dict) -> str | None:
        _, _, w, h = annotation["bbox"]
        if annotation["iscrowd"]:
            return "crowds"
        if annotation.get("ignore"):
            return "marked 'ignore'"
        if names[annotation["category_id"]] not in label_of:
            return "objects of other classes"
        if w * h <= self.filter_cfg["min_area_ratio"] * image["width"] * image["height"]:
            return f"objects up to {100 * self.filter_cfg['min_area_ratio']:g}% of the image"
        return None

    def summary(self) -> str:
        """Return a line with the numbers of kept and dropped images and objects, by reason."""
        counts = ", ".join(f"{reason}: {count}" for reason, count in self.report.items())
        return f"layouts of {', '.join(map(str, self.ann_files))}: {counts}"

    def __len__(self) -> int:
        return len(self.layouts)

    @property
    def training_sizes(self) -> list[tuple[int, int]]:
        """Height and width in pixels of the images in training, one or several; empty if none are loaded."""
        step = self._image_step()
        return step.sizes if step else []

    def training_size(self, index: int) -> tuple[int, int]:
        """Return height and width in pixels of a sample's image in training."""
        width, height = self.layouts.sizes[index].tolist()
        return self._image_step().size_of(width, height)

    def _image_step(self) -> transforms.LoadLayoutImage | None:
        return next((step for step in self.pipeline if isinstance(step, transforms.LoadLayoutImage)), None)

    def load(self, index: int, steps: Sequence[Callable] | None = None) -> dict:
        """Load image and masks of a sample by ``steps``; default: the loading steps of the pipeline."""
        return self._run(self._sample(index), self._loading if steps is None else steps)

    def __getitem__(self, index: int) -> dict:
        if self._cache is None:
            return self._run(self._sample(index), self.pipeline)
        results = self._sample(index, segmentations=False)
        results["moments"] = partial(self._cache.moments, index)
        if self._cache.with_masks:
            results["layout"].masks = self._cache.masks(index)
        return self._run(results, self._later)

    def _sample(self, index: int, segmentations: bool = True) -> dict:
        layout = self.layouts[index]
        results = dict(
            img_path=str(self.img_dir / layout.file_name), layout=layout, seed=getattr(index, "seed", None)
        )
        if segmentations:
            results["segmentations"] = [self._segmentations[place] for place in self.layouts.places(index)]
        return results

    @staticmethod
    def _run(results: dict, steps: list) -> dict:
        for step in steps:
            results = step(results)
        return results

    def images_to_read(self) -> tuple[list[Path], list[dict]]:
        """Return the files of all samples and their COCO dicts; empty if the pipeline loads no images."""
        if self._image_step() is None:
            return [], []
        rows = zip(self.layouts.image_ids.tolist(), self.layouts.sizes.tolist())
        images = [dict(id=image_id, width=width, height=height) for image_id, (width, height) in rows]
        return [self.img_dir / name for name in self.layouts.file_names], images

    def object_table(self) -> ObjectTable:
        """Return the objects that the filter kept, with the paths of their images."""
        counts = np.diff(self.layouts.first)
        image = np.repeat(np.arange(len(counts)), counts)
        sizes = self.layouts.sizes.astype(np.int64)
        boxes = self.layouts.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        return ObjectTable(
            self.classes,
            [f"{self.img_dir}/{name}" for name in self.layouts.file_names],
            sizes,
            image,
            self.layouts.labels,
            boxes * np.tile(sizes[image], 2),
            np.zeros(len(image), bool),
        )

    def sample_cache(self, folder: Path, vae: nn.Module) -> SampleCache:
        """Return the cache of this data set's latents and masks for a VAE; it may be incomplete, see ``missing()``.

        Args:
            folder: parent folder of all caches (for different data sets and sizes).
            vae: the frozen autoencoder.

        Raises:
            UserError: if the pipeline has steps other than those of :mod:`~detdiffusion.datasets.transforms`, whose
                results may not be cacheable.
        """
        kinds = [type(step).__name__ for step in self.pipeline]
        known = [step.__name__ for step in transforms.CACHEABLE]
        foreign = [kind for kind in kinds if kind not in known]
        if foreign or kinds[:1] != ["LoadLayoutImage"]:
            raise UserError(
                f"cache_latents: the pipeline {' -> '.join(kinds)} must begin with LoadLayoutImage and have only "
                f"{', '.join(known)}; set model.cache_latents=False to keep it"
            )
        sizes, with_masks = self.training_sizes, "LoadLayoutMasks" in kinds
        masks = index_key(self.ann_files, {}).encode() + self.layouts.ids.tobytes() if with_masks else b""
        images = [self.img_dir / name for name in self.layouts.file_names]
        flips = [d for step in self.pipeline for d in getattr(step, "directions", ()) if step.prob]
        key = cache_key(vae, images, masks, dict(size=sizes[0] if len(sizes) == 1 else sizes, flips=flips))
        taken = [self.training_size(index) for index in range(len(self))]
        return SampleCache(Path(folder) / key, taken, with_masks, flips)

    def use_sample_cache(self, cache: SampleCache) -> None:
        """Use cached latents and masks instead of reading images and decoding polygons.

        Call it before data loader workers are started.
        """
        self._cache = cache


def _columns(images: list[dict], objects: list[list[dict]], label_of: dict[int, int], **rest) -> LayoutIndex:
    flat = [annotation for image_objects in objects for annotation in image_objects]
    sizes = np.array([(image["width"], image["height"]) for image in images], np.int32)
    counts = np.array([len(image_objects) for image_objects in objects])
    boxes = np.array([a["bbox"] for a in flat])
    boxes[:, 2:] += boxes[:, :2]
    boxes /= np.tile(sizes.repeat(counts, axis=0), 2)
    return LayoutIndex(
        image_ids=np.array([image["id"] for image in images], np.int64),
        sizes=sizes,
        first=np.concatenate([[0], counts.cumsum()]),
        boxes=boxes.clip(0, 1).astype(np.float32),
        labels=np.array([label_of[a["category_id"]] for a in flat], np.int64),
        ids=np.array([a["id"] for a in flat], np.int64),
        category_ids=np.array([a["category_id"] for a in flat], np.int64),
        owner=np.array([a["owner"] for a in flat], np.uint8),
        spans=np.array([a["span"] for a in flat], np.int64),
        digests=object_digests(flat, {image["id"]: image["file_name"] for image in images}, rest["names"]),
        file_names=[image["file_name"] for image in images],
        **rest,
    )
