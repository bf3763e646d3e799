"""Rendering a MiniScenes scene to an RGB picture and the visible mask of every region.

Shapes are drawn supersampled by OpenCV and averaged down, so edges are smooth at 64 px. A mask contains the pixels that
the shape covers by more than half and that no later shape hides.
"""

from __future__ import annotations

import cv2
import numpy as np

from .looks import CLASSIC, Look
from .scene import THINGS, Scene, Thing


def _polygon(points) -> np.ndarray:
    return np.asarray(points, np.float64) - 0.5


_STAR = _polygon(
    [
        (0.5 + r * np.sin(k * np.pi / 5), 0.5 - r * np.cos(k * np.pi / 5))
        for k, r in enumerate([0.5, 0.21] * 5)
    ]
)
_OCTAGON = _polygon(
    [(0.5 + 0.54 * np.cos(a), 0.5 + 0.54 * np.sin(a)) for a in np.pi / 8 + np.arange(8) * np.pi / 4]
).clip(-0.5, 0.5)
_SQUARE = _polygon([(0, 0), (1, 0), (1, 1), (0, 1)])
_TENT = _polygon([(0.5, 0), (1, 1), (0, 1)])
_DOOR = _polygon([(0.5, 0.45), (0.66, 1), (0.34, 1)])
_PINE = _polygon([(0.5, 0), (0.82, 0.4), (0.68, 0.4), (1, 0.82), (0, 0.82), (0.32, 0.4), (0.18, 0.4)])
_TRUNK = _polygon([(0.4, 0.82), (0.6, 0.82), (0.6, 1), (0.4, 1)])
_KITE = _polygon([(0.5, 0), (1, 0.4), (0.5, 1), (0, 0.4)])
_KITE_WING = _polygon([(0.5, 0), (0.5, 1), (0, 0.4)])
_CIRCLE = _polygon([(0.5 + 0.5 * np.cos(a), 0.5 + 0.5 * np.sin(a)) for a in np.arange(48) * 2 * np.pi / 48])
_SHAPES = {  # outline, details, hole: unit polygons around the centre
    "ball": (_CIRCLE, [_CIRCLE * 0.3 - 0.16], None),
    "crate": (_SQUARE, [_SQUARE * 0.12 * (8.3, 1), _SQUARE * 0.12 * (1, 8.3)], None),
    "tent": (_TENT, [_DOOR], None),
    "star": (_STAR, [_STAR * 0.4], None),
    "ring": (_CIRCLE, [], _CIRCLE * 0.5),
    "pine tree": (np.concatenate([_PINE[:4], _TRUNK[[1, 2, 3, 0]], _PINE[4:]]), [_TRUNK], None),
    "kite": (_KITE, [_KITE_WING], None),
    "street sign": (_OCTAGON, [_OCTAGON * (0.62, 0.3)], None),
}


def _points(polygon: np.ndarray, thing: Thing, origin: np.ndarray, scale: float) -> list[np.ndarray]:
    """Move and scale a unit polygon to the thing, in 1/16 pixels of a canvas whose corner is at ``origin``."""
    points = (polygon * (thing.w, thing.h) + (thing.cx, thing.cy)) * scale - origin
    return [np.round(points * 16).astype(np.int32)]


def _fill(canvas: np.ndarray, polygon: np.ndarray, thing: Thing, origin: np.ndarray, scale: float, value):
    cv2.fillPoly(canvas, _points(polygon, thing, origin, scale), value, lineType=cv2.LINE_AA, shift=4)


def _stroke(canvas: np.ndarray, polygon: np.ndarray, thing: Thing, origin: np.ndarray, scale: float, value):
    """Draw a line along a polygon, 1/32 of the image wide, centred on the border."""
    points, width = _points(polygon, thing, origin, scale), max(1, round(scale / 32))
    cv2.polylines(canvas, points, True, value, width, lineType=cv2.LINE_AA, shift=4)


