"""`Layout`: the box type that all subpackages exchange."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.numbers import is_number

ATTRIBUTES = ("easy", "hard", "background")
"""The paper's perception-aware attributes. An attributes file may define more levels of difficulty before
``background``; a generator's config lists them in ``layout_tokenizer.attribute_words``."""

FLIPS = dict(horizontal=(-1,), vertical=(-2,), diagonal=(-2, -1))
"""Flip directions, named as in mmdet's ``RandomFlip``, and the axes of (..., H, W) arrays that they reverse."""

_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_-]*")


def check_attribute_words(words: Sequence[str], where: str) -> tuple[str, ...]:
    """Validate a vocabulary of attributes: levels from the easiest to the hardest, then ``background``.

    Args:
        words: at least one level and ``background``.
        where: where the words come from, used in the error message.

    Returns:
        The words as a tuple.

    Raises:
        UserError: if a word cannot be a token, a word is repeated, or ``background`` is not the last word.
    """
    words = tuple(words)
    bad = [w for w in words if not isinstance(w, str) or not _ATTRIBUTE.fullmatch(w)]
    if bad or len(set(words)) != len(words) or len(words) < 2 or words[-1] != "background":
        raise UserError(
            f"{where}: attributes must be distinct lower-case words from the easiest level to the hardest, then "
            f"'background'; got {', '.join(map(repr, words)) or 'none'}"
        )
    return words


