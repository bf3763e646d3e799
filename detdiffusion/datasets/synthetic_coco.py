"""A data set of real COCO images and synthetic images, to train detectors on.

Import it by ``custom_imports=dict(imports=['detdiffusion.datasets.synthetic_coco'])`` (it imports mmdet). An example
with mmdet's samplers::

    train_dataloader = dict(
        dataset=dict(
            type='detdiffusion.SyntheticAugmentedCocoDataset',
            data_root='data/coco/', ann_file='annotations/instances_train2017.json',
            data_prefix=dict(img='train2017/'), filter_cfg=dict(filter_empty_gt=True),
            pipeline=train_pipeline, synthetic=[dict(data_root='work_dirs/hard')]),
        # optional: a fixed share in every batch instead of over the entire data set
        sampler=dict(type='MultiSourceSampler', batch_size=16, source_ratio=[3, 1]), batch_sampler=None)
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmdet.datasets.api_wrappers import COCO
from mmdet.datasets.coco import CocoDataset
from mmengine.logging import print_log

from detdiffusion.datasets.coco_for_mmdet import (
    TINY,
    check_classes,
    check_share,
    count_drops,
    loads_masks,
    open_checked,
)
from detdiffusion.datasets.coco_tables import MAX_ID
from detdiffusion.datasets.filter_share import LEAST
from detdiffusion.datasets.image_files import NamesUnreadableImages
from detdiffusion.registry import DATASETS
from detdiffusion.utils.errors import UserError

MODES = ("concat", "only_synthetic")


@DATASETS.register_module()
class SyntheticAugmentedCocoDataset(NamesUnreadableImages, CocoDataset):
    """An mmdet ``CocoDataset`` of real images followed by one or more synthetic COCO data sets.

    Every data sample has its provenance: ``synthetic`` (bool), ``strategy`` ('' for real images) and
    ``source_image_id`` (None for real images); pass them on by
    ``PackDetInputs(meta_keys=(..., 'synthetic', 'strategy'))``. Labels follow ``metainfo['classes']`` by name in every
    file. Everything left out is counted in :attr:`report` and printed with the resulting real:synthetic counts.

    Args:
        synthetic: one dict per synthetic data set: ``data_root`` (a folder of tools/generate.py), or ``ann_file``
            with ``data_prefix=dict(img=...)``; these paths are not relative to the real data set's ``data_root``.
        mode: 'concat' (real and synthetic) or 'only_synthetic' (``ann_file`` is then not read).
        fraction: share of each synthetic data set to use, in (0, 1]; a smaller share is a subset of a larger one.
        fraction_seed: seed that selects the subset.
        ignore_not_prompted: turn objects that did not fit into the prompt into ignored regions
            (``ignored_instances``), because it is unknown whether the image shows them.
        min_kept: smallest share of the real and of the synthetic objects that ``filter_cfg`` may keep.
        same_sources: leave out synthetic images that were made of another image than the real ones, by
            ``source_image_id``, so that a detector of a part of the real images sees no layouts of the others (the
            generator may have been trained on all of them).
        **kwargs: as for ``CocoDataset``.

    Attributes:
        report: counts of what was read, used and left out.
        num_real, num_synthetic: number of images of either kind.
        num_ignored: number of ignored regions (crowds of real images, objects that were not prompted, objects rejected
            by the quality gate).

    Raises:
        UserError: if a json is missing or broken or lacks a class, the classes are in another order than in the real
            json (mmdet would mix up their names), a file name points outside its folder, synthetic images are missing,
            or the filter keeps nothing or less than ``min_kept`` of a part; on access, if an image cannot be read.
    """

    def __init__(
        self,
        *args,
        synthetic: Sequence[dict] = (),
        mode: str = "concat",
        fraction: float = 1.0,
        fraction_seed: int = 0,
        ignore_not_prompted: bool = True,
        min_kept: float = LEAST,
        same_sources: bool = False,
        **kwargs,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if not 0 < fraction <= 1:
            raise UserError(f"fraction of the synthetic set must be in (0, 1], got {fraction}")
        if not synthetic:
            raise UserError("synthetic=[...] is empty; for real data only use mmdet's CocoDataset")
        self.synthetic = [_resolve(entry) for entry in synthetic]
        if same_sources and mode == "only_synthetic":
            raise UserError("same_sources needs the real images; mode='only_synthetic' does not read them")
        self.mode, self.fraction, self.fraction_seed = mode, fraction, fraction_seed
        self.same_sources = same_sources
        self.ignore_not_prompted, self.min_kept = ignore_not_prompted, min_kept
        self.report: Counter = Counter()
        self.num_real = self.num_synthetic = self.num_ignored = 0
        super().__init__(*args, **kwargs)

    # mmdet's loading, one part at a time

    def load_data_list(self) -> list[dict]:
        """Load the real images in the json's order, then those of each synthetic data set."""
        data_list: list[dict] = []
        used_ids: set[int] = set()
        cat_img_map: dict[int, list[int]] = {}
        cat_ids: list[int] = []
        parts = [(self.ann_file, self.data_prefix, False)] if self.mode == "concat" else []
        parts += [(ann_file, prefix, True) for ann_file, prefix in self.synthetic]
        for ann_file, prefix, synthetic in parts:
            part = self._load_part(ann_file, prefix, synthetic)
            self.report[f"{'synthetic' if synthetic else 'real'} images read"] += len(part)
            if synthetic:
                part = self._take_fraction(self._take_same_sources(part, ann_file, data_list))
            new_ids = self._unique_ids(part, used_ids)
            cat_ids = cat_ids or self.cat_ids
            for first_id, own_id in zip(cat_ids, self.cat_ids):  # both in the order of the classes
                ids = (new_ids.get(i) for i in self.cat_img_map[own_id])
                cat_img_map.setdefault(first_id, []).extend(i for i in ids if i is not None)
            data_list += part
        self.cat_ids, self.cat_img_map = cat_ids, cat_img_map
        self.cat2label = {cat_id: label for label, cat_id in enumerate(cat_ids)}
        return data_list

    def _load_part(self, ann_file: str, prefix: dict, synthetic: bool) -> list[dict]:
        before = self.ann_file, self.data_prefix
        self.ann_file, self.data_prefix, self._part_is_synthetic = ann_file, prefix, synthetic
        self.COCOAPI = self._open_json
        self._drops: Counter = Counter()
        try:
            part = super().load_data_list()
        finally:
            self.ann_file, self.data_prefix = before
            del self.COCOAPI
        if not part:
            raise UserError(f"{ann_file}: contains no images")
        if synthetic and not self.backend_args:
            missing = [info["img_path"] for info in part if not os.path.isfile(info["img_path"])]
            if missing:
                raise UserError(
                    f"{ann_file}: {len(missing)} of its {len(part)} images are missing, the first "
                    f"{missing[0]}; run tools/generate.py again to complete the set, or correct data_prefix"
                )
        for reason, count in self._drops.items():
            self.report[f"{'synthetic' if synthetic else 'real'} objects left out: {reason}"] += count
        self._reorder_labels(part)
        return part

    def _open_json(self, path: str) -> COCO:
        """Replace mmdet's reading of the file; returns the same type of object for a checked file."""
        coco = open_checked(path, self._drops, masks=loads_masks(self.pipeline))
        check_classes(path, coco, self.metainfo["classes"], same_order=not self._part_is_synthetic)
        self._category_names = {category["id"]: category["name"] for category in coco.dataset["categories"]}
        return coco

    def _reorder_labels(self, part: list[dict]) -> None:
        """Convert labels from the order of the json's categories, which mmdet uses, to that of the classes."""
        classes = list(self.metainfo["classes"])
        label_of = [classes.index(self._category_names[cat_id]) for cat_id in self.cat_ids]
        if label_of != list(range(len(classes))):
            for info in part:
                for instance in info["instances"]:
                    instance["bbox_label"] = label_of[instance["bbox_label"]]
        self.cat_ids = [cat_id for _, cat_id in sorted(zip(label_of, self.cat_ids))]

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse as mmdet does, add the provenance, and count the objects that mmdet drops."""
        info = super().parse_data_info(raw_data_info)
        image, annotations = raw_data_info["raw_img_info"], raw_data_info["raw_ann_info"]
        info["synthetic"] = self._part_is_synthetic
        info["strategy"] = str(image.get("strategy", "")) if self._part_is_synthetic else ""
        info["source_image_id"] = image.get("source_image_id") if self._part_is_synthetic else None
        count_drops(annotations, info, self.cat_ids, self._drops)
        if self._part_is_synthetic and self.ignore_not_prompted:
            regions = self._ignored_regions(image)
            info["instances"] += regions
            if regions:
                self.report["synthetic regions ignored: object not prompted"] += len(regions)
        return info

    def _ignored_regions(self, image: dict) -> list[dict]:
        """Return mmdet instances for the objects left out of the prompt, as recorded by ``tools/generate.py``."""
        regions = []
        for region in image.get("not_prompted", ()):
            x, y, w, h = region["bbox"]
            label = self.cat2label.get(region["category_id"])
            if label is not None and min(w, h) >= 1:
                regions.append(dict(bbox=[x, y, x + w, y + h], bbox_label=label, ignore_flag=1))
        return regions

    def _take_same_sources(self, part: list[dict], ann_file: str, data_list: list[dict]) -> list[dict]:
        if not self.same_sources:
            return part
        real = {info["img_id"] for info in data_list if not info["synthetic"]}
        kept = [info for info in part if info["source_image_id"] in real]
        if not kept:
            print_log(
                f"{ann_file}: no image was made of one of {self.ann_file}, so same_sources leaves real images only",
                logger="current",
                level=logging.WARNING,
            )
        if len(kept) < len(part):
            self.report["synthetic images left out: made of other real images"] += len(part) - len(kept)
        return kept

    def _take_fraction(self, part: list[dict]) -> list[dict]:
        if self.fraction == 1:
            return part

        def rank(info: dict) -> bytes:
            return hashlib.sha256(f"{self.fraction_seed}:{info['img_id']}".encode()).digest()

        chosen = {
            info["img_id"] for info in sorted(part, key=rank)[: max(1, round(self.fraction * len(part)))]
        }
        self.report["synthetic images left out: fraction"] += len(part) - len(chosen)
        return [info for info in part if info["img_id"] in chosen]

    def _unique_ids(self, part: list[dict], used_ids: set[int]) -> dict[int, int]:
        """Renumber images whose id is already used; returns id in the json -> id in this data set."""
        ids: dict[int, int] = {}
        taken = {*used_ids, *(info["img_id"] for info in part)}
        start = max(taken) + 1
        free = (i for i in itertools.count(start if start + len(part) <= MAX_ID else 1) if i not in taken)
        for info in part:
            old = info["img_id"]
            if old in used_ids:
                info["img_id"] = next(free)
                self.report["synthetic images renumbered: id taken"] += 1
            ids[old] = info["img_id"]
        used_ids.update(ids.values())
        return ids

    # filtering, counts and samplers

    def filter_data(self) -> list[dict]:
        """Filter as mmdet does, count the dropped images, and raise if too little is left."""
        before = Counter(info["synthetic"] for info in self.data_list)
        kept = super().filter_data()
        after = Counter(info["synthetic"] for info in kept)
        for synthetic, name in ((False, "real"), (True, "synthetic")):
            if before[synthetic] - after[synthetic]:
                self.report[f"{name} images left out: filter_cfg"] += before[synthetic] - after[synthetic]
            if before[synthetic] and not after[synthetic]:
                raise UserError(
                    f"no {name} image is left by filter_cfg={self.filter_cfg}: all {before[synthetic]} "
                    "are dropped"
                )
            if not self.test_mode:
                parts = (
                    [i for i in infos if i["synthetic"] == synthetic] for infos in (self.data_list, kept)
                )
                tiny = self.report[f"{name} objects left out: {TINY}"]
                if synthetic:  # was counted before `fraction` applied
                    tiny = round(tiny * self.fraction)
                check_share(*parts, tiny, self.filter_cfg or {}, self.min_kept, f"{name} images")
        return kept

    def full_init(self) -> None:
        """Load the data, print the counts, and serialise the data as mmengine does."""
        if self._fully_initialized:
            return
        serialize, self.serialize_data = self.serialize_data, False
        try:
            super().full_init()
        finally:
            self.serialize_data = serialize
        flags = [info["synthetic"] for info in self.data_list]
        strategies = Counter(info["strategy"] or "unnamed" for info in self.data_list if info["synthetic"])
        self.num_synthetic = sum(flags)
        self.num_real = len(flags) - self.num_synthetic
        instances = (instance for info in self.data_list for instance in info["instances"])
        self.num_ignored = sum(instance["ignore_flag"] for instance in instances)
        self._real_first = flags == sorted(flags)
        self._synthetic_ids = {info["img_id"] for info in self.data_list if info["synthetic"]}
        if serialize:
            self.data_bytes, self.data_address = self._serialize_data()
        self.report["real images used"] = self.num_real
        self.report["synthetic images used"] = self.num_synthetic
        for strategy, count in sorted(strategies.items()):
            self.report[f"synthetic images used: strategy {strategy}"] = count
        print_log(self.summary(), logger="current")

    def summary(self) -> str:
        """Return a line with the resulting real:synthetic ratio and all counts."""
        share = self.num_synthetic / max(1, self.num_real + self.num_synthetic)
        counts = ", ".join(f"{reason}: {count}" for reason, count in self.report.items())
        return f"real:synthetic = {self.num_real}:{self.num_synthetic} ({share:.1%} synthetic); {counts}"

    def synthetic_ids(self) -> set[int]:
        """Return ``img_id`` of all synthetic images, e.g. to count them in batches."""
        self.full_init()
        return self._synthetic_ids

    @property
    def cumulative_sizes(self) -> list[int]:
        """Ends of the real and the synthetic images, for mmdet's ``MultiSourceSampler``."""
        self.full_init()
        if not self._real_first or self.num_real + self.num_synthetic != len(self):
            raise UserError(
                "a sampler with a ratio per batch needs the entire data set, not a subset or indices=[...]"
            )
        if not self.num_synthetic:
            raise UserError(
                "a sampler with a ratio per batch needs synthetic images, and same_sources leaves none"
            )
        sizes = [self.num_real, self.num_real + self.num_synthetic]
        return sizes if self.num_real else sizes[1:]

    @property
    def datasets(self) -> list[_Source]:
        """The real and the synthetic images as two data sets, for mmdet's ``MultiSourceSampler``."""
        ends = self.cumulative_sizes
        return [_Source(self, start, end) for start, end in zip([0, *ends], ends)]


