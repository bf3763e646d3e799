"""Layouts of COCO files, named on the command line or uploaded, for the page."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path

from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.datasets.layout_coco import LayoutCocoDataset
from detdiffusion.datasets.layout_index import LayoutIndex
from detdiffusion.utils.errors import UserError

from .scope_lock import SCOPE_LOCK

MAX_UPLOADS = 16
"""Number of uploaded files whose layouts are kept."""
_ALL = dict(min_area_ratio=0.0, min_objects=1, max_objects=2**31, drop_classes=())


class LayoutFiles:
    """Layouts by file.

    Args:
        words: the model's attributes, easiest first, ``background`` last; empty for a model without attributes.
        nameable: classes that the attribute detector knows; objects of other classes are opened as ``background``.
            None: all.
    """

    def __init__(self, words: Sequence[str] = (), nameable: Collection[str] | None = None) -> None:
        self._words, self._nameable = words, nameable
        self._named: OrderedDict[str, tuple[str, LayoutIndex]] = OrderedDict()
        self._uploaded: OrderedDict[str, tuple[str, LayoutIndex]] = OrderedDict()
        self._attributes: dict[int, str] = {}
        self._lock = threading.Lock()
        self.categories: list[dict] = []

    def open(self, ann_files: Sequence[str | Path], attributes: AttributesFile | None = None) -> None:
        """Open the files of one data set; their categories become :attr:`categories`.

        Args:
            ann_files: COCO jsons.
            attributes: attributes of their objects; None gives every object the easiest level or ``background``.

        Raises:
            UserError: a file is missing or invalid, or the attributes are those of other objects.
        """
        dataset = _read(ann_files)
        layouts = dataset.layouts
        if attributes is not None:
            misfit = attributes.misfit(layouts.ids.tolist(), dataset.ann_files, layouts.digests)
            if misfit:
                raise UserError(f"{attributes.path}: {misfit}; `attributes` must be those of `ann`")
            self._attributes = attributes.attributes
        self.categories = list(dataset.categories)
        self._named["ann"] = (" + ".join(Path(path).name for path in ann_files), layouts)

    def upload(self, data: bytes, name: str) -> dict:
        """Read an uploaded COCO json.

        Args:
            data: the file's bytes; nothing but json is accepted.
            name: its name, for messages.

        Returns:
            ``key`` of the file, its ``name``, and the number of ``layouts``.

        Raises:
            UserError: it is not a valid COCO json, or has no objects.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "annotations.json"
            path.write_bytes(data)
            try:
                layouts = _read([path]).layouts
            except UserError as error:
                raise UserError(str(error).replace(str(path), name)) from None
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._uploaded[key] = (name, layouts)
            while len(self._uploaded) > MAX_UPLOADS:
                self._uploaded.popitem(last=False)
        return dict(key=key, name=name, layouts=len(layouts))

    def named(self) -> list[dict]:
        """Return ``key``, ``name`` and number of ``layouts`` of the files of the command line."""
        return [
            dict(key=key, name=name, layouts=len(layouts)) for key, (name, layouts) in self._named.items()
        ]

    def layout(self, key: str, index: int) -> dict:
        """Return a layout in the form of a request.

        Args:
            key: key of the file.
            index: position of the layout in the file, from 0.

        Returns:
            ``image_id``, ``file_name`` and ``boxes`` (``box`` xyxy in [0, 1], ``name``, ``attribute``).

        Raises:
            UserError: there is no such file or layout.
        """
        with self._lock:
            name, layouts = self._named.get(key) or self._uploaded.get(key) or (None, None)
        if layouts is None:
            raise UserError("this file is no longer open: upload it again")
        if not 0 <= index < len(layouts):
            raise UserError(f"{name} has layouts 1 to {len(layouts)}, there is no {index + 1}")
        layout = layouts[index]
        known = self._attributes if key in self._named else {}
        boxes = [
            dict(
                box=[round(value, 6) for value in box],
                name=class_name,
                attribute=self._word(known.get(i), class_name),
            )
            for box, class_name, i in zip(layout.boxes.tolist(), layout.names, layout.ids)
        ]
        return dict(image_id=layout.image_id, file_name=layout.file_name, boxes=boxes)

    def _word(self, known: str | None, class_name: str) -> str | None:
        if not self._words:
            return None
        if known in self._words:
            return known
        nameable = self._nameable is None or class_name in self._nameable
        return self._words[0] if nameable else self._words[-1]


def _read(ann_files: Sequence[str | Path]) -> LayoutCocoDataset:
    """Read all objects of all images that have any; the images themselves are not needed."""
    folder = Path(ann_files[0]).resolve().parent
    with SCOPE_LOCK:
        return LayoutCocoDataset(
            [str(path) for path in ann_files],
            str(folder) if folder.is_dir() else ".",
            filter_cfg=_ALL,
            cache_index=False,
            min_kept=0,
        )
