"""Looks of MiniScenes: colours, patterns, light and camera, independent of the contents of a scene.

:data:`CLASSIC` is the default look. :func:`random_look` samples a different one for every image, so that classes differ
in shape but not in colour; the zoo is trained on these. :data:`HELD_OUT` are looks that the zoo never sees, which stand
for the domains of users.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from detdiffusion.utils.errors import UserError

from .scene import STUFF, THINGS, Scene

RANDOM = "random"
"""Name of the option to sample a random look for every image."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_GREY = np.tile(_LUMA, (3, 1))
_PLAIN = np.eye(3, dtype=np.float32)


@dataclass(frozen=True)
class Pattern:
    """A periodic brightness pattern: ``kind`` of :data:`PATTERNS`, strength in levels of 0-255, ``period`` as a
    share of the image, ``angle`` in radians."""

    kind: str
    strength: float
    period: float = 0.1
    angle: float = 0.0

    def draw(self, size: int) -> np.ndarray:
        """Return the pattern as levels to add, (size, size, 1) float32."""
        ys, xs = np.mgrid[:size, :size].astype(np.float32) * (2 * np.pi / (size * self.period))
        along = np.cos(self.angle) * xs + np.sin(self.angle) * ys
        across = np.cos(self.angle) * ys - np.sin(self.angle) * xs
        return self.strength * PATTERNS[self.kind](along, across)[:, :, None]


PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {  # functions of two phases, in [-1, 1]
    "stripes": lambda a, b: np.sin(a),
    "checks": lambda a, b: np.tanh(3 * np.sin(a) * np.sin(b)),
    "dots": lambda a, b: np.tanh(2 * (np.cos(a) + np.cos(b) - 0.8)),
    "grid": lambda a, b: np.maximum(np.cos(a), np.cos(b)) ** 9,
}


