"""`Layout`: the box type that all subpackages exchange."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from detdiffusion.utils.errors import UserError

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

    Raises:
        ValueError: if a field's length differs from the number of boxes, or a box is outside [0, 1].
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

    def __post_init__(self) -> None:
        self.boxes = torch.as_tensor(self.boxes, dtype=torch.float32).reshape(-1, 4)
        for field in ("names", "attributes", "masks", "labels", "ids", "category_ids"):
            value = getattr(self, field)
            if value is not None and len(value) != len(self.boxes):
                raise ValueError(
                    f"layout of image {self.image_id}: {field} has {len(value)} entries for {len(self.boxes)} boxes"
                )
        if len(self.boxes) and (self.boxes.min() < -1e-4 or self.boxes.max() > 1 + 1e-4):
            raise ValueError(
                f"layout of image {self.image_id}: boxes must be xyxy in [0, 1], got values from "
                f"{self.boxes.min():.4g} to {self.boxes.max():.4g}"
            )
        bad = [a for a in self.attributes or () if not isinstance(a, str) or not _ATTRIBUTE.fullmatch(a)]
        if bad:
            raise ValueError(
                f"layout of image {self.image_id}: attributes must be lower-case words like {ATTRIBUTES}, got {bad}"
            )

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
        x1, y1, x2, y2 = self.boxes.unbind(1)
        if -1 in axes:
            x1, x2 = 1 - x2, 1 - x1
        if -2 in axes:
            y1, y2 = 1 - y2, 1 - y1
        boxes = torch.stack((x1, y1, x2, y2), dim=1)
        return replace(self, boxes=boxes, masks=None if self.masks is None else self.masks.flip(axes))

    def with_attributes(self, attributes: Sequence[str]) -> Layout:
        """Return a copy with the given perception-aware attributes, one per object."""
        return replace(self, attributes=list(attributes))
