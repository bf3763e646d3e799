"""Darknet's letterbox as a transform for mmdet pipelines."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from detdiffusion.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DarknetLetterbox(BaseTransform):
    """Resize the image to fit the network's input, keeping its aspect ratio, and centre it on grey (0.5).

    Darknet's default is to stretch the image instead: mmdet's ``Resize(scale, keep_ratio=False)``. Sizes and
    offsets are darknet's: those of the image are truncated to whole pixels, while boxes are shifted back by
    untruncated offsets, which may end in .5 (``letterbox_image``, ``correct_yolo_boxes``).

    Sets ``img`` (float32), ``img_shape``, ``scale_factor`` (x, y) and ``letterbox`` (x, y), the offset of the
    image in pixels. ``PackDetInputs(meta_keys=...)`` must list ``letterbox`` so that predicted boxes can be
    mapped back to the original image. Boxes under ``gt_bboxes`` are transformed too.

    Args:
        scale: (width, height) of the network's input.
    """

    def __init__(self, scale: Sequence[int] = (608, 608)) -> None:
        self.width, self.height = scale

    def transform(self, results: dict) -> dict:
        image = results["img"]
        height, width = image.shape[:2]
        if self.width / width < self.height / height:
            inner = self.width, max(height * self.width // width, 1)
        else:
            inner = max(width * self.height // height, 1), self.height
        boxed = np.full((self.height, self.width, image.shape[2]), 127.5, np.float32)
        left, top = (self.width - inner[0]) // 2, (self.height - inner[1]) // 2
        boxed[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner)
        results["img"], results["img_shape"] = boxed, boxed.shape[:2]
        results["scale_factor"] = (inner[0] / width, inner[1] / height)
        results["letterbox"] = ((self.width - inner[0]) / 2, (self.height - inner[1]) / 2)
        results["keep_ratio"] = True
        if results.get("gt_bboxes") is not None:
            results["gt_bboxes"].rescale_(results["scale_factor"])
            results["gt_bboxes"].translate_(results["letterbox"])
        return results
