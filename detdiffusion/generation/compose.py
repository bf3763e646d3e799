"""New layouts from the objects of a set: scenes composed of several images' objects, or sampled around their places.

As for :mod:`.edits`, the annotations of a generated image are those of its composed layout, and a composition is a pure
function of (source image id, sample index, seed).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from .edits import EditLog, is_free, most_overlap, overlap_of, visible_part
from .options import RECOMPOSE, SAMPLE
from .oversampling import class_factors

_TRIES = 30  # per object


class LayoutComposer:
    """Replaces the objects of a layout by objects of the whole set; its stuff stays.

    The number of objects stays that of the layout. ``recompose`` takes objects of any images at their own places, so
    sizes and usual places of the classes are those of the set. ``sample`` takes the classes of another image, and for
    each a box from the class's kernel density: the box of one of its objects, moved by Gaussian noise in centre and
    logarithmic sides with Silverman's bandwidth. In both, an object is taken only if it overlaps no other more than
    objects of the set do (the 95 % quantile); if none of 30 tries fits, the layout has one object less.

    Args:
        kind: 'recompose' or 'sample'.
        layouts: layouts of the set, with ``ids`` and ``category_ids``, and attributes if the model uses them.
        nameable: class names of objects; None: all but those whose attribute is ``background``.
        oversample_thr: take objects of a class as often as its factor of :func:`.oversampling.class_factors` says;
            None: all equally often.

    Attributes:
        name: part of image ids and file names, e.g. 'recompose' or 'sample-rare0.1'.

    Raises:
        UserError: the kind is unknown, no layout has an object, or the threshold is out of range.
    """

    def __init__(
        self,
        kind: str,
        layouts: Sequence[Layout],
        nameable: Sequence[str] | None = None,
        oversample_thr: float | None = None,
    ) -> None:
        if kind not in (RECOMPOSE, SAMPLE):
            raise UserError(f"layouts {kind!r}: must be {RECOMPOSE!r} or {SAMPLE!r}")
        # the threshold changes the layouts, and so must change their ids
        self.name = kind if oversample_thr is None else f"{kind}-rare{oversample_thr:.6g}"
        self.kind, self.nameable = kind, None if nameable is None else frozenset(nameable)
        self._layouts, self._places, self._by_class = layouts, [], {}
        for index, layout in enumerate(layouts):
            for k, is_object in enumerate(is_free(layout, self.nameable)):
                if is_object:
                    self._by_class.setdefault(layout.names[k], []).append(len(self._places))
                    self._places.append((index, k))
        if not self._places:
            raise UserError(f"layouts {kind!r}: no layout has an object that the attribute detector can name")
        self.most_overlap = most_overlap(layouts, self.nameable)
        self._weights = self._cumulative(
            {} if oversample_thr is None else class_factors(layouts, oversample_thr)
        )
        self._spread = self._bandwidths() if kind == SAMPLE else {}

    def __call__(self, layout: Layout, rng: random.Random) -> tuple[Layout, EditLog]:
        """Return the composed layout, without masks, and the log of what left it and what is new."""
        free = is_free(layout, self.nameable)
        stuff = layout.select([k for k, is_object in enumerate(free) if not is_object])
        taken: list[tuple[Layout, int, Tensor]] = []
        for name in self._classes(sum(free), rng):
            found = self._fitting(
                name, [box for _, _, box in taken], {donor.ids[k] for donor, k, _ in taken}, rng
            )
            if found is not None:
                taken.append(found)
        added = [donor.ids[k] for donor, k, _ in taken]
        gone = [key for key, is_object in zip(layout.ids, free) if is_object and key not in added]
        return _joined(stuff, taken), EditLog(dropped=gone, added=added)

    def _classes(self, count: int, rng: random.Random) -> list[str | None]:
        """Return the classes of the new objects; None: of any class."""
        if self.kind == RECOMPOSE or not count:
            return [None] * count
        index, _ = self._places[self._draw(rng)]
        other = self._layouts[index]
        names = [n for n, is_object in zip(other.names, is_free(other, self.nameable)) if is_object]
        return [names[i % len(names)] for i in range(count)]

    def _fitting(self, name: str | None, boxes: list[Tensor], used: set[int], rng: random.Random):
        """Return ``(layout, index, box)`` of an object that fits to ``boxes``, or None."""
        for _ in range(_TRIES):
            place = self._draw(rng) if name is None else rng.choice(self._by_class[name])
            index, k = self._places[place]
            layout = self._layouts[index]
            box = (
                layout.boxes[k]
                if self.kind == RECOMPOSE
                else self._moved(layout.boxes[k], layout.names[k], rng)
            )
            if box is None or layout.ids[k] in used:
                continue
            if not boxes or float(overlap_of(box[None], torch.stack(boxes)).max()) <= self.most_overlap:
                return layout, k, box
        return None

    def _draw(self, rng: random.Random) -> int:
        return int(np.searchsorted(self._weights, rng.random() * self._weights[-1], side="right"))

    def _cumulative(self, weights: Mapping[str, float]) -> np.ndarray:
        each = np.ones(len(self._places))
        for name, places in self._by_class.items():
            each[places] = weights.get(name, 1.0)
        return each.cumsum()

    def _bandwidths(self) -> dict[str, np.ndarray]:
        """Return Silverman's bandwidth (4,) of centre and logarithmic sides by class."""
        values = {
            name: torch.stack(
                [_centred(self._layouts[i].boxes[k]) for i, k in (self._places[p] for p in places)]
            )
            for name, places in self._by_class.items()
        }
        everything = torch.cat(list(values.values()))
        pooled = everything.std(dim=0) if len(everything) > 1 else torch.zeros(4)
        return {
            name: ((own.std(dim=0) if len(own) > 3 else pooled) * (4 / (6 * len(own))) ** (1 / 8)).numpy()
            for name, own in values.items()
        }

    def _moved(self, box: Tensor, name: str, rng: random.Random) -> Tensor | None:
        """Return a box of the class's kernel density, or None if too little of it is inside the image."""
        shift = [rng.gauss(0, float(sigma)) for sigma in self._spread[name]]
        cx, cy, w, h = (_centred(box) + torch.tensor(shift)).tolist()
        w, h = min(float(np.exp(w)), 1.0), min(float(np.exp(h)), 1.0)
        inside = visible_part([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
        return None if inside is None else torch.tensor(inside)


def _centred(box: Tensor) -> Tensor:
    """Convert xyxy (4,) to centre and logarithmic sides (4,) float32."""
    x1, y1, x2, y2 = box
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1).log(), (y2 - y1).log()))


def _joined(stuff: Layout, taken: Sequence[tuple[Layout, int, Tensor]]) -> Layout:
    """Return the stuff's layout with the objects in front."""

    def pick(field: str) -> list | None:
        there = getattr(stuff, field)
        return None if there is None else [getattr(layout, field)[k] for layout, k, _ in taken] + list(there)

    labels = pick("labels")
    return replace(
        stuff,
        boxes=torch.cat([*(box[None] for _, _, box in taken), stuff.boxes]),
        names=pick("names"),
        attributes=pick("attributes"),
        labels=None if labels is None else torch.tensor([int(label) for label in labels], dtype=torch.long),
        ids=pick("ids"),
        category_ids=pick("category_ids"),
        masks=None,
    )
