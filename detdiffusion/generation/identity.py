"""Names of synthetic images: ids and noise seeds as pure functions of where an image comes from.

Nothing here depends on batch size, rank, order or on what was generated before, so a set can be generated in
any number of pieces by any number of processes, and a repaired image is the image that was lost.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable

from detdiffusion.utils.errors import UserError

MAX_ID = 2**53 - 1  # the largest integer that every json reader keeps exactly
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _hash(*parts: object) -> int:
    """63 bits of the SHA-256 of ``parts``."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def synthetic_image_id(source_image_id: int, strategy: str, sample_index: int, seed: int) -> int:
    """Id of a synthetic image, in [1, 2**53): a pure function of its four arguments."""
    return _hash("image", source_image_id, strategy, sample_index, seed) % MAX_ID + 1


def synthetic_annotation_id(image_id: int, source_annotation_id: int) -> int:
    """Id of a synthetic annotation, in [1, 2**53), from its synthetic image and the source's annotation."""
    return _hash("annotation", image_id, source_annotation_id) % MAX_ID + 1


def noise_seed(source_image_id: int, sample_index: int, seed: int) -> int:
    """Seed of an image's own generator, in [0, 2**63).

    The strategy takes no part: with one ``seed`` the images that strategies make of a layout start from the
    same noise and differ by their attributes alone, which is what a paired comparison of strategies wants.
    """
    return _hash("noise", source_image_id, sample_index, seed)


def rng_of(purpose: str, source_image_id: int, sample_index: int, seed: int) -> random.Random:
    """Random numbers for one image and one purpose ('strategy', 'edit', ...), the same in every process."""
    return random.Random(_hash(purpose, source_image_id, sample_index, seed))


def synthetic_file_name(
    source_image_id: int, strategy: str, sample_index: int, seed: int, suffix: str = ".png"
) -> str:
    """File name of a synthetic image, unique over strategies, seeds and samples of one source set.

    Raises:
        UserError: the strategy's name cannot be part of a file name.
    """
    if not _NAME.fullmatch(strategy):
        raise UserError(f"strategy name {strategy!r}: use letters, digits, '_', '-' and '.' only")
    return f"{source_image_id:012d}_{strategy}_seed{seed}_{sample_index:03d}{suffix}"


def check_unique(ids: Iterable[int], what: str) -> None:
    """Checks that no id occurs twice.

    Args:
        ids: positive integers.
        what: what the ids name, for the message.

    Raises:
        UserError: two are equal (a doubled source id, or a hash collision: another seed gives other ids).
    """
    seen: set[int] = set()
    for value in ids:
        if value in seen:
            raise UserError(
                f"{what} id {value} occurs twice: the source set holds an id twice, or two ids collide by "
                "chance; remove the doubled source, or choose another `seed`"
            )
        seen.add(value)
