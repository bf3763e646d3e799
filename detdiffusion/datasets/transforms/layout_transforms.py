"""Transforms of the generator's data: image, masks and boxes are loaded, resized and flipped together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement

from detdiffusion.datasets.image_reading import read_rgb
from detdiffusion.datasets.masks import decode_segmentation
from detdiffusion.registry import TRANSFORMS
from detdiffusion.structures import FLIPS, Layout
from detdiffusion.utils.errors import UserError


@TRANSFORMS.register_module()
class LoadLayoutImage:
    """``img_path`` → ``img``: (H, W, 3) uint8 RGB at the training size.

    Args:
        size: (height, width) in pixels.
        cache: keep the resized images in memory; for small data sets.

    Raises:
        UserError: the file is missing, no image, or of another size than the annotation file says.
    """

    def __init__(self, size: tuple[int, int], cache: bool = False) -> None:
        self.size, self._cache = tuple(size), {} if cache else None

    def __call__(self, results: dict) -> dict:
        path = results["img_path"]
        image = self._cache.get(path) if self._cache is not None else None
        if image is None:
            image = self._load(path, results["layout"])
            if self._cache is not None:
                self._cache[path] = image
        return dict(results, img=image)

    def _load(self, path: str, layout: Layout) -> np.ndarray:
        stated = dict(id=layout.image_id, width=layout.width, height=layout.height)
        image = np.asarray(read_rgb(path, stated))
        height, width = self.size
        if image.shape[:2] == self.size:
            return image.copy()  # Pillow's own memory is not to be written to
        shrink = image.shape[0] * image.shape[1] > height * width
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)


@TRANSFORMS.register_module()
class LoadLayoutMasks:
    """``segmentations`` → ``layout.masks``: (N, H, W) bool at the size of ``img``.

    Polygons, compressed and uncompressed RLE are read. An object without a segmentation gets its box as a
    rectangle, which is said once.
    """

    def __init__(self) -> None:
        self._told = False

    def __call__(self, results: dict) -> dict:
        layout, (height, width) = results["layout"], results["img"].shape[:2]
        masks = np.zeros((len(layout), height, width), np.uint8)
        ids = layout.ids or [None] * len(layout)
        for mask, segmentation, box, key in zip(masks, results["segmentations"], layout.boxes.numpy(), ids):
            if segmentation:
                where = f"image {layout.image_id}, annotation {key}"
                source = decode_segmentation(segmentation, layout.height, layout.width, where)
                mask[:] = cv2.resize(source, (width, height), interpolation=cv2.INTER_NEAREST)
                continue
            if not self._told:
                print_log("some objects have no segmentation: their boxes serve as masks", logger="current")
                self._told = True
            x1, y1, x2, y2 = np.round(box * [width, height, width, height]).astype(int)
            mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = 1
        return dict(results, layout=replace(layout, masks=torch.from_numpy(masks.view(bool))))


@TRANSFORMS.register_module()
class RandomFlipLayout:
    """Mirrors image, boxes and masks with probability ``prob``.

    It is drawn from ``seed``, which :class:`~detdiffusion.datasets.samplers.SeededSampler` gives each reading of a
    sample, else from torch's global state.

    Args:
        prob: share of mirrored samples, in [0, 1].
        direction: ``horizontal``, ``vertical``, ``diagonal`` (both), or a list of them that share ``prob`` evenly.
            Cells and aerial photographs have no upper side: ``prob=0.75`` with all three is four times the data.

    Raises:
        UserError: another direction, or twice the same, or ``prob`` out of range, or two of these steps in a pipeline.
    """

    def __init__(self, prob: float = 0.5, direction: str | Sequence[str] = "horizontal") -> None:
        self.directions = (direction,) if isinstance(direction, str) else tuple(direction)
        if not self.directions or not set(self.directions) <= FLIPS.keys():
            raise UserError(
                f"RandomFlipLayout: direction is one or more of {', '.join(FLIPS)}, got {direction!r}"
            )
        if len(set(self.directions)) < len(self.directions) or not 0 <= prob <= 1:
            raise UserError(
                f"RandomFlipLayout: prob is in [0, 1] and each direction is named once, got {prob}, {direction!r}"
            )
        self.prob = prob

    def __call__(self, results: dict) -> dict:
        if "flip" in results:  # the latents of a mirror image's mirror image would be looked up wrongly
            raise UserError("RandomFlipLayout stands twice in the pipeline; name all directions in one step")
        seed = results.get("seed")
        draw = torch.rand(()).item() if seed is None else random.Random(seed).random()
        if draw >= self.prob:
            return dict(results, flip=False, flip_direction=None)
        direction = self.directions[int(draw / self.prob * len(self.directions))]
        results = dict(results, layout=results["layout"].flip(direction), flip=True, flip_direction=direction)
        if "img" in results:  # a cached sample has the mirror image's latents
            axes = [axis - 1 for axis in FLIPS[direction]]  # channels are last here
            results["img"] = np.ascontiguousarray(np.flip(results["img"], axes))
        return results


@TRANSFORMS.register_module()
class PackLayoutInputs:
    """→ ``inputs`` (3, H, W) uint8 RGB tensor and ``data_samples``, a data element with ``layout``.

    A cached sample has ``moments`` (2, C, h, w) in its data element, and one black pixel for an image.
    """

    def __call__(self, results: dict) -> dict:
        layout = results["layout"]
        meta = dict(
            image_id=layout.image_id,
            img_path=results["img_path"],
            flip=bool(results.get("flip", False)),
            flip_direction=results.get("flip_direction"),
        )
        sample = BaseDataElement(metainfo=meta)
        sample.set_data(dict(layout=layout))
        if "moments" in results:
            sample.set_data(dict(moments=results["moments"](meta["flip_direction"])))
            return dict(inputs=torch.zeros(3, 1, 1, dtype=torch.uint8), data_samples=sample)
        return dict(inputs=torch.from_numpy(results["img"]).permute(2, 0, 1), data_samples=sample)
