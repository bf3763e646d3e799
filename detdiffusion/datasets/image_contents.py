"""Comparing images by content: equal files, and images that look nearly the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.progress import Progress

NEAR = 4
"""Bits of 64 in which the hashes of nearly equal images differ at most; those of unrelated ones differ in about 32."""
_TONE = 12.0  # grey levels by which their means differ at most
_FLAT = 4  # grey levels of contrast below which a hash means nothing
_THREADS = 4


@dataclass(frozen=True)
class Fingerprints:
    """Small descriptions of N images.

    Attributes:
        paths: the files that could be read.
        hashes: (N,) uint64, difference hashes: whether each cell of an 8 x 8 grid is darker than its right neighbour.
        tones: (N,) float64, mean grey level, 0 to 255; NaN for images without contrast, which are never near another.
    """

    paths: list[Path]
    hashes: np.ndarray
    tones: np.ndarray


def equal_files(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the digest of every file that has the size of another; files of a unique size equal no other.

    Only file sizes are read for most of the files. Missing files are ignored.
    """
    by_size: dict[int, list[Path]] = {}
    for path in dict.fromkeys(paths):
        try:
            by_size.setdefault(path.stat().st_size, []).append(path)
        except OSError:
            continue
    return {path: sha256_of(path) for same in by_size.values() if len(same) > 1 for path in same}


def fingerprints(paths: Sequence[Path], progress: bool = True) -> Fingerprints:
    """Compute fingerprints; images that cannot be decoded are left out."""

    def describe(path: Path) -> tuple[int, float] | None:
        try:
            with Image.open(path) as file:
                file.draft("L", (64, 64))  # a JPEG is decoded at a fraction of its size
                cells = np.asarray(file.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
        except Exception:  # the check of the files reports it
            return None
        bits = np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes()
        tone = float(cells.mean()) if np.ptp(cells) >= _FLAT else float("nan")
        return int.from_bytes(bits, "big"), tone

    found = []
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        Progress("comparing", total=len(paths), enabled=progress) as bar,
    ):
        for path, result in zip(paths, bar.track(pool.map(describe, paths))):
            if result is not None:
                found.append((path, *result))
    return Fingerprints(
        [path for path, _, _ in found],
        np.array([value for _, value, _ in found], np.uint64),
        np.array([tone for _, _, tone in found], np.float64),
    )


def near_pairs(first: Fingerprints, second: Fingerprints, limit: int = NEAR) -> list[tuple[Path, Path]]:
    """Return, for each image of ``second`` that is nearly equal to one of ``first``, the two.

    Args:
        first, second: fingerprints of N and M images.
        limit: bits in which two hashes may differ.
    """
    pairs = []
    for path, value, tone in zip(second.paths, second.hashes, second.tones):
        if not len(first.hashes):
            break
        bits = (
            np.bitwise_count(first.hashes ^ value)
            if hasattr(np, "bitwise_count")
            else _bits(first.hashes ^ value)
        )
        with np.errstate(invalid="ignore"):
            near = (bits <= limit) & (np.abs(first.tones - tone) <= _TONE)
        if near.any():
            pairs.append((first.paths[int(np.where(near, bits, 65).argmin())], path))
    return pairs


def _bits(values: np.ndarray) -> np.ndarray:
    """Count the bits that are set, for numpy before 2."""
    return np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1).sum(1)


def samples(paths: Mapping[str, Sequence[Path]], count: int) -> dict[str, list[Path]]:
    """Return at most ``count`` paths of every split, at equal distances in the order of the split."""
    return {
        split: list(all_paths)
        if len(all_paths) <= count
        else [all_paths[k * len(all_paths) // count] for k in range(count)]
        for split, all_paths in paths.items()
    }
