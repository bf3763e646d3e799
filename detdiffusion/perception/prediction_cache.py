"""Predictions of a long run on disk: one file a chunk of images, whole or not there at all.

The folder is named by a digest of the detector and of each image (id, name, size in bytes, time of change), so
other weights, another threshold or an edited image never meet predictions that are not theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detdiffusion.utils.array_cache import ArrayCache, digest_of

CHUNK = 256
"""Images a file: a kill loses at most the work on so many."""
_FORMAT = 2
"""Part of every key; to be raised when stored predictions may no longer be what a detector gives."""


class PredictionCache:
    """Chunks of one detector's predictions on one list of images.

    Args:
        folder: where chunks are kept; None keeps nothing.
        identity: json values that decide what the detector finds.
        images: COCO image dicts; the chunks follow their order.
        img_dir: folder of the files.

    Attributes:
        reused: number of images whose predictions were read.
    """

    def __init__(
        self,
        folder: str | Path | None,
        identity: dict,
        images: Sequence[dict],
        img_dir: Path,
    ) -> None:
        self.images, self.chunk, self.reused = images, CHUNK, 0
        if folder is not None:
            key = digest_of([_FORMAT, identity, self.chunk, [_stamp(image, img_dir) for image in images]])
            folder = Path(folder) / key[:16]
        self._entries = ArrayCache(folder)

    def __len__(self) -> int:
        """Number of chunks."""
        return math.ceil(len(self.images) / self.chunk)

    def images_of(self, number: int) -> Sequence[dict]:
        """The images of a chunk."""
        return self.images[number * self.chunk : (number + 1) * self.chunk]

    def load(self, number: int) -> list[tuple] | None:
        """The chunk's detections, or None where they are not stored, or not readably."""
        stored = self._entries.load(f"{number:06d}")
        if stored is None:
            return None
        ends = np.cumsum(stored["counts"])[:-1]
        columns = [np.split(stored[name], ends) for name in ("labels", "boxes", "scores")]
        detected = list(zip(stored["image_ids"].tolist(), *columns))
        self.reused += len(detected)
        return detected

    def save(self, number: int, detected: Sequence[tuple]) -> None:
        """Stores a chunk.

        Raises:
            UserError: the folder cannot be written.
        """
        columns = dict(
            image_ids=np.array([image_id for image_id, *_ in detected], np.int64),
            counts=np.array([len(scores) for *_, scores in detected], np.int64),
            labels=np.concatenate([labels for _, labels, _, _ in detected]).astype(np.int64),
            boxes=np.concatenate([boxes for _, _, boxes, _ in detected]).astype(np.float64),
            scores=np.concatenate([scores for *_, scores in detected]).astype(np.float64),
        )
        self._entries.store(f"{number:06d}", columns, compress=True)


def _stamp(image: dict, img_dir: Path) -> list:
    stat = (img_dir / image["file_name"]).stat()
    return [image["id"], image["file_name"], image["width"], image["height"], stat.st_size, stat.st_mtime_ns]