def _noise(rng: np.random.Generator, size: int, cell: int) -> np.ndarray:
    """Sample smooth noise in [-1, 1], (size, size) float32, with bumps of about ``cell`` pixels."""
    grid = rng.uniform(-1, 1, (max(2, size // cell), max(2, size // cell))).astype(np.float32)
    return cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC).clip(-1, 1)


def _background(scene: Scene, size: int, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Draw the stuff bands; return a (size, size, 3) float32 picture and a (size, size) int map of band indices."""
    rng = np.random.default_rng(scene.texture_seed)
    rows = (np.arange(size, dtype=np.float32) + 0.5) / size
    picture, band_of = np.empty((size, size, 3), np.float32), np.zeros((size, size), np.int64)
    for number, (label, y0, y1) in enumerate(scene.bands):
        inside = (rows >= y0) & (rows < y1)
        shade = (rows - y0) / max(y1 - y0, 1e-6)
        colour = look.stuff[label] + rng.uniform(-10, 10, 3).astype(np.float32)
        texture = _noise(rng, size, max(1, size // (8, 24, 12, 28)[label])) * (4, 14, 8, 7)[label]
        if label == 2:  # waves run along the rows
            texture = texture + 9 * np.sin(rows * 75 + rng.uniform(0, 6))[:, None]
        texture = texture * np.float32(look.grain)
        band = colour * (1.06 - 0.14 * shade[:, None, None]) + texture[:, :, None]
        picture[inside], band_of[inside] = band[inside], number
    if look.backdrop:
        picture += look.backdrop.draw(size)
    return picture, band_of


def _paint(
    thing: Thing, look: Look, origin: np.ndarray, scale: float, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw coverage (H, W) and colours (H, W, 3) of a thing, uint8, on a canvas whose corner is at ``origin``."""
    outline, details, hole = _SHAPES[THINGS[thing.label]]
    alpha = np.zeros(shape, np.uint8)
    _fill(alpha, outline, thing, origin, scale, 255)
    if hole is not None:
        _fill(alpha, hole, thing, origin, scale, 0)
    paint = np.empty((*shape, 3), np.uint8)
    paint[:] = np.clip(look.bodies[thing.label] + 18 * thing.tint, 0, 255).astype(np.uint8)
    for polygon in details:
        _fill(paint, polygon, thing, origin, scale, look.details[thing.label].astype(int).tolist())
    if look.outline is not None:
        for polygon in (outline,) if hole is None else (outline, hole):
            _stroke(paint, polygon, thing, origin, scale, look.outline.astype(int).tolist())
    return alpha, paint


def render(
    scene: Scene, size: int, look: Look = CLASSIC
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray], list[float]]:
    """Render a scene.

    Args:
        scene: the scene.
        size: side of the square picture in pixels, 32 or more.
        look: its colours, patterns, light and camera.

    Returns:
        ``(picture, things, stuff, hidden)``: the picture (size, size, 3) uint8 RGB; visible masks (size, size) bool of
        the things and of the stuff bands, in the scene's order; and the share in [0, 1] of every thing that is hidden
        by later things.
    """
    factor = 4 if size <= 128 else 2
    picture, band_of = _background(scene, size, look)
    camouflage = _noise(np.random.default_rng([scene.texture_seed, 1]), size, max(1, size // 20))
    surface = look.surface.draw(size) if look.surface else None
    full_masks: list[np.ndarray] = []
    for thing in scene.things:
        sigma, margin = thing.blur * size / 64, 2 + int(3 * thing.blur * size / 64)
        x0, y0 = (int((c - d / 2) * size) - margin for c, d in ((thing.cx, thing.w), (thing.cy, thing.h)))
        x1, y1 = (int((c + d / 2) * size) + margin + 1 for c, d in ((thing.cx, thing.w), (thing.cy, thing.h)))
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, size), min(y1, size)
        origin, scale = np.array([x0, y0], np.float64) * factor, size * factor
        alpha, paint = _paint(thing, look, origin, scale, ((y1 - y0) * factor, (x1 - x0) * factor))
        target = (x1 - x0, y1 - y0)
        alpha = cv2.resize(alpha, target, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        paint = cv2.resize(paint, target, interpolation=cv2.INTER_AREA).astype(np.float32)
        if surface is not None:
            paint = paint + surface[y0:y1, x0:x1]
        mask = np.zeros((size, size), bool)
        mask[y0:y1, x0:x1] = alpha > 0.5
        full_masks.append(mask)
        if sigma > 0.1:
            alpha, paint = cv2.GaussianBlur(alpha, (0, 0), sigma), cv2.GaussianBlur(paint, (0, 0), sigma)
        behind = picture[y0:y1, x0:x1]
        pattern = camouflage[y0:y1, x0:x1, None]
        paint = paint * (1 - 0.5 * thing.texture * (pattern > 0)) + behind * (
            0.5 * thing.texture * (pattern > 0)
        )
        paint = paint + 55 * thing.texture * pattern
        weight = (alpha * thing.contrast)[:, :, None]
        picture[y0:y1, x0:x1] = behind * (1 - weight) + paint * weight

    picture = look.photograph(picture, np.random.default_rng([scene.texture_seed, 3]))
    covered = np.zeros((size, size), bool)
    visible: list[np.ndarray] = []
    hidden: list[float] = []
    for mask in reversed(full_masks):
        visible.append(mask & ~covered)
        hidden.append(float((mask & covered).sum() / max(mask.sum(), 1)))
        covered |= mask
    stuff = [(band_of == number) & ~covered for number in range(len(scene.bands))]
    return np.clip(np.round(picture), 0, 255).astype(np.uint8), visible[::-1], stuff, hidden[::-1]
