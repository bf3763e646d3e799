"""Real images against real images: the bound that a distance of generated images is read beside.

Two halves of the real set by default, which are the same in every run: images in the order of the SHA-256 of their
ids, first half against second. Or other real images, named by the user, against the whole set. A Fréchet distance
grows as its sets get smaller, so the halves' distance is an upper estimate of the bound. With many more images than
features the growth is about 1 / n (Bińkowski et al. 2018; Chong and Forsyth 2020); with few it is slower, and with no
more images than features no rule is known.
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
"""Real images that two halves need: a covariance takes two vectors each."""


def fixed_order(ids: Iterable[int]) -> list[int]:
    """Ids by the SHA-256 of their decimal text: an order without meaning that never changes."""
    return sorted(ids, key=lambda i: hashlib.sha256(str(i).encode()).hexdigest())


def half_indices(ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """Positions of two halves of equal size by :func:`fixed_order`, rising; of an odd number one is left out."""
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
        images: COCO image dicts, by :func:`fixed_order`.
    """

    ann: Path
    img_dir: Path
    images: list[dict]

    def paths(self, count: int) -> list[Path]:
        """The files of the first ``count`` images."""
        return [self.img_dir / image["file_name"] for image in self.images[:count]]


def read_reference(ann: str | Path, img_dir: str | Path, count: int, real: Iterable[Path]) -> Reference:
    """Real images that are none of the real set's, at most ``count`` of them.

    Args:
        ann: a COCO json; its annotations are not used.
        img_dir: folder of its images.
        count: as many as the largest compared set has: a distance depends on the number.
        real: files of the real set.

    Raises:
        UserError: too few images, files that are missing or of another size, or files that are the real set's too.
    """
    ann, img_dir = Path(ann), Path(img_dir)
    by_id = {image["id"]: image for image in read_coco(ann, require_annotations=False).images}
    images = [by_id[image_id] for image_id in fixed_order(by_id)[:count]]
    if len(images) < 2:
        raise UserError(f"`real_reference` {ann}: {len(images)} images; a distance needs at least 2")
    check_real_images(images, img_dir, "`real_reference`")
    known = {sha256_of(path) for path in real}
    twice = [image["file_name"] for image in images if sha256_of(img_dir / image["file_name"]) in known]
    if twice:
        raise UserError(
            f"`real_reference` {ann}: {len(twice)} of its {len(images)} images are among the real images that they are "
            f"compared with, the first {twice[0]}; name another split"
        )
    return Reference(ann, img_dir, images)


def describe_bound(distance: float, real: int, width: int, reference: Reference | None, used: int) -> str:
    """What the row of the real images is, in words.

    Of halves with more images than features it also says about what the distance would be at the full number: that
    of two samples of one distribution is all bias, so it falls with 1 / n, the better the more images there are.

    Args:
        distance: the Fréchet distance in the row.
        real: number of real images.
        width: number of features.
        reference: other real images, or None for halves.
        used: images of the reference that count.
    """
    if reference is not None:
        return f"{used} other real images of {reference.ann} against the {real} real images"
    half = real // 2
    text = f"one half of the real images against the other, {half} and {half} images"
    if half <= width:
        return f"{text} (no more images than features: {half} for {width}, no rule applies)"
    return f"{text} (by 1 / n about {distance * half / real:.3f} at {real})"


def halves(real: SetFeatures, ids: Sequence[int]) -> tuple[SetFeatures, SetFeatures] | None:
    """Two halves of the real set's features, or None where there are fewer than :data:`SMALLEST` images.

    Args:
        real: (N, D) features.
        ids: the N image ids.
    """
    if len(ids) < SMALLEST:
        return None
    first, second = half_indices(ids)
    return SetFeatures(real.vectors[first], "real"), SetFeatures(real.vectors[second], "real")