class _Source:
    """Images ``start`` to ``end`` of a data set."""

    def __init__(self, dataset: SyntheticAugmentedCocoDataset, start: int, end: int) -> None:
        self.dataset, self.start, self.end = dataset, start, end

    def __len__(self) -> int:
        return self.end - self.start

    def get_data_info(self, index: int) -> dict:
        return self.dataset.get_data_info(self.start + index)


def _resolve(entry: dict) -> tuple[str, dict]:
    """Return ``(annotation file, data prefix)`` of one ``synthetic`` entry."""
    unknown = set(entry) - {"data_root", "ann_file", "data_prefix"}
    if unknown or not ("data_root" in entry or "ann_file" in entry):
        raise UserError(
            f"synthetic={dict(entry)}: give data_root, or ann_file with data_prefix=dict(img=...)"
            + (f"; unknown: {', '.join(sorted(unknown))}" if unknown else "")
        )
    root = Path(entry.get("data_root", ""))
    prefix = dict(entry.get("data_prefix", dict(img="images/")))
    if "data_root" not in entry and "data_prefix" not in entry:
        root_of_images = Path(entry["ann_file"]).parent
        prefix = dict(img=str(root_of_images / "images"))
    return str(root / entry.get("ann_file", "annotations.json")), {
        k: str(root / v) for k, v in prefix.items()
    }
