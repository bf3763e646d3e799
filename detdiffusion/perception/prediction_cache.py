"""Predictions of a long run on disk: one file a chunk of images, whole or not there at all.

The folder is named by a digest of the detector and of each image (id, name, size in bytes, time of change), so
other weights, another threshold or an edited image never meet predictions that are not theirs.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detdiffusion.utils.files import write_atomic

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
        folder: of this detector and these images, or None.
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
        self.folder = None
        if folder is not None:
            key = json.dumps(
                [_FORMAT, identity, self.chunk, [_stamp(image, img_dir) for image in images]], sort_keys=True
            )
            self.folder = Path(folder) / hashlib.sha256(key.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        """Number of chunks."""
        return math.ceil(len(self.images) / self.chunk)

    def images_of(self, number: int) -> Sequence[dict]:
        """The images of a chunk."""
        return self.images[number * self.chunk : (number + 1) * self.chunk]

    def load(self, number: int) -> list[tuple] | None:
        """The chunk's detections, or None where they are not stored, or not readably."""
        if self.folder is None:
            return None
        try:
            with np.load(self._path(number), allow_pickle=False) as stored:
                ends = np.cumsum(stored["counts"])[:-1]
                columns = [np.split(stored[name], ends) for name in ("labels", "boxes", "scores")]
                detected = list(zip(stored["image_ids"].tolist(), *columns))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        self.reused += len(detected)
        return detected

    def save(self, number: int, detected: Sequence[tuple]) -> None:
        """Stores a chunk atomically.

        Raises:
            UserError: the folder cannot be written.
        """
        if self.folder is None:
            return
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            image_ids=np.array([image_id for image_id, *_ in detected], np.int64),
            counts=np.array([len(scores) for *_, scores in detected], np.int64),
            labels=np.concatenate([labels for _, labels, _, _ in detected]).astype(np.int64),
            boxes=np.concatenate([boxes for _, _, boxes, _ in detected]).astype(np.float64),
            scores=np.concatenate([scores for *_, scores in detected]).astype(np.float64),
        )
        write_atomic(self._path(number), buffer.getvalue())

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.npz"


def _stamp(image: dict, img_dir: Path) -> list:
    stat = (img_dir / image["file_name"]).stat()
    return [image["id"], image["file_name"], image["width"], image["height"], stat.st_size, stat.st_mtime_ns]
