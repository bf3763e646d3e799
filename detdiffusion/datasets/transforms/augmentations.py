"""Augmentations of the generator's training data, for sets of few images.

Both change what an image shows together with its boxes, masks and attributes, and are a function of the sample's seed
(:mod:`~detdiffusion.datasets.samplers`), so that an interrupted training continues exactly. An object's attribute stays
with it. Latents cannot be cached with them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from detdiffusion.datasets.samplers import SeededIndex
from detdiffusion.registry import TRANSFORMS
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

_TRIES = 10


def _random_of(results: dict, purpose: str) -> random.Random:
    seed = results.get("seed")
    return random.Random(int(torch.randint(2**62, (1,))) if seed is None else f"{purpose} {seed}")


def _check_share(name: str, **values: float) -> None:
    for key, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name}: {key} must be between 0 and 1, got {value}")


@TRANSFORMS.register_module()
class RandomResizedCropLayout:
    """Crops a random part of the image and resizes it to the image's size, with boxes and masks.

    Area and aspect ratio of the part are sampled as in torchvision's ``RandomResizedCrop`` (Szegedy et al. 2015); after
    ten parts without an object the image stays complete. Objects of which less than ``min_visible`` is in the part are
    left out of the layout; it is measured by masks where there are any, else by boxes.

    Args:
        prob: probability of cropping.
        scale: smallest and largest area of the part, as shares of the image's area.
        ratio: smallest and largest aspect ratio (width / height) of the part, relative to that of the image.
        min_visible: smallest visible share of an object that stays.

    Raises:
        UserError: a value is out of range.
    """

    def __init__(
        self,
        prob: float = 1.0,
        scale: Sequence[float] = (0.4, 1.0),
        ratio: Sequence[float] = (0.75, 4 / 3),
        min_visible: float = 0.4,
    ) -> None:
        _check_share("RandomResizedCropLayout", prob=prob, min_visible=min_visible)
        if not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise UserError(
                f"RandomResizedCropLayout: scale must be in (0, 1] and ratio positive, the smaller value first; got "
                f"scale={tuple(scale)}, ratio={tuple(ratio)}"
            )
        self.prob, self.scale, self.ratio, self.min_visible = prob, tuple(scale), tuple(ratio), min_visible

    def __call__(self, results: dict) -> dict:
        rng = _random_of(results, "crop")
        if rng.random() >= self.prob or not len(results["layout"]):
            return results
        height, width = results["img"].shape[:2]
        for _ in range(_TRIES):
            part = self._part(rng, height, width)
            if part is None:
                continue
            layout = _crop_layout(results["layout"], part, (height, width), self.min_visible)
            if len(layout):
                left, top, right, bottom = part
                image = _resized(results["img"][top:bottom, left:right], height, width)
                return dict(results, img=image, layout=layout)
        return results

    def _part(self, rng: random.Random, height: int, width: int) -> tuple[int, int, int, int] | None:
        """Return left, top, right and bottom of a part in pixels, or None if it does not fit."""
        area = rng.uniform(*self.scale)
        ratio = math.exp(rng.uniform(*map(math.log, self.ratio)))
        w, h = round(width * math.sqrt(area * ratio)), round(height * math.sqrt(area / ratio))
        if not 0 < w <= width or not 0 < h <= height:
            return None
        left, top = rng.randint(0, width - w), rng.randint(0, height - h)
        return left, top, left + w, top + h


@TRANSFORMS.register_module()
class CopyPasteLayout:
    """Pastes objects of other images of the set at their own places (Simple Copy-Paste, Ghiasi et al. 2021).

    What a pasted object covers is cut from the masks of the others, their boxes shrink to what is visible, and objects
    of which less than ``min_visible`` stays are left out of the layout. It needs masks: put it after
    ``LoadLayoutMasks`` and ``LoadPerceptionAttributes``.

    Args:
        prob: probability of pasting.
        max_objects: largest number of pasted objects; at least one is pasted.
        classes: names of the classes that may be pasted; None: all whose attribute is not ``background``.
        min_visible: smallest visible share of an object that stays.

    Raises:
        UserError: a value is out of range; samples have no masks; or the data set does not provide other samples.
    """

    def __init__(
        self,
        prob: float = 0.5,
        max_objects: int = 3,
        classes: Sequence[str] | None = None,
        min_visible: float = 0.4,
    ) -> None:
        _check_share("CopyPasteLayout", prob=prob, min_visible=min_visible)
        if max_objects < 1:
            raise UserError(f"CopyPasteLayout: max_objects must be at least 1, got {max_objects}")
        self.prob, self.max_objects, self.min_visible = prob, max_objects, min_visible
        self.classes = None if classes is None else frozenset(classes)
        self._load: Callable[[int], dict] | None = None
        self._count = 0

    def use_samples(self, load: Callable[[int], dict], count: int) -> None:
        """Set the source of other samples; a data set calls it with its pipeline up to this step.

        Args:
            load: returns the sample of an index.
            count: number of samples.
        """
        self._load, self._count = load, count

    def __call__(self, results: dict) -> dict:
        if self._load is None:
            raise UserError("CopyPasteLayout: needs the other samples of a LayoutCocoDataset")
        rng = _random_of(results, "paste")
        if rng.random() >= self.prob:
            return results
        # the random steps before this one are functions of a seed for the donor too
        donor = self._load(SeededIndex(rng.randrange(self._count), rng.getrandbits(62)))
        target, source = results["layout"], donor["layout"]
        if target.masks is None or source.masks is None:
            raise UserError("CopyPasteLayout: needs masks; put it after LoadLayoutMasks")
        new = [
            k for k in range(len(source)) if self._may_paste(source, k) and source.ids[k] not in target.ids
        ]
        chosen = source.select(sorted(rng.sample(new, min(len(new), rng.randint(1, self.max_objects)))))
        if not len(chosen):
            return results
        height, width = results["img"].shape[:2]
        chosen = replace(chosen, masks=_resized_masks(chosen.masks, height, width))
        covered = chosen.masks.any(dim=0)
        pasted = _resized(donor["img"], height, width)  # another size with several training sizes
        image = np.where(covered.numpy()[:, :, None], pasted, results["img"])
        return dict(results, img=image, layout=_joined(_cut(target, covered, self.min_visible), chosen))

    def _may_paste(self, layout: Layout, index: int) -> bool:
        if not layout.masks[index].any():
            return False
        if self.classes is not None:
            return layout.names[index] in self.classes
        return not layout.attributes or layout.attributes[index] != "background"


def _resized(image: np.ndarray, height: int, width: int, masks: bool = False) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST if masks else cv2.INTER_LINEAR)


def _resized_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Resize masks (N, h, w) to (N, height, width), bool."""
    resized = [torch.from_numpy(_resized(m.numpy().astype(np.uint8), height, width, True)) for m in masks]
    return torch.stack(resized).bool()


