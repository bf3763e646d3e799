"""mmdet's ``CocoDataset`` with one clear error where mmdet has a traceback or drops classes in silence.

Import it by ``custom_imports=dict(imports=['detdiffusion.datasets.checked_coco'])`` (it imports mmdet).
"""

from __future__ import annotations

import difflib
import os

from mmdet.datasets.coco import CocoDataset

from detdiffusion.registry import DATASETS
from detdiffusion.utils.errors import UserError


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """As mmdet's, for local files.

    Raises:
        UserError: no annotation file, no image folder, broken json, or a class that the json lacks.
    """

    def load_data_list(self) -> list[dict]:
        """mmdet's loading after the checks."""
        folder = self.data_prefix.get("img") or ""
        hint = f"set data_root (now {self.data_root!r}) to the folder of your data set"
        if not os.path.isfile(self.ann_file):
            raise UserError(f"no annotation file {self.ann_file}: {hint}")
        if folder and not os.path.isdir(folder):
            raise UserError(f"no image folder {folder}: {hint}")
        try:
            data_list = super().load_data_list()
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.ann_file} is not a COCO json: {type(error).__name__}: {error}") from error
        if not data_list:
            raise UserError(f"{self.ann_file} holds no image")
        return data_list

    def _check_classes(self) -> None:
        names = [category["name"] for category in self.coco.dataset["categories"]]
        for name in self.metainfo["classes"]:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=3)
                hint = f"near matches: {', '.join(near)}" if near else f"it has: {', '.join(names[:20])}"
                raise UserError(f"{self.ann_file}: lacks the class {name!r} of metainfo['classes']; {hint}")

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """mmdet's parsing; the classes are compared with the json at the first image."""
        if not getattr(self, "_classes_checked", False):
            self._check_classes()
            self._classes_checked = True
        return super().parse_data_info(raw_data_info)
