"""The real bound: a distance between real images, as a reference for the distances of generated images.

By default it is the distance between two halves of the real set, which are the same in every run: images are sorted by
the SHA-256 of their ids, and the first half is compared with the second. Alternatively, other real images are compared
with the complete real set. A Fréchet distance increases as sets get smaller, so the distance between halves
overestimates the bound. With many more images than features the bias is about 1 / n (Bińkowski et al. 2018; Chong and
Forsyth 2020); with fewer images it decreases more slowly, and with no more images than features no rule is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.evaluation.fid import SetFeatures
from detdiffusion.evaluation.image_pixels import check_real_images
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of

SMALLEST = 4
"""Minimum number of real images for two halves, as a covariance needs two vectors."""


def fixed_order(ids: Iterable[int]) -> list[int]:
    """Sort ids by the SHA-256 of their decimal text, a pseudo-random but fixed order."""
    return sorted(ids, key=lambda i: hashlib.sha256(str(i).encode()).hexdigest())


def half_indices(ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return sorted indices of two halves of equal size by :func:`fixed_order`; an odd image is left out."""
    position = {image_id: index for index, image_id in enumerate(ids)}
    order = [position[image_id] for image_id in fixed_order(ids)]
    half = len(order) // 2
    return sorted(order[:half]), sorted(order[half : 2 * half])


@dataclass(frozen=True)
class Reference:
    """Other real images.

    Attributes:
        ann: their annotation file.
        img_dir: their folder.
        images: COCO image dicts in :func:`fixed_order`.
        notes: lines on how its files are converted when they are read.
    """

    ann: Path
    img_dir: Path
    images: list[dict]
    notes: list[str]

    def paths(self, count: int) -> list[Path]:
        """Return the files of the first ``count`` images."""
        return [self.img_dir / image["file_name"] for image in self.images[:count]]


def read_reference(ann: str | Path, img_dir: str | Path, count: int, real: Iterable[Path]) -> Reference:
    """Read at most ``count`` real images that are not in the real set.

    Args:
        ann: a COCO json; its annotations are not used.
        img_dir: folder of its images.
        count: size of the largest compared set, as distances depend on the number of images.
        real: files of the real set.

    Raises:
        UserError: there are too few images, files are missing or of another size, or files are in the real set.
    """
    ann, img_dir = Path(ann), Path(img_dir)
    by_id = {image["id"]: image for image in read_coco(ann, require_annotations=False).images}
    images = [by_id[image_id] for image_id in fixed_order(by_id)[:count]]
    if len(images) < 2:
        raise UserError(f"`real_reference` {ann}: {len(images)} images; a distance needs at least 2")
    notes = check_real_images(images, img_dir, "`real_reference`").notes("real reference")
    known = {sha256_of(path) for path in real}
    twice = [image["file_name"] for image in images if sha256_of(img_dir / image["file_name"]) in known]
    if twice:
        raise UserError(
            f"`real_reference` {ann}: {len(twice)} of its {len(images)} images are among the real images that they are "
            f"compared with, the first {twice[0]}; name another split"
        )
    return Reference(ann, img_dir, images, notes)


def describe_bound(distance: float, real: int, width: int, reference: Reference | None, used: int) -> str:
    """Describe the row of the real images.

    For halves with more images than features, the description includes an estimate of the distance for the full number
    of images: the distance between two samples of one distribution is only bias, which decreases about as 1 / n.

    Args:
        distance: the Fréchet distance in the row.
        real: number of real images.
        width: number of features.
        reference: other real images, or None for halves.
        used: number of images of the reference that are used.
    """
    if reference is not None:
        return f"{used} other real images of {reference.ann} against the {real} real images"
    half = real // 2
    text = f"one half of the real images against the other, {half} and {half} images"
    if half <= width:
        return f"{text} (no more images than features: {half} for {width}, no rule applies)"
    return f"{text} (by 1 / n about {distance * half / real:.3f} at {real})"


def halves(real: SetFeatures, ids: Sequence[int]) -> tuple[SetFeatures, SetFeatures] | None:
    """Return two halves of the real set's features, or None for fewer than :data:`SMALLEST` images.

    Args:
        real: (N, D) features.
        ids: the N image ids.
    """
    if len(ids) < SMALLEST:
        return None
    first, second = half_indices(ids)
    return SetFeatures(real.vectors[first], "real"), SetFeatures(real.vectors[second], "real")
