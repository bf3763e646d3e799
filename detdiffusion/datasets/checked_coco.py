"""mmdet's ``CocoDataset`` with clear errors where mmdet fails with a traceback, hangs or silently drops data.

Import it by ``custom_imports=dict(imports=['detdiffusion.datasets.checked_coco'])`` (it imports mmdet).
"""

from __future__ import annotations

import os
from collections import Counter

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
from detdiffusion.datasets.filter_share import LEAST
from detdiffusion.datasets.image_files import NamesUnreadableImages
from detdiffusion.registry import DATASETS
from detdiffusion.utils.errors import UserError


@DATASETS.register_module()
class CheckedCocoDataset(NamesUnreadableImages, CocoDataset):
    """mmdet's ``CocoDataset`` for local files, with checks. Dropped items are counted in :attr:`report` and printed.

    Args:
        min_kept: smallest share of the objects that ``filter_cfg`` may keep for training.
        *args, **kwargs: as for ``CocoDataset``.

    Attributes:
        report: reason -> number of objects or images dropped.

    Raises:
        UserError: if the annotation file or image folder is missing or the json is broken; if the json lacks a class
            or has another order of classes; if ``filter_cfg`` keeps no image or less than ``min_kept`` of the objects;
            on access, if an image cannot be read.
    """

    def __init__(self, *args, min_kept: float = LEAST, **kwargs) -> None:
        self.min_kept = min_kept
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Run the checks, then load the data as mmdet does."""
        folder = self.data_prefix.get("img") or ""
        hint = f"set data_root (now {self.data_root!r}) to the folder of your data set"
        if not os.path.isfile(self.ann_file):
            raise UserError(f"no annotation file {self.ann_file}: {hint}")
        if folder and not os.path.isdir(folder):
            raise UserError(f"no image folder {folder}: {hint}")
        self.report: Counter = Counter()
        self.COCOAPI = self._open_json
        try:
            data_list = super().load_data_list()
        finally:
            del self.COCOAPI
        if not data_list:
            raise UserError(f"{self.ann_file} contains no images")
        if self.report:
            counts = ", ".join(f"{reason}: {count}" for reason, count in self.report.items())
            print_log(f"{self.ann_file}: objects left out: {counts}", logger="current")
        return data_list

    def _open_json(self, path: str) -> COCO:
        """Replace mmdet's reading of the file."""
        masks = loads_masks(self.pipeline)
        coco = open_checked(path, self.report, require_annotations=not self.test_mode, masks=masks)
        check_classes(path, coco, self.metainfo["classes"])
        return coco

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse as mmdet does, and count the objects that mmdet drops."""
        info = super().parse_data_info(raw_data_info)
        count_drops(raw_data_info["raw_ann_info"], info, self.cat_ids, self.report)
        return info

    def filter_data(self) -> list[dict]:
        """Filter as mmdet does, count the dropped images, and raise if none is left (infinite samplers would hang)."""
        kept = super().filter_data()
        dropped = len(self.data_list) - len(kept)
        if not kept:
            empty = sum(not info["instances"] for info in self.data_list)
            raise UserError(
                f"{self.ann_file}: no image is left by filter_cfg={dict(self.filter_cfg)}: all {dropped} are "
                f"dropped, {empty} of them have no object of the {len(self.metainfo['classes'])} classes"
            )
        if dropped:
            self.report["images: filter_cfg"] = dropped
            print_log(f"{self.ann_file}: {dropped} images left out by filter_cfg", logger="current")
        if not self.test_mode:
            tiny = self.report[TINY]
            check_share(self.data_list, kept, tiny, self.filter_cfg or {}, self.min_kept, self.ann_file)
        return kept