@dataclass(frozen=True)
class Look:
    """How the regions of a scene are coloured and photographed; colours are RGB, 0-255.

    Args:
        bodies, details: colours of the things, (8, 3) in the order of :data:`.scene.THINGS`.
        stuff: colours of the stuff, (4, 3) in the order of :data:`.scene.STUFF`.
        outline: colour of a line along the border of every thing, or None.
        grain: strength of the stuff's textures, 1 in the classic look.
        backdrop: a pattern over all stuff.
        surface: a pattern over all things.
        light: change in brightness from the left to the right border and from the top to the bottom, e.g. 0.4.
        vignette: share of light lost in the corners.
        matrix: (3, 3) conversion from RGB to the camera's RGB.
        gamma: exponent of the camera; above 1 is darker.
        noise: standard deviation of the camera's noise in levels.
    """

    bodies: np.ndarray
    details: np.ndarray
    stuff: np.ndarray
    outline: np.ndarray | None = None
    grain: float = 1.0
    backdrop: Pattern | None = None
    surface: Pattern | None = None
    light: tuple[float, float] = (0.0, 0.0)
    vignette: float = 0.0
    matrix: np.ndarray | None = None
    gamma: float = 1.0
    noise: float = 0.0

    def photograph(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply light and camera to a picture, (size, size, 3) float32 levels; noise is sampled from ``rng``."""
        size = len(picture)
        if any(self.light) or self.vignette:
            ramp = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
            radius = 2 * (ramp[:, None] ** 2 + ramp[None] ** 2)
            gain = 1 + self.light[0] * ramp[None] + self.light[1] * ramp[:, None] - self.vignette * radius
            picture = picture * gain[:, :, None]
        if self.matrix is not None:
            picture = picture @ self.matrix.T
        if self.gamma != 1:
            picture = 255 * (picture.clip(0, 255) / 255) ** self.gamma
        if self.noise:
            picture = picture + rng.normal(0, self.noise, picture.shape).astype(np.float32)
        return picture


_CLASSIC = np.array(
    [  # body, detail
        [(215, 40, 40), (255, 190, 190)],
        [(175, 105, 45), (95, 50, 15)],
        [(245, 205, 30), (140, 100, 0)],
        [(235, 60, 190), (255, 205, 240)],
        [(35, 70, 225), (35, 70, 225)],
        [(15, 85, 35), (85, 50, 20)],
        [(125, 45, 175), (215, 175, 250)],
        [(245, 245, 245), (220, 30, 40)],
    ]
)
CLASSIC = Look(
    bodies=_CLASSIC[:, 0],
    details=_CLASSIC[:, 1],
    stuff=np.array([(150, 205, 250), (110, 185, 80), (60, 135, 165), (225, 205, 155)], np.float32),
)


def _even(colour: tuple[int, int, int], count: int) -> np.ndarray:
    return np.tile(np.array(colour, np.float32), (count, 1))


HELD_OUT: dict[str, Look] = {
    "swapped": replace(CLASSIC, matrix=_PLAIN[[2, 0, 1]], gamma=1.3, noise=7.65),
    "dusk": replace(
        CLASSIC,
        stuff=np.array([(185, 110, 150), (98, 82, 62), (70, 62, 96), (124, 118, 138)], np.float32),
        grain=0.7,
        light=(0.5, -0.35),
        vignette=0.35,
        matrix=np.diag(np.array([0.95, 0.72, 0.8], np.float32)),
        gamma=1.15,
        noise=4.0,
    ),
    "xray": Look(
        bodies=np.linspace(150, 215, len(THINGS))[:, None].repeat(3, 1),
        details=np.linspace(250, 235, len(THINGS))[:, None].repeat(3, 1),
        stuff=np.array([(22, 24, 28), (58, 60, 64), (40, 42, 46), (72, 74, 78)], np.float32),
        outline=np.array((252, 252, 252)),
        grain=0.8,
        vignette=0.3,
        matrix=_GREY * np.array([[0.94], [1.0], [1.05]], np.float32),
        noise=5.0,
    ),
    "blueprint": Look(
        bodies=_even((92, 140, 205), len(THINGS)),
        details=_even((225, 238, 255), len(THINGS)),
        stuff=np.array([(24, 58, 128), (20, 50, 112), (30, 68, 142), (36, 62, 120)], np.float32),
        outline=np.array((235, 244, 255)),
        grain=0.5,
        backdrop=Pattern("grid", 26, 0.125),
        surface=Pattern("stripes", 12, 0.06, 0.8),
    ),
}

NAMES = ("classic", *HELD_OUT, RANDOM)


def _colour_apart(
    rng: np.random.Generator, others: np.ndarray, matrix: np.ndarray, distance: float
) -> np.ndarray:
    """Sample a colour that is at least ``distance`` from the others in the camera's RGB; else the farthest of 24."""
    tries = rng.uniform(0, 255, (24, 3)).astype(np.float32)
    gaps = np.linalg.norm((tries[:, None] - others[None]) @ matrix.T, axis=2).min(axis=1)
    return tries[np.argmax(gaps >= distance) if (gaps >= distance).any() else gaps.argmax()]


def _random_pattern(rng: np.random.Generator, share: float) -> Pattern | None:
    kind, strength = rng.choice(list(PATTERNS)), rng.uniform(5, 30)
    pattern = Pattern(str(kind), strength, rng.uniform(0.06, 0.25), rng.uniform(0, np.pi))
    return pattern if rng.random() < share else None


def random_look(rng: np.random.Generator) -> Look:
    """Sample a look in which things contrast with all stuff and details with their things; colours are random."""
    matrix = (_GREY if rng.random() < 0.12 else _PLAIN).astype(np.float32)
    spread = rng.uniform(10, 110)
    stuff = rng.uniform(20, 235, 3) + rng.uniform(-spread, spread, (len(STUFF), 3))
    stuff = stuff.clip(0, 255).astype(np.float32)
    bodies = np.stack([_colour_apart(rng, stuff, matrix, 100) for _ in THINGS])
    details = np.stack([_colour_apart(rng, body[None], matrix, 90) for body in bodies])
    if rng.random() < 0.2:  # all things of one colour
        bodies, details = _even(bodies[0], len(THINGS)), _even(details[0], len(THINGS))
    return Look(
        bodies=bodies,
        details=details,
        stuff=stuff,
        outline=_colour_apart(rng, stuff, matrix, 90) if rng.random() < 0.3 else None,
        grain=rng.uniform(0.5, 2.0),
        backdrop=_random_pattern(rng, 0.25),
        surface=_random_pattern(rng, 0.3),
        light=tuple(rng.uniform(-0.45, 0.45, 2)) if rng.random() < 0.6 else (0.0, 0.0),
        vignette=rng.uniform(0, 0.4) if rng.random() < 0.4 else 0.0,
        matrix=matrix,
        gamma=float(np.exp(rng.uniform(-0.35, 0.35))),
        noise=rng.uniform(0, 9) if rng.random() < 0.5 else 0.0,
    )


def look_of(name: str, scene: Scene) -> Look:
    """Return the look ``name`` (one of :data:`NAMES`) for a scene; a random look is seeded by its texture seed.

    Raises:
        UserError: if there is no look with this name.
    """
    if name not in NAMES:
        raise UserError(f"MiniScenes has no look {name!r}; it has: {', '.join(NAMES)}")
    if name == RANDOM:
        return random_look(np.random.default_rng([scene.texture_seed, 2]))
    return HELD_OUT.get(name, CLASSIC)
