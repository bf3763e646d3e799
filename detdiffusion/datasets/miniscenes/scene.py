"""The contents of a MiniScenes picture: a seeded random scene in normalised coordinates.

Sampling does not depend on the image size, so the same seed gives the same scene at 64 or 256 px. Every thing has a
hidden difficulty: contrast to its background, blur and camouflage texture are sampled here; occlusion and size follow
from the rendered picture (see :mod:`.render`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

THINGS = ("ball", "crate", "tent", "star", "ring", "pine tree", "kite", "street sign")
STUFF = ("sky", "grass", "water", "sand")

HARD_SHARE = 0.35
"""Share of things that have at least two of low contrast, blur and camouflage."""


@dataclass
class Thing:
    """One object: class index into :data:`THINGS`, centre and size in [0, 1], and its appearance.

    ``contrast`` is in (0, 1] (1 is opaque), ``blur`` is a Gaussian sigma in 1/64 of the image, ``texture`` in [0, 1] is
    the strength of the camouflage. ``group`` is the index of the crowd that it belongs to, or None.
    """

    label: int
    cx: float
    cy: float
    w: float
    h: float
    tint: float
    contrast: float = 1.0
    blur: float = 0.0
    texture: float = 0.0
    group: int | None = None


@dataclass
class Scene:
    """A background of horizontal stuff bands (label, y0, y1), things in drawing order, a texture seed."""

    bands: list[tuple[int, float, float]]
    things: list[Thing] = field(default_factory=list)
    texture_seed: int = 0


def _overlap_of_smaller(a: Thing, b: Thing) -> float:
    w = min(a.cx + a.w / 2, b.cx + b.w / 2) - max(a.cx - a.w / 2, b.cx - b.w / 2)
    h = min(a.cy + a.h / 2, b.cy + b.h / 2) - max(a.cy - a.h / 2, b.cy - b.h / 2)
    return max(w, 0) * max(h, 0) / min(a.w * a.h, b.w * b.h)


def _looks(rng: np.random.Generator) -> dict[str, float]:
    """Sample contrast, blur and texture of a thing: easy, or hard in at least two of the three factors."""
    looks = dict(contrast=rng.uniform(0.85, 1.0), blur=rng.uniform(0, 0.25), texture=rng.uniform(0, 0.1))
    if rng.random() < HARD_SHARE:
        hard = dict(
            contrast=rng.uniform(0.12, 0.4), blur=rng.uniform(0.9, 2.2), texture=rng.uniform(0.4, 0.85)
        )
        chosen = rng.choice(list(hard), size=rng.integers(2, 4), replace=False)
        looks.update({name: hard[name] for name in chosen})
    return {name: float(value) for name, value in looks.items()}


def _place(rng: np.random.Generator, things: list[Thing], w: float, h: float, max_overlap: float):
    """Sample a centre where the thing overlaps earlier ones by at most ``max_overlap``; None after 20 tries."""
    for _ in range(20):
        cx, cy = rng.uniform(w / 2, 1 - w / 2), rng.uniform(h / 2, 1 - h / 2)
        candidate = Thing(0, cx, cy, w, h, 0.0)
        if all(_overlap_of_smaller(candidate, other) <= max_overlap for other in things):
            return float(cx), float(cy)
    return None


def sample_scene(seed: int, index: int) -> Scene:
    """Sample scene number ``index`` of the data set with ``seed``; the result depends only on these two."""
    rng = np.random.default_rng([seed, index])
    horizon = rng.uniform(0.3, 0.6)
    ground = int(rng.integers(1, len(STUFF)))
    bands = [(0, 0.0, horizon), (ground, horizon, 1.0)]
    if rng.random() < 0.25:  # a second ground in front of the first
        shore = rng.uniform(horizon + 0.2, 0.88)
        second = int(rng.choice([s for s in range(1, len(STUFF)) if s != ground]))
        bands[1:] = [(ground, horizon, shore), (second, shore, 1.0)]
    scene = Scene([(s, float(a), float(b)) for s, a, b in bands], texture_seed=int(rng.integers(2**31)))

    max_overlap = 0.45 if rng.random() < 0.4 else 0.1
    for _ in range(int(rng.choice([1, 2, 3, 4, 5], p=[0.1, 0.3, 0.32, 0.2, 0.08]))):
        side, aspect = rng.uniform(0.2, 0.46), np.exp(rng.uniform(-0.3, 0.3))
        w, h = float(side * aspect**0.5), float(side / aspect**0.5)
        label, tint = int(rng.integers(len(THINGS))), float(rng.uniform(-1, 1))
        looks, spot = _looks(rng), _place(rng, scene.things, w, h, max_overlap)
        if spot:
            scene.things.append(Thing(label, *spot, w, h, tint, **looks))
    if rng.random() < 0.12:  # objects under 2 % of the image
        for _ in range(int(rng.integers(1, 3))):
            side = float(rng.uniform(0.08, 0.13))
            label, tint = int(rng.integers(len(THINGS))), float(rng.uniform(-1, 1))
            looks, spot = _looks(rng), _place(rng, scene.things, side, side, 0.0)
            if spot:
                scene.things.append(Thing(label, *spot, side, side, tint, **looks))
    if rng.random() < 0.04:  # a crowd: many small things of one class, side by side
        label, side = int(rng.integers(len(THINGS))), float(rng.uniform(0.08, 0.12))
        spot = _place(rng, scene.things, 4 * side, 2 * side, 0.0)
        if spot:
            for k in range(8):
                cx, cy = spot[0] + (k % 4 - 1.5) * side, spot[1] + (k // 4 - 0.5) * side
                scene.things.append(Thing(label, cx, cy, side, side, float(rng.uniform(-1, 1)), group=0))
    return scene
