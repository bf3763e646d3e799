"""The COCO set that a page saves to, and images with their recipe."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from detdiffusion.generation.manifest import MANIFEST, read_entries
from detdiffusion.generation.run_file import check_run
from detdiffusion.generation.writer import CocoWriter
from detdiffusion.utils.array_cache import digest_of

from .model import StudioImage

RECIPE = "detdiffusion"
"""Key of the recipe in a PNG's text."""
_NAMES = "class_names"


class SavedSet:
    """A COCO set that images are appended to; it is complete after every call.

    Args:
        out: the set's folder; a new one, or one that was written with the same model and categories.
        model: what the images are made with, as json values.
        categories: COCO category dicts. Other classes get the ids that follow.

    Raises:
        UserError: the folder holds another set, or cannot be written.
    """

    def __init__(self, out: str | Path, model: Mapping, categories: Sequence[Mapping]) -> None:
        self.out = Path(out)
        self._run = dict(tool="studio", **model, categories_sha256=digest_of(list(categories)))
        self._categories = [dict(category) for category in categories]
        self._ids = {category["name"]: category["id"] for category in categories}
        self._lock = threading.Lock()
        self._writer: CocoWriter | None = None
        check_run(self.out, self._run)

    def add(self, images: Sequence[StudioImage]) -> dict[str, int]:
        """Append images and write ``annotations.json``.

        Returns:
            ``saved``, ``already_there`` (images that were saved before), and ``total``, the images of the set.

        Raises:
            UserError: see :class:`~detdiffusion.generation.writer.CocoWriter`.
        """
        with self._lock:
            writer = self._open()
            new = [image for image in images if image.record["id"] not in writer.done]
            for image in new:
                names = [image.names[annotation["category_id"]] for annotation in image.annotations]
                writer.add(
                    image.pixels,
                    self._with_ids(image.record, image.names),
                    [
                        dict(annotation, category_id=self._id_of(name))
                        for annotation, name in zip(image.annotations, names)
                    ],
                    {**image.extra, "recipe": image.request, _NAMES: names},
                )
            writer.categories = self._categories
            writer.finish()
            return dict(saved=len(new), already_there=len(images) - len(new), total=len(writer))

    def close(self) -> None:
        """Release the folder for other processes."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _open(self) -> CocoWriter:
        if self._writer is None:
            self._writer = CocoWriter(self.out, self._run, self._categories)
            # classes that an earlier session added
            for entry in read_entries(self.out / MANIFEST)[0]:
                for annotation, name in zip(entry["annotations"], entry.get(_NAMES, ())):
                    self._know(name, annotation["category_id"])
        return self._writer

    def _with_ids(self, record: Mapping, names: Sequence[str]) -> dict:
        left_out = [
            dict(facts, category_id=self._id_of(names[facts["category_id"]]))
            for facts in record.get("not_prompted", ())
        ]
        return dict(record, not_prompted=left_out) if left_out else dict(record)

    def _id_of(self, name: str) -> int:
        if name not in self._ids:
            self._know(name, max(self._ids.values(), default=0) + 1)
        return self._ids[name]

    def _know(self, name: str, category_id: int) -> None:
        if name not in self._ids:
            self._ids[name] = category_id
            self._categories.append(dict(id=category_id, name=name))


def recipe_of(image: StudioImage, model: Mapping) -> dict:
    """Return everything that an image was made from, as json values.

    Args:
        image: the image.
        model: what it was made with.
    """
    return dict(
        model=dict(model),
        request=image.request,
        attributes=image.column,
        noise_seed=image.extra["noise_seed"],
        prompt=image.extra["prompt"],
        width=image.record["width"],
        height=image.record["height"],
    )


def png_with_recipe(image: StudioImage, model: Mapping) -> bytes:
    """Return an image as PNG whose text chunk :data:`RECIPE` is the json of :func:`recipe_of`."""
    text = PngInfo()
    text.add_itxt(RECIPE, json.dumps(recipe_of(image, model), ensure_ascii=False))
    buffer = BytesIO()
    Image.fromarray(image.pixels).save(buffer, format="png", pnginfo=text)
    return buffer.getvalue()
