"""Transforms of the generator's training data, which load, resize and flip images, masks and boxes together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement

from detdiffusion.datasets.image_reading import read_rgb, resize_pixels
from detdiffusion.datasets.image_sizes import nearest_size, size_list
from detdiffusion.datasets.masks import decode_segmentation
from detdiffusion.registry import TRANSFORMS
from detdiffusion.structures import FLIPS, Layout
from detdiffusion.utils.errors import UserError


@TRANSFORMS.register_module()
class LoadLayoutImage:
    """Loads ``img_path`` as ``img``: (H, W, 3) uint8 RGB, resized to the training size.

    Args:
        size: (height, width) in pixels, or several, of which an image takes the nearest in aspect ratio; batches then
            need :class:`~detdiffusion.datasets.samplers.SameSizeBatchSampler`.
        cache: keep the resized images in memory; for small data sets.

    Raises:
        UserError: if the size is not valid; if a file is missing, is not an image, or differs in size from the
            annotation file.
    """

    def __init__(self, size: Sequence[int] | Sequence[Sequence[int]], cache: bool = False) -> None:
        self.sizes, self._cache = size_list(size), {} if cache else None

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
        return resize_pixels(np.asarray(read_rgb(path, stated)), self.size_of(layout.width, layout.height))

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Return the (height, width) to which an image of this size is resized."""
        return nearest_size(width, height, self.sizes)


@TRANSFORMS.register_module()
class LoadLayoutMasks:
    """Decodes ``segmentations`` to ``layout.masks``: (N, H, W) bool at the size of ``img``.

    Supports polygons, compressed and uncompressed RLE. The mask of an object without a segmentation is its box; this is
    logged once.
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
                print_log(
                    "some objects have no segmentation: their boxes are used as masks", logger="current"
                )
                self._told = True
            x1, y1, x2, y2 = np.round(box * [width, height, width, height]).astype(int)
            mask[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = 1
        return dict(results, layout=replace(layout, masks=torch.from_numpy(masks.view(bool))))


@TRANSFORMS.register_module()
class RandomFlipLayout:
    """Flips image, boxes and masks with probability ``prob``.

    The random number generator is seeded by ``seed``, which
    :class:`~detdiffusion.datasets.samplers.SeededSampler` provides; without it torch's global generator is used.

    Args:
        prob: probability of flipping, in [0, 1].
        direction: ``horizontal``, ``vertical``, ``diagonal`` (both), or a list of directions that are equally likely.
            For images without an upright direction, such as cells and aerial photographs, ``prob=0.75`` with all three
            directions gives four times the data.

    Raises:
        UserError: if a direction is unknown or repeated, ``prob`` is out of range, or the pipeline has two such steps.
    """

    def __init__(self, prob: float = 0.5, direction: str | Sequence[str] = "horizontal") -> None:
        self.directions = (direction,) if isinstance(direction, str) else tuple(direction)
        if not self.directions or not set(self.directions) <= FLIPS.keys():
            raise UserError(
                f"RandomFlipLayout: direction must be one or more of {', '.join(FLIPS)}, got {direction!r}"
            )
        if len(set(self.directions)) < len(self.directions) or not 0 <= prob <= 1:
            raise UserError(
                f"RandomFlipLayout: prob must be in [0, 1] and directions unique, got {prob}, {direction!r}"
            )
        self.prob = prob

    def __call__(self, results: dict) -> dict:
        if "flip" in results:  # cached latents exist only for images that were flipped once
            raise UserError("RandomFlipLayout is twice in the pipeline; give all directions in one step")
        seed = results.get("seed")
        draw = torch.rand(()).item() if seed is None else random.Random(seed).random()
        if draw >= self.prob:
            return dict(results, flip=False, flip_direction=None)
        direction = self.directions[int(draw / self.prob * len(self.directions))]
        results = dict(results, layout=results["layout"].flip(direction), flip=True, flip_direction=direction)
        if "img" in results:  # a cached sample has the latents of the flipped image instead
            axes = [axis - 1 for axis in FLIPS[direction]]  # the channel axis is last here
            results["img"] = np.ascontiguousarray(np.flip(results["img"], axes))
        return results


@TRANSFORMS.register_module()
class PackLayoutInputs:
    """Packs ``inputs``, a (3, H, W) uint8 RGB tensor, and ``data_samples``, a data element with ``layout``.

    For a cached sample, the data element also has ``moments`` (2, C, h, w), and the image is a single black pixel.
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
