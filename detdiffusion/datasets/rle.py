"""Computing the number of pixels that COCO's compressed run lengths cover, without decoding the mask.

A number is stored in groups of five bits, lowest first, as characters from 48; bit 5 means that more groups follow, and
bit 4 of the last group is the sign. From the fourth number on, the difference to the number two before is stored
(pycocotools, ``maskApi.c``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LONGEST = 8  # maximum number of groups per number, i.e. 40 bits


def compressed_totals(texts: Sequence[bytes]) -> np.ndarray:
    """Compute the sums of the runs of many compressed RLEs.

    Unlike :func:`compressed_total`, this does not detect negative runs.

    Returns:
        (N,) int64; -1 for texts that are truncated or contain invalid characters.
    """
    groups = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(48)  # characters below '0' wrap around
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    stops = lengths.cumsum()
    ends = np.flatnonzero(groups < 32)  # last group of each number
    if not len(groups) or groups.max() > 63 or not lengths.all() or (groups[stops - 1] > 31).any():
        return np.array([_total_or_minus_one(text) for text in texts], np.int64)
    counts = np.diff(np.searchsorted(ends, stops), prepend=0)  # how many numbers each text has
    more = np.diff(ends, prepend=-1) - 1  # number of groups before the last group of each number
    if more.max() >= _LONGEST:
        return np.array([_total_or_minus_one(text) for text in texts], np.int64)
    numbers = groups[ends].astype(np.int64)
    numbers -= (numbers & 16) << 1
    for k in range(1, int(more.max()) + 1):
        longer = np.flatnonzero(more >= k)
        numbers[longer] = (numbers[longer] << 5) | (groups[ends[longer] - k] & 31)
    # The number at i contributes to run i and every second run after it; the first number only to its own run.
    first = counts.cumsum() - counts
    behind = np.repeat(counts + first, counts) - np.arange(len(numbers))
    weights = (behind + 1) >> 1
    weights[first] = 1
    return np.add.reduceat(numbers * weights, first)


def _total_or_minus_one(text: bytes) -> int:
    try:
        return compressed_total(text)
    except ValueError:
        return -1


def compressed_total(text: bytes) -> int:
    """Compute the sum of the runs of one compressed RLE.

    Raises:
        ValueError: if the text is truncated, contains invalid characters, or has a run of negative or excessive length.
    """
    groups = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(groups):
        return 0
    last = (groups & 0x20) == 0
    if not last[-1] or groups.min() < 0 or groups.max() > 0x3F:
        raise ValueError("cut off, or invalid characters")
    ends = np.flatnonzero(last)
    starts = np.r_[0, ends[:-1] + 1]
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, ends - starts + 1))
    if shifts.max() >= 5 * _LONGEST:
        raise ValueError("a run that is too long")
    numbers = np.add.reduceat((groups & 0x1F) << shifts, starts)
    numbers[(groups[ends] & 0x10) > 0] -= 1 << (shifts[ends][(groups[ends] & 0x10) > 0] + 5)
    runs = numbers.copy()
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    if (runs < 0).any():
        raise ValueError("a run of negative length")
    return int(runs.sum())
