"""mmdet's copy-paste augmentation of detectors, for data sets of any size.

Import it by ``custom_imports=dict(imports=['detdiffusion.datasets.transforms.copy_paste'])`` (it imports mmdet), and
name it ``detdiffusion.CopyPaste``.
"""

from __future__ import annotations

import random

import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.datasets import transforms
from mmdet.structures.bbox import autocast_box_type
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import BaseDataset

from detdiffusion.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CopyPaste(transforms.CopyPaste):
    """mmdet's ``CopyPaste`` (Ghiasi et al. 2021) inside a ``MultiImageMixDataset``.

    mmdet draws the source image from ``0`` to ``len(dataset)`` inclusive, which once in ``len(dataset) + 1`` samples is
    an index outside the data set; and it needs images of one size. Here the source image is cut or extended to the
    other one's size at its right and lower side, and objects that do not fit as a whole are not pasted, nor are ignored
    regions. With ``paste_by_box`` the boxes of an image without masks stand for them.

    Args:
        from_last: whether the source images are those of the last part of a ``ConcatDataset``; else of all parts.
        kwargs: see mmdet's class.
    """

    def __init__(self, *args, from_last: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.from_last = from_last

    @cache_randomness
    def get_indexes(self, dataset: BaseDataset) -> int:
        """Return the index of a source image of the data set."""
        return random.randrange(dataset.cumulative_sizes[-2] if self.from_last else 0, len(dataset))

    def get_gt_masks(self, results: dict) -> BitmapMasks:
        """Return the masks of the objects, as mmdet does but without a warning where some images have none."""
        masks = results.get("gt_masks")
        return super().get_gt_masks(results) if masks is None else masks

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Paste objects of ``results["mix_results"][0]`` into the image of ``results``, see mmdet's class."""
        height, width = results["img"].shape[:2]
        (source,) = results["mix_results"]
        boxes = source["gt_bboxes"].tensor
        fits = ((boxes[:, 2] <= width) & (boxes[:, 3] <= height)).numpy() & ~source["gt_ignore_flags"]
        for name in ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags", "gt_masks"):
            if name in source:
                source[name] = source[name][fits]
        if source["img"].shape[:2] != (height, width):
            _resize_canvas(source, height, width)
        return super().transform(results)


def _resize_canvas(sample: dict, height: int, width: int) -> None:
    """Cut or extend the image and the masks of a sample at their right and lower side."""
    img = sample["img"]
    rows, columns = min(height, img.shape[0]), min(width, img.shape[1])
    sample["img"] = np.zeros((height, width, *img.shape[2:]), img.dtype)
    sample["img"][:rows, :columns] = img[:rows, :columns]
    if "gt_masks" in sample:
        masks = np.zeros((len(sample["gt_masks"]), height, width), np.uint8)
        masks[:, :rows, :columns] = sample["gt_masks"].masks[:, :rows, :columns]
        sample["gt_masks"] = BitmapMasks(masks, height, width)