def _crop_layout(layout: Layout, part: Sequence[int], size: tuple[int, int], min_visible: float) -> Layout:
    """Return the layout of a part (left, top, right, bottom) of an image of ``size`` (height, width)."""
    (left, top, right, bottom), (height, width) = part, size
    low = torch.tensor([left / width, top / height])
    sides = torch.tensor([(right - left) / width, (bottom - top) / height])
    boxes = ((layout.boxes.reshape(-1, 2, 2) - low) / sides).clamp(0, 1).reshape(-1, 4)
    if layout.masks is None:
        before = layout.areas.clamp(min=1e-9)
        visible = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) * sides.prod() / before
        masks = None
    else:
        before = layout.masks.sum(dim=(1, 2)).clamp(min=1)
        parts = layout.masks[:, top:bottom, left:right]
        visible = parts.sum(dim=(1, 2)) / before
        masks = _resized_masks(parts, height, width)
    kept = [k for k, share in enumerate(visible.tolist()) if share >= min_visible and share > 0]
    x1, y1, x2, y2 = layout.crop
    w, h = (x2 - x1) / width, (y2 - y1) / height
    crop = (x1 + left * w, y1 + top * h, x1 + right * w, y1 + bottom * h)
    return replace(layout, boxes=boxes, masks=masks, crop=crop).select(kept)


def _cut(layout: Layout, covered: Tensor, min_visible: float) -> Layout:
    """Return the layout without what is covered (H, W); boxes of objects that are covered in part shrink."""
    masks = layout.masks & ~covered
    before, after = layout.masks.sum(dim=(1, 2)), masks.sum(dim=(1, 2))
    boxes = layout.boxes.clone()
    for k in (after < before).nonzero()[:, 0].tolist():
        if after[k]:
            boxes[k] = _intersection(boxes[k], _box_of(masks[k]))
    kept = [
        k
        for k, (old, new) in enumerate(zip(before.tolist(), after.tolist()))
        if new > 0 and new >= min_visible * old
    ]
    return replace(layout, boxes=boxes, masks=masks).select(kept)


def _box_of(mask: Tensor) -> Tensor:
    """Return the xyxy box (4,) of a mask (H, W), normalised to [0, 1]."""
    height, width = mask.shape
    ys, xs = mask.nonzero(as_tuple=True)
    return torch.tensor(
        [xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height],
        dtype=torch.float32,
    )


def _intersection(box: Tensor, other: Tensor) -> Tensor:
    return torch.cat((torch.maximum(box[:2], other[:2]), torch.minimum(box[2:], other[2:])))


def _joined(layout: Layout, pasted: Layout) -> Layout:
    """Return the layout with the pasted objects behind its own."""

    def pick(field: str) -> list | Tensor | None:
        own, new = getattr(layout, field), getattr(pasted, field)
        if own is None or new is None:
            return None
        return torch.cat((own, new)) if isinstance(own, Tensor) else [*own, *new]

    fields = ("boxes", "names", "attributes", "masks", "labels", "ids", "category_ids")
    return replace(layout, **{field: pick(field) for field in fields})
