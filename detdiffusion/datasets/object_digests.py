"""32-bit digests of objects (id, image, class and box), to compare the objects of different annotation files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .coco_json import merge_checked, read_coco
from .coco_tables import file_key

_STEP = 1000  # steps per pixel; json writers keep two decimals or more


def object_digests(
    annotations: Sequence[Mapping], file_names: Mapping[int, str], class_names: Mapping[int, str]
) -> np.ndarray:
    """Compute digests of checked annotations (see :func:`~detdiffusion.datasets.coco_json.read_coco`).

    Images and classes enter by name, so renumbering images or categories does not change the digests.

    Args:
        annotations: N dicts with ``id``, ``image_id``, ``category_id`` and ``bbox``.
        file_names: image id -> file name.
        class_names: category id -> name.

    Returns:
        (N,) uint32.
    """
    images = {a["image_id"] for a in annotations}
    image_hash = {key: _hash(file_key(file_names[key])) for key in images}
    class_hash = {key: _hash(name) for key, name in class_names.items()}
    count = len(annotations)
    columns = [
        np.fromiter((a["id"] for a in annotations), np.uint64, count),
        np.fromiter((image_hash[a["image_id"]] for a in annotations), np.uint64, count),
        np.fromiter((class_hash[a["category_id"]] for a in annotations), np.uint64, count),
        *np.rint(np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4) * _STEP)
        .astype(np.int64)
        .view(np.uint64)
        .T,
    ]
    state = np.zeros(count, np.uint64)
    for column in columns:
        state = _mix(state ^ column)
    return (state >> np.uint64(32)).astype(np.uint32)


def digests_of_files(ann_files: Sequence[str | Path]) -> dict[int, int]:
    """Return annotation id -> digest for the COCO jsons of one data set.

    Raises:
        UserError: if a file is missing or broken, or the files contradict each other.
    """
    images, categories, annotations = merge_checked([read_coco(path, spans=True) for path in ann_files])
    return digests_of_set(images, {key: c["name"] for key, c in categories.items()}, annotations)


def digests_of_set(
    images: Mapping[int, Mapping], class_names: Mapping[int, str], annotations: Sequence[Mapping]
) -> dict[int, int]:
    """Return annotation id -> digest for a data set that is in memory.

    Args:
        images: COCO image dicts by id.
        class_names: name by category id.
        annotations: checked annotations, see :func:`object_digests`.
    """
    file_names = {key: image["file_name"] for key, image in images.items()}
    digests = object_digests(annotations, file_names, class_names).tolist()
    return dict(zip((annotation["id"] for annotation in annotations), digests))


def _hash(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele, Lea and Flood 2014): every bit of the result depends on every bit of the input."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
