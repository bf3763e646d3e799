"""Ids, file names and noise seeds of synthetic images, as pure functions of source image, strategy, sample and seed.

They do not depend on batch size, rank, order or existing images, so a set can be generated in any number of runs by
any number of processes, and a regenerated image equals the lost one.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable

from detdiffusion.utils.errors import UserError

MAX_ID = 2**53 - 1  # the largest integer that every json reader represents exactly
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _hash(*parts: object) -> int:
    """Return 63 bits of the SHA-256 of ``parts``."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def synthetic_image_id(source_image_id: int, strategy: str, sample_index: int, seed: int) -> int:
    """Return the id of a synthetic image, in [1, 2**53)."""
    return _hash("image", source_image_id, strategy, sample_index, seed) % MAX_ID + 1


def synthetic_annotation_id(image_id: int, source_annotation_id: int) -> int:
    """Return the id, in [1, 2**53), of the annotation of a synthetic image made from a source annotation."""
    return _hash("annotation", image_id, source_annotation_id) % MAX_ID + 1


def noise_seed(source_image_id: int, sample_index: int, seed: int) -> int:
    """Return the seed of an image's noise, in [0, 2**63).

    It does not depend on the strategy: for a given ``seed``, the images of a layout by different strategies start from
    the same noise and differ only by their attributes, as a paired comparison of strategies requires.
    """
    return _hash("noise", source_image_id, sample_index, seed)


def rng_of(purpose: str, source_image_id: int, sample_index: int, seed: int) -> random.Random:
    """Return a random generator for one image and one purpose ('strategy', 'edit', ...), equal in every process."""
    return random.Random(_hash(purpose, source_image_id, sample_index, seed))


def synthetic_file_name(
    source_image_id: int, strategy: str, sample_index: int, seed: int, suffix: str = ".png"
) -> str:
    """Return the file name of a synthetic image, unique over strategies, seeds and samples of a source set.

    Raises:
        UserError: the strategy's name contains characters that are not allowed in file names.
    """
    if not _NAME.fullmatch(strategy):
        raise UserError(f"strategy name {strategy!r}: use letters, digits, '_', '-' and '.' only")
    return f"{source_image_id:012d}_{strategy}_seed{seed}_{sample_index:03d}{suffix}"


def check_unique(ids: Iterable[int], what: str) -> None:
    """Check that no id occurs twice.

    Args:
        ids: positive integers.
        what: 'image' or 'annotation', for the error message.

    Raises:
        UserError: an id occurs twice (a duplicate id in the source, or a hash collision).
    """
    seen: set[int] = set()
    for value in ids:
        if value in seen:
            raise UserError(
                f"{what} id {value} occurs twice: the source set has a duplicate id, or two ids collide by "
                "chance; remove the duplicate from the source, or choose another `seed`"
            )
        seen.add(value)
