"""What a detector finds in generated images."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from detdiffusion.perception.attributes import perception_attributes
from detdiffusion.perception.image_detector import ImageDetector

from .scope_lock import SCOPE_LOCK

LOWEST_SCORE = 0.05
"""Detections with lower scores are not shown."""
MOST = 100


class Inspected(Protocol):
    """An image to look at, as :class:`.model.StudioImage`."""

    pixels: np.ndarray
    record: dict
    annotations: list[dict]
    names: list[str]


class ImageInspector:
    """Runs a detector on images in memory.

    Args:
        detector: a detector of any backend.
    """

    def __init__(self, detector: ImageDetector) -> None:
        self.detector = detector
        self._labels = {name: label for label, name in enumerate(detector.classes)}

    def look(self, images: Sequence[Inspected]) -> list[dict]:
        """Detect objects.

        Returns:
            For each image ``boxes`` (xyxy in [0, 1], with ``name`` and ``score``; the highest scores first), and
            ``found``: for each of its annotations whether Equation 2 calls it found, None for a class that the
            detector does not know.

        Raises:
            UserError: the detector returns invalid detections.
        """
        records = [
            dict(image.record, id=number, file_name=f"{number}.png") for number, image in enumerate(images)
        ]
        # every detector reads files
        with tempfile.TemporaryDirectory() as folder:
            for record, image in zip(records, images):
                Image.fromarray(image.pixels).save(Path(folder) / record["file_name"])
            with SCOPE_LOCK:
                predictions = self.detector.predict(records, folder, self._labels, progress=False)
        annotations = [
            dict(
                id=(number, index),
                image_id=number,
                bbox=annotation["bbox"],
                category_id=self._labels.get(image.names[annotation["category_id"]], -1),
            )
            for number, image in enumerate(images)
            for index, annotation in enumerate(image.annotations)
        ]
        result = perception_attributes(annotations, predictions, self._labels.values())
        found = {"easy": True, "hard": False, "background": None}
        looked = []
        for number, (record, image) in enumerate(zip(records, images)):
            rows = np.flatnonzero((predictions.image_ids == number) & (predictions.scores >= LOWEST_SCORE))
            rows = rows[np.argsort(-predictions.scores[rows], kind="stable")][:MOST]
            boxes = predictions.boxes[rows] / np.tile((record["width"], record["height"]), 2)
            looked.append(
                dict(
                    boxes=[
                        dict(box=box, name=self.detector.classes[label], score=round(score, 4))
                        for box, label, score in zip(
                            boxes.clip(0, 1).round(6).tolist(),
                            predictions.category_ids[rows].tolist(),
                            predictions.scores[rows].tolist(),
                        )
                    ],
                    found=[
                        found[result.attributes[number, index]] for index in range(len(image.annotations))
                    ],
                )
            )
        return looked
