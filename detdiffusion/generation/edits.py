"""Optional edits of layouts: jitter, drop, flip, and replacement of classes by rarer ones.

The annotations of a generated image are those of its edited layout. Edits are a pure function of (source image id,
sample index, seed) and do not depend on the strategy, so sets of different strategies have the same edited layouts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

_MIN_VISIBLE = 0.5
_QUANTILE = 0.95
_TRIES = 10  # of a jitter
DEFAULTS = dict(jitter=0.1, drop=0.1, flip=0.5, swap=0.3)
"""Strengths of ``layouts='edit'``."""


def is_free(layout: Layout, nameable: Collection[str] | None) -> list[bool]:
    """Return for each object whether its place and class may change: not for stuff and other ``background``.

    Args:
        layout: a layout, with or without attributes.
        nameable: class names of objects; None: all.
    """
    known = [nameable is None or name in nameable for name in layout.names]
    words = layout.attributes or [None] * len(layout)
    return [named and word != "background" for named, word in zip(known, words)]


def visible_part(box: Sequence[float]) -> list[float] | None:
    """Return the part of an xyxy box that is inside the image, or None if it is not more than half of the box."""
    x1, y1, x2, y2 = box
    inside = [min(max(value, 0.0), 1.0) for value in box]
    visible = max(0.0, inside[2] - inside[0]) * max(0.0, inside[3] - inside[1])
    return inside if visible > _MIN_VISIBLE * (x2 - x1) * (y2 - y1) else None


def overlap_of(boxes: Tensor, others: Tensor) -> Tensor:
    """Return intersection / smaller area (N, M) of xyxy boxes (N, 4) and (M, 4)."""
    low, high = (
        torch.maximum(boxes[:, None, :2], others[:, :2]),
        torch.minimum(boxes[:, None, 2:], others[:, 2:]),
    )
    areas = [(b[:, 2:] - b[:, :2]).prod(dim=1) for b in (boxes, others)]
    return (high - low).clamp(min=0).prod(dim=2) / torch.minimum(areas[0][:, None], areas[1]).clamp(min=1e-9)


def most_overlap(layouts: Sequence[Layout], nameable: Collection[str] | None) -> float:
    """Return how much objects of a set usually overlap: the 95 % quantile of each object's largest overlap.

    Args:
        layouts: layouts of the set; those with one object do not count.
        nameable: see :func:`is_free`.
    """
    largest = []
    for layout in layouts:
        boxes = layout.boxes[[k for k, free in enumerate(is_free(layout, nameable)) if free]]
        if len(boxes) > 1:
            largest.append(overlap_of(boxes, boxes).fill_diagonal_(0).amax(dim=1))
    return float(np.quantile(torch.cat(largest).numpy(), _QUANTILE)) if largest else 0.0


@dataclass
class EditLog:
    """The edits of one layout, for the record of its image.

    Attributes:
        flipped: whether the layout was mirrored.
        dropped: source annotation ids of dropped objects.
        jittered: source annotation ids of jittered objects.
        swapped: source category id by source annotation id, for objects whose class was replaced.
        added: source annotation ids of objects that come from other images, see :mod:`.compose`.
    """

    flipped: bool = False
    dropped: list[int] = field(default_factory=list)
    jittered: list[int] = field(default_factory=list)
    swapped: dict[int, int] = field(default_factory=dict)
    added: list[int] = field(default_factory=list)

    def of_object(self, annotation_id: int) -> str:
        """Return the edits of one object as text, e.g. 'flip+jitter'; '' for none."""
        done = [
            ("flip", self.flipped),
            ("jitter", annotation_id in self.jittered),
            ("swap", annotation_id in self.swapped),
            ("new", annotation_id in self.added),
        ]
        return "+".join(name for name, applies in done if applies)


class LayoutEdits:
    """Random edits of layouts.

    Stuff and other ``background`` objects, and objects whose class is not in ``nameable``, are only flipped.

    Args:
        jitter: J in [0, 0.5]: a box is shifted by up to J times its sides and its sides are scaled by 1 - J to 1 + J.
        drop: probability of dropping an object; at least one object per image is kept.
        flip: probability of mirroring a layout horizontally.
        swap: probability of replacing an object's class by a rarer one of the same supercategory, sampled with
            inverse class frequency.
        nameable: class names of objects that may be jittered, dropped and swapped; None: all.
        categories: COCO categories of the set, for ``swap``.
        layouts: layouts of the set, for the class frequencies of ``swap``.
        overlap: largest overlap (:func:`overlap_of`) of a jittered box with another object: a jitter that exceeds it is
            drawn again, and after ten tries the box stays; None: any overlap.

    Attributes:
        name: part of image ids and file names, e.g. 'flip0.5-drop0.1'.

    Raises:
        UserError: an edit is unknown, a value is out of range, or ``swap`` has no rarer class to choose.
    """

    def __init__(
        self,
        jitter: float = 0.0,
        drop: float = 0.0,
        flip: float = 0.0,
        swap: float = 0.0,
        nameable: Sequence[str] | None = None,
        categories: Sequence[Mapping] = (),
        layouts: Sequence[Layout] = (),
        overlap: float | None = None,
    ) -> None:
        values = dict(jitter=jitter, drop=drop, flip=flip, swap=swap)
        for name, value in values.items():
            limit = 0.5 if name == "jitter" else 1
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= limit:
                raise UserError(f"edit {name}={value!r}: must be a number in [0, {limit}]")
        if not any(values.values()):
            raise UserError("edits: all are 0; omit the option to leave layouts unchanged")
        self.jitter, self.drop, self.flip, self.swap = values.values()
        self.nameable = None if nameable is None else frozenset(nameable)
        self.name = "-".join(f"{name}{value:.6g}" for name, value in values.items() if value)
        self.overlap = overlap
        if overlap is not None:
            self.name += f"-overlap{overlap:.3g}"
        self._targets = self._rarer_classes(categories, layouts) if swap else {}
        if swap and not any(self._targets.values()):
            raise UserError(
                "edit swap: no class of the layouts has a rarer one in its supercategory; omit swap"
            )
        self._categories = {category["name"]: category["id"] for category in categories}
        self._labels = {
            name: int(label)
            for layout in layouts
            if layout.labels is not None
            for name, label in zip(layout.names, layout.labels)
        }

    @classmethod
    def from_options(cls, options: Mapping[str, float], **context) -> LayoutEdits:
        """Build edits from ``dict(jitter=..., ...)`` and facts of the set; an unknown edit is a UserError."""
        unknown = set(options) - {"jitter", "drop", "flip", "swap"}
        if unknown:
            raise UserError(f"edits: unknown {', '.join(sorted(unknown))}; known: jitter, drop, flip, swap")
        return cls(**options, **context)

    @classmethod
    def defaults(cls, categories: Sequence[Mapping], layouts: Sequence[Layout], **context) -> LayoutEdits:
        """Build edits of :data:`DEFAULTS`, without ``swap`` if no class of the set has a rarer one.

        Objects overlap no more than usual in the set, see :func:`most_overlap`.
        """
        context.update(categories=categories, layouts=layouts)
        context["overlap"] = most_overlap(layouts, context.get("nameable"))
        plain = cls(**{**DEFAULTS, "swap": 0.0}, **context)
        rarer = plain._rarer_classes(categories, layouts)
        return cls(**DEFAULTS, **context) if any(rarer.values()) else plain

    def __call__(self, layout: Layout, rng: random.Random) -> tuple[Layout, EditLog]:
        """Return the edited layout, without masks, and the log of its edits; ``layout`` must have ``ids``."""
        log = EditLog()
        layout = self._dropped(replace(layout, masks=None), rng, log)
        layout = self._jittered(layout, rng, log)
        layout = self._swapped(layout, rng, log)
        if rng.random() < self.flip:
            layout, log.flipped = layout.flip(), True
        return layout, log

    def _dropped(self, layout: Layout, rng: random.Random, log: EditLog) -> Layout:
        draws = [free and rng.random() < self.drop for free in is_free(layout, self.nameable)]
        kept = [index for index, drop in enumerate(draws) if not drop]
        if not kept and draws:
            kept = [rng.randrange(len(draws))]
        log.dropped = [layout.ids[index] for index in range(len(layout)) if index not in kept]
        return layout if len(kept) == len(layout) else layout.select(kept)

    def _jittered(self, layout: Layout, rng: random.Random, log: EditLog) -> Layout:
        boxes, free = layout.boxes.tolist(), is_free(layout, self.nameable)
        for index, is_object in enumerate(free):
            if not self.jitter or not is_object:
                continue
            others = []  # objects that limit the overlap
            if self.overlap is not None:
                others = [box for k, box in enumerate(boxes) if free[k] and k != index]
            for _ in range(1 if self.overlap is None else _TRIES):
                inside = visible_part(self._moved(boxes[index], rng))
                if inside is not None and self._fits(inside, others):
                    boxes[index] = inside
                    log.jittered.append(layout.ids[index])
                    break
        return replace(layout, boxes=torch.tensor(boxes).reshape(-1, 4))

    def _moved(self, box: Sequence[float], rng: random.Random) -> list[float]:
        x1, y1, x2, y2 = box
        draws = [rng.uniform(-self.jitter, self.jitter) for _ in range(4)]
        width, height = x2 - x1, y2 - y1
        cx, cy = (x1 + x2) / 2 + draws[0] * width, (y1 + y2) / 2 + draws[1] * height
        width, height = width * (1 + draws[2]), height * (1 + draws[3])
        return [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]

    def _fits(self, box: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
        if not others:
            return True
        return float(overlap_of(torch.tensor([box]), torch.tensor(others)).max()) <= self.overlap

    def _swapped(self, layout: Layout, rng: random.Random, log: EditLog) -> Layout:
        if not self.swap:
            return layout
        names, category_ids = list(layout.names), list(layout.category_ids)
        for index, free in enumerate(is_free(layout, self.nameable)):
            draw, pick = rng.random(), rng.random()
            targets = self._targets.get(names[index])
            if not free or draw >= self.swap or not targets:
                continue
            log.swapped[layout.ids[index]] = category_ids[index]
            names[index] = _choose(targets, pick)
            category_ids[index] = self._categories[names[index]]
        labels = layout.labels
        if labels is not None:
            labels = torch.tensor([self._labels[name] for name in names], dtype=torch.long)
        return replace(layout, names=names, category_ids=category_ids, labels=labels)

    def _rarer_classes(self, categories, layouts) -> dict[str, list[tuple[str, float]]]:
        """Return for each class of the layouts its rarer classes, with weights that sum to 1."""
        counts: dict[str, int] = {}
        for layout in layouts:
            for name, free in zip(layout.names, is_free(layout, self.nameable)):
                if free:
                    counts[name] = counts.get(name, 0) + 1
        group = {category["name"]: category.get("supercategory") for category in categories}
        targets = {}
        for name, count in counts.items():
            rarer = [
                (other, 1 / n) for other, n in counts.items() if n < count and group[other] == group[name]
            ]
            total = math.fsum(weight for _, weight in rarer)
            targets[name] = [(other, weight / total) for other, weight in sorted(rarer)]
        return targets


def _choose(weighted: Sequence[tuple[str, float]], draw: float) -> str:
    for name, weight in weighted:
        draw -= weight
        if draw < 0:
            return name
    return weighted[-1][0]
