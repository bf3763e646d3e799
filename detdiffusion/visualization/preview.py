"""Preview of the latest images of a set during generation."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.utils.colours import class_colour
from detdiffusion.utils.files import write_atomic

from .overlays import DrawnObject, draw_objects


class LivePreview:
    """Writes the latest images with their boxes as a grid; ``hard`` objects are marked by ``!``.

    Args:
        path: file of the picture, which is replaced atomically.
        categories: COCO categories of the set.
        every: seconds between updates; 0 disables the preview.
        count: number of images.
        tile: approximate longer side of a tile in pixels.
    """

    def __init__(
        self,
        path: Path,
        categories: Sequence[Mapping],
        every: float = 30.0,
        count: int = 16,
        tile: int = 256,
    ) -> None:
        self.path, self.every, self.tile = Path(path), every, tile
        self._names = {category["id"]: category["name"] for category in categories}
        self._colours = {key: class_colour(index) for index, key in enumerate(sorted(self._names))}
        self._latest: deque = deque(maxlen=count)
        self._written = -math.inf
        self._changed = False

    def add(self, image: np.ndarray, annotations: Sequence[Mapping]) -> None:
        """Add an (H, W, 3) uint8 image with its annotations, and update the picture if it is due."""
        if not self.every:
            return
        self._latest.append((image, annotations))
        self._changed = True
        if time.monotonic() - self._written >= self.every:
            self.write()

    def write(self) -> None:
        """Update the picture if there are new images."""
        if not self._changed:
            return
        tiles = [self._tile(image, annotations) for image, annotations in self._latest]
        columns = math.ceil(math.sqrt(len(tiles)))
        width, height = max(t.width for t in tiles) + 4, max(t.height for t in tiles) + 4
        sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), "white")
        for index, tile in enumerate(tiles):
            sheet.paste(tile, (index % columns * width + 2, index // columns * height + 2))
        buffer = BytesIO()
        sheet.save(buffer, format="png")
        write_atomic(self.path, buffer.getvalue())
        self._written, self._changed = time.monotonic(), False

    def _tile(self, image: np.ndarray, annotations: Sequence[Mapping]) -> Image.Image:
        drawn = []
        for annotation in annotations:
            x, y, w, h = annotation["bbox"]
            mark = " !" if annotation.get("attribute") == "hard" else ""
            key = annotation["category_id"]
            drawn.append(DrawnObject((x, y, x + w, y + h), self._names[key] + mark, self._colours[key]))
        longer = max(image.shape[:2])
        picture = draw_objects(Image.fromarray(image), drawn, scale=max(1, round(self.tile / longer)))
        if longer > self.tile:
            picture.thumbnail((self.tile, self.tile))
        return picture