@dataclass
class Layout:
    """The objects of one image, from which its prompt is built.

    Attributes:
        boxes: (N, 4) float32, xyxy, normalised to [0, 1] by the image's width and height.
        names: N class names.
        attributes: N perception-aware attributes, words as in :data:`ATTRIBUTES`, or None before they are known.
        masks: (N, H, W) bool at the training image's size, or None.
        labels: (N,) int64 indices into the data set's classes, or None.
        ids: N annotation ids of the source, or None.
        category_ids: N category ids of the source json, or None.
        image_id, file_name, width, height: the source image; its size in pixels.
        crop: the part of the source image that the layout belongs to, xyxy in [0, 1].

    Raises:
        UserError: if a field's length differs from the number of boxes, a box is outside [0, 1], or a word cannot be
            an attribute.
    """

    boxes: Tensor
    names: list[str]
    attributes: list[str] | None = None
    masks: Tensor | None = None
    labels: Tensor | None = None
    ids: list[int] | None = None
    category_ids: list[int] | None = None
    image_id: int | None = None
    file_name: str | None = None
    width: int | None = None
    height: int | None = None
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        where = "layout" if self.image_id is None else f"layout of image {self.image_id}"
        self.boxes = _as_boxes(self.boxes, where)
        for field in ("names", "attributes", "masks", "labels", "ids", "category_ids"):
            value = getattr(self, field)
            if isinstance(value, str):
                raise UserError(
                    f"{where}: {field} must be a list with an entry for each box, it is {value!r}"
                )
            if value is not None and len(value) != len(self.boxes):
                raise UserError(f"{where}: {field} has {len(value)} entries for {len(self.boxes)} boxes")
        wrong = [name for name in self.names if not isinstance(name, str)]
        if wrong:
            raise UserError(f"{where}: names must be class names, got {wrong[0]!r}")
        if not ((self.boxes >= -1e-4) & (self.boxes <= 1 + 1e-4)).all():
            raise UserError(
                f"{where}: boxes must be xyxy in [0, 1], got values from {self.boxes.min():.4g} to "
                f"{self.boxes.max():.4g}; Layout.from_pixels takes pixels"
            )
        bad = [a for a in self.attributes or () if not isinstance(a, str) or not _ATTRIBUTE.fullmatch(a)]
        if bad:
            raise UserError(f"{where}: attributes must be lower-case words like {ATTRIBUTES}, got {bad}")

    @classmethod
    def from_pixels(
        cls,
        boxes: Sequence[Sequence[float]],
        names: Sequence[str],
        width: int,
        height: int,
        attributes: Sequence[str] | None = None,
    ) -> Layout:
        """Create a layout from boxes in pixels.

        Args:
            boxes: N boxes x1, y1, x2, y2 in pixels, the corners; up to a pixel outside of the image they are clipped.
            names: N class names.
            width, height: size in pixels of the image that the boxes belong to.
            attributes: N perception-aware attributes, or None.

        Raises:
            UserError: as for the class; also if a box is empty or lies outside of the image.
        """
        for name, side in (("width", width), ("height", height)):
            if not is_number(side) or side <= 0:
                raise UserError(f"layout: `{name}` must be a number of pixels above 0, it is {side!r}")
        pixels = _as_boxes(boxes, "layout")
        size = torch.tensor([width, height, width, height], dtype=torch.float32)
        for index, (box, (x1, y1, x2, y2)) in enumerate(zip(pixels, pixels.tolist())):
            if not (x1 < x2 and y1 < y2 and (box > -1.01).all() and (box < size + 1.01).all()):
                raise UserError(
                    f"layout: boxes[{index}] is ({x1:g}, {y1:g}, {x2:g}, {y2:g}); a box must be x1, y1, x2, y2 with x1 "
                    f"< x2 and y1 < y2 (not width and height), inside the image of {width} x {height} pixels"
                )
        return cls((pixels / size).clamp(0, 1), names, attributes, width=width, height=height)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def areas(self) -> Tensor:
        """Areas of the boxes, (N,) float32, as fractions of the image's area."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)

    def select(self, indices: Sequence[int]) -> Layout:
        """Return a layout of the objects at ``indices``, in that order; every per-object field is indexed."""
        index = torch.as_tensor(list(indices), dtype=torch.long)

        def pick(values: Tensor | Sequence | None) -> Tensor | list | None:
            if values is None:
                return None
            return values[index] if isinstance(values, Tensor) else [values[i] for i in index.tolist()]

        return replace(
            self,
            boxes=self.boxes[index],
            names=pick(self.names),
            attributes=pick(self.attributes),
            masks=pick(self.masks),
            labels=pick(self.labels),
            ids=pick(self.ids),
            category_ids=pick(self.category_ids),
        )

    def flip(self, direction: str = "horizontal") -> Layout:
        """Return a copy with boxes and masks flipped; ``direction`` is a key of :data:`FLIPS`."""
        axes = FLIPS[direction]
        boxes = torch.stack(_flipped(*self.boxes.unbind(1), axes), dim=1)
        masks = None if self.masks is None else self.masks.flip(axes)
        return replace(self, boxes=boxes, masks=masks, crop=_flipped(*self.crop, axes))

    def source_and_corner(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the conditions of Stable Diffusion XL that tell how the image was made from its source.

        Args:
            size: height and width of the image in pixels.

        Returns:
            Height and width of the source image, those of the image if they are unknown; and the upper and the left
            side of :attr:`crop` in pixels, where the source is resized so that the crop has the image's size.
        """
        (height, width), (x1, y1, x2, y2) = size, self.crop
        corner = round(y1 / (y2 - y1) * height), round(x1 / (x2 - x1) * width)
        return self.height or height, self.width or width, *corner

    def with_attributes(self, attributes: Sequence[str]) -> Layout:
        """Return a copy with the given perception-aware attributes, one per object."""
        return replace(self, attributes=list(attributes))


def _flipped(x1, y1, x2, y2, axes: Sequence[int]) -> tuple:
    if -1 in axes:
        x1, x2 = 1 - x2, 1 - x1
    if -2 in axes:
        y1, y2 = 1 - y2, 1 - y1
    return x1, y1, x2, y2


def _as_boxes(boxes: Tensor | Sequence, where: str) -> Tensor:
    """Return boxes as (N, 4) float32."""
    try:
        return torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{where}: boxes must be a list of x1, y1, x2, y2, got {boxes!r:.80}") from error
