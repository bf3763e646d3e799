"""Near copies: generated images that resemble a training image more than training images resemble each other.

For each image the nearest training image is found, by the root mean square difference of small RGB images (the mirrored
training images count, too) or by the cosine distance of a detector's features. The limit is a quantile of the distances
between each training image and its nearest other one; held-out real images would be below it about as often as the
quantile says, so a larger share tells copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.datasets.image_reading import read_rgb
from detdiffusion.utils.errors import UserError

SIDE = 32
"""Side in pixels of the images that are compared."""
_ROUNDING = 1e-6  # equal images have distances up to this
_CHUNK = 256  # rows of a distance matrix in memory


@dataclass(frozen=True)
class Nearest:
    """The nearest reference of N vectors: ``index`` (N,) int64 and ``distance`` (N,) float64."""

    index: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class Copies:
    """Near copies in a set of N images.

    Attributes:
        nearest: the nearest training image of each image.
        share: share of near copies, in [0, 1].
    """

    nearest: Nearest
    share: float


def pixel_vectors(paths: Sequence[str | Path]) -> np.ndarray:
    """Return small RGB images as (N, 3 * SIDE * SIDE) float32 vectors, whose distance is the RMS difference."""
    rows = []
    for path in paths:
        small = np.asarray(read_rgb(path).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32) / 255
        rows.append(small.reshape(-1))
    return np.stack(rows) / np.float32(np.sqrt(rows[0].size))


def mirrored(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors of :func:`pixel_vectors` of the horizontally mirrored images."""
    return vectors.reshape(-1, SIDE, SIDE, 3)[:, :, ::-1].reshape(len(vectors), -1)


def cosine_vectors(features: np.ndarray) -> np.ndarray:
    """Return (N, D) features as vectors whose squared Euclidean distance is twice the cosine distance."""
    norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return features / np.maximum(norms, 1e-12)


def find_nearest(vectors: np.ndarray, references: np.ndarray, leave_out: bool = False) -> Nearest:
    """Find the nearest reference of each vector by Euclidean distance.

    Args:
        vectors: (N, D).
        references: (M, D).
        leave_out: vector i is reference i, or its mirror image i + N, and is not compared with them.
    """
    wide = references.astype(np.float64)
    squares = (wide**2).sum(axis=1)
    indices, distances = [], []
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK].astype(np.float64)
        squared = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ wide.T
        if leave_out:
            rows = np.arange(len(part))
            for first in range(start, len(references), len(vectors)):
                squared[rows, first + rows] = np.inf
        best = squared.argmin(axis=1)
        indices.append(best)
        distances.append(np.sqrt(np.maximum(squared[np.arange(len(part)), best], 0)))
    return Nearest(np.concatenate(indices), np.concatenate(distances))


def distances_within(real: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the distances (M,) between each training image and its nearest other one.

    Args:
        real: (M, D) vectors of the training images.
        references: the same vectors, and optionally those of the mirrored images after them.

    Raises:
        UserError: there are fewer than two training images.
    """
    if len(real) < 2:
        raise UserError(f"near copies: {len(real)} training image; at least 2 are needed for the limit")
    return find_nearest(real, references, leave_out=True).distance


def count_duplicates(distances: np.ndarray) -> int:
    """Return how many training images equal another one; ``distances`` as of :func:`distances_within`."""
    return int((distances <= _ROUNDING).sum())


def count_copies(generated: np.ndarray, references: np.ndarray, limit: float, real: int) -> Copies:
    """Count the near copies of M training images in a set, those at the limit included: it is 0 if many are equal.

    Args:
        generated: (N, D) vectors of the set.
        references: (M, D) or, with mirrored images, (2 * M, D) vectors of the training images.
        limit: a quantile of :func:`distances_within`.
        real: the number M.
    """
    found = find_nearest(generated, references)
    near = found.distance <= limit + _ROUNDING
    return Copies(Nearest(found.index % real, found.distance), float(near.mean()))
