"""The objects of one split as columns, for statistics that do not depend on the form of the labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class ObjectTable:
    """N objects of M images.

    Attributes:
        classes: class names.
        file_names: M names or paths.
        sizes: (M, 2) int64, width and height in pixels.
        image: (N,) int64, row of each object's image.
        labels: (N,) int64, index of its class.
        boxes: (N, 4) float64, x, y, width, height in pixels.
        crowds: (N,) bool, regions that are not single objects.
    """

    classes: list[str]
    file_names: list[str]
    sizes: np.ndarray
    image: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    crowds: np.ndarray

    @classmethod
    def of(
        cls,
        classes: Sequence[str],
        images: Sequence[Mapping],
        annotations: Iterable[Mapping],
        label_of: Mapping[int, int],
    ) -> ObjectTable:
        """Build it from COCO dicts; annotations of other images or categories are ignored.

        Args:
            classes: class names.
            images: COCO image dicts.
            annotations: COCO annotation dicts.
            label_of: category id -> index of its class.
        """
        row_of = {image["id"]: row for row, image in enumerate(images)}
        used = [a for a in annotations if a["image_id"] in row_of and a["category_id"] in label_of]
        return cls(
            list(classes),
            [image["file_name"] for image in images],
            np.array([(image["width"], image["height"]) for image in images], np.int64).reshape(-1, 2),
            np.array([row_of[a["image_id"]] for a in used], np.int64),
            np.array([label_of[a["category_id"]] for a in used], np.int64),
            np.array([a["bbox"] for a in used], np.float64).reshape(-1, 4),
            np.array([bool(a.get("iscrowd")) for a in used], bool),
        )

    def counts(self) -> np.ndarray:
        """Return (len(classes),) int64, the number of objects of each class; crowds are not counted."""
        return np.bincount(self.labels[~self.crowds], minlength=len(self.classes))

    def shares(self) -> np.ndarray:
        """Return (N,) float64, the area of each box as a share of its image's."""
        return self.boxes[:, 2:].prod(1) / self.sizes[self.image].prod(1)

    def objects_per_image(self) -> np.ndarray:
        """Return (M,) int64; crowds are not counted."""
        return np.bincount(self.image[~self.crowds], minlength=len(self.file_names))
