"""The image folder of a data set, and a mixin that makes mmdet's data sets use the library's image reader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detdiffusion.utils.errors import UserError

from .object_table import ObjectTable


def image_folder(img_dir: str | Path | None, ann_file: str | Path, option: str = "`img_dir`") -> Path:
    """Return the image folder: ``img_dir``, or ``images`` next to the annotation file or next to its folder.

    ``option`` is the name of ``img_dir`` in messages.

    Raises:
        UserError: if there is no such folder.
    """
    parent = Path(ann_file).absolute().parent
    tried = [Path(img_dir)] if img_dir is not None else [parent / "images", parent.parent / "images"]
    for folder in tried:
        if folder.is_dir():
            return folder
    raise UserError(f"{tried[0]}: no such folder; specify the folder of the images by {option}")


class NamesUnreadableImages:
    """Mixin for mmdet data sets that replaces the loading step of the pipeline, so that images are read by
    :mod:`~detdiffusion.datasets.image_reading`. An image that cannot be used raises a UserError.
    """

    _objects: ObjectTable | None = None

    def __init__(self, *args, **kwargs) -> None:
        from .mmdet_images import use_one_reader

        super().__init__(*args, **kwargs)
        use_one_reader(self.pipeline)

    def filter_data(self) -> list[dict]:
        """Filter as mmdet does, and keep the remaining objects for :meth:`object_table`; mmengine packs them later."""
        kept = super().filter_data()
        self._objects = _objects_of(kept, self.metainfo["classes"])
        return kept

    def object_table(self) -> ObjectTable | None:
        """Return the objects that the filter kept, with the paths of their images; None before the data is read."""
        return self._objects

    def images_to_read(self) -> tuple[list[Path], list[dict]]:
        """Return the local files of all samples and their COCO dicts; empty if the pipeline loads no images."""
        from .mmdet_images import LoadRuledImage

        loading = [step for step in self.pipeline.transforms if isinstance(step, LoadRuledImage)]
        if all(step.is_remote() for step in loading):
            return [], []
        infos = [self.get_data_info(index) for index in range(len(self))]
        images = [dict(id=info["img_id"], width=info["width"], height=info["height"]) for info in infos]
        return [Path(info["img_path"]) for info in infos], images


def _objects_of(infos: Sequence[dict], classes: Sequence[str]) -> ObjectTable:
    """Return the objects of mmdet's data."""
    instances = [instance for info in infos for instance in info["instances"]]
    boxes = np.array([instance["bbox"] for instance in instances], np.float64).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    return ObjectTable(
        list(classes),
        [info["img_path"] for info in infos],
        np.array([(info["width"], info["height"]) for info in infos], np.int64).reshape(-1, 2),
        np.repeat(np.arange(len(infos)), [len(info["instances"]) for info in infos]),
        np.array([instance["bbox_label"] for instance in instances], np.int64),
        boxes,
        np.array([bool(instance["ignore_flag"]) for instance in instances], bool),
    )
