"""Real images that a set starts from (``from_real``), and the parts of them that it keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as mask_utils
from torch import Tensor

from detdiffusion.datasets.transforms import LoadLayoutImage, LoadLayoutMasks
from detdiffusion.models.editors.interface import RealImages
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from .edits import is_free
from .options import BACKGROUND, OBJECTS
from .planning import Drawing
from .unlabelled import unlabelled_objects


def real_name(strength: float | None, keep: str | None) -> str:
    """Return the name of this way of starting from real images, part of ids and file names; '' for none."""
    if strength is None:
        return ""
    return f"real{strength:.6g}" + (f"-keep-{keep}" if keep else "")


class RealSource:
    """Reads the real images of layouts at the generated size.

    The image is mirrored where the layout is. With ``keep='objects'``, objects stay that were not moved, replaced or
    dropped and whose attribute is not to change, so that the labels of what stays are true; with
    ``keep='background'``, everything outside the boxes of all objects, before and after the edits. Stuff and other
    objects whose attribute is ``background`` belong to the background.

    Where objects that are not in the layouts (:mod:`.unlabelled`) stay visible, they must become ignored regions: with
    ``keep='background'`` those that are not completely redrawn, without ``keep`` all, unless the strength is 1.

    Args:
        dataset: a :class:`~detdiffusion.datasets.layout_coco.LayoutCocoDataset`, or one with its ``load``, ``img_dir``
            and ``layouts``.
        layouts: the layouts that are used, with the attributes of their real objects.
        strength: see :class:`~detdiffusion.models.editors.interface.RealImages`.
        keep: 'background', 'objects' or None.
        nameable: class names of objects; None: all.

    Attributes:
        unlabelled: visible objects that are not in the layouts, by id of the source image.

    Raises:
        UserError: the data set cannot load images, or files are missing.
    """

    def __init__(
        self,
        dataset,
        layouts: Sequence[Layout],
        strength: float,
        keep: str | None = None,
        nameable: Sequence[str] | None = None,
    ) -> None:
        if not hasattr(dataset, "load") or not hasattr(dataset, "img_dir"):
            raise UserError(
                f"`from_real` needs a data set that loads its images, like LayoutCocoDataset; {type(dataset).__name__} "
                "does not"
            )
        paths = [Path(dataset.img_dir, layout.file_name) for layout in layouts]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise UserError(
                f"`from_real` reads the real images, but {len(missing)} of {len(paths)} are missing, the first "
                f"{missing[0]}; set `img_dir`, or img_dir of the config's data set"
            )
        self.dataset, self.strength, self.keep = dataset, strength, keep
        self.nameable = None if nameable is None else frozenset(nameable)
        self._index = {layout.image_id: index for index, layout in enumerate(dataset.layouts)}
        self._attributes = {one.image_id: _attributes_of(one) for one in layouts} if keep == OBJECTS else {}
        self._masks = LoadLayoutMasks()
        self.unlabelled: dict[int, Layout] = {}
        if keep == BACKGROUND or (keep is None and strength < 1):
            ann_files = getattr(dataset, "ann_files", ())
            self.unlabelled = unlabelled_objects(ann_files, layouts, self.nameable)

    def __call__(self, drawings: Sequence[Drawing]) -> tuple[RealImages, list[dict]]:
        """Read the images of a batch, at the size of its drawings.

        Returns:
            The images, and for each image the arguments ``outlines`` and ``ignored`` of :func:`.planning.record_of`.
        """
        steps: list[Callable] = [LoadLayoutImage(drawings[0].size)]
        if self.keep == OBJECTS:
            steps.append(self._masks)
        pictures, keeps, contents = [], [], []
        for drawing in drawings:
            loaded = self.dataset.load(self._index[drawing.layout.image_id], steps)
            image = torch.from_numpy(loaded["img"]).permute(2, 0, 1)
            source, flipped = loaded["layout"], drawing.log is not None and drawing.log.flipped
            if flipped:
                image, source = image.flip(-1), source.flip()
            pictures.append(image.float() / 127.5 - 1)
            stay = self.kept(drawing) if self.keep == OBJECTS else ()
            kept = [i for i, key in enumerate(source.ids) if key in stay]
            outlines = {source.ids[i]: _rle(source.masks[i]) for i in kept}
            ignored = self.unlabelled.get(source.image_id)
            ignored = ignored.flip() if ignored is not None and flipped else ignored
            if self.keep == BACKGROUND:
                covered = self._covered(drawing, source, image.shape[-2:])
                keeps.append(~covered)
                ignored = None if ignored is None else _not_within(ignored, covered)
            elif self.keep == OBJECTS:
                keeps.append(source.masks[kept].any(dim=0))
            contents.append(dict(outlines=outlines, ignored=ignored))
        keep = torch.stack(keeps)[:, None] if keeps else None
        return RealImages(torch.stack(pictures), self.strength, keep), contents

    def check(self, drawings: Sequence[Drawing], strategy: str, say: Callable[[str], None] = print) -> None:
        """Print how many objects ``keep='objects'`` keeps.

        Raises:
            UserError: it keeps none.
        """
        if self.keep != OBJECTS:
            return
        stay = sum(len(self.kept(one)) for one in drawings)
        every = sum(sum(self._is_object(one, one.layout)) for one in drawings)
        if not stay:
            raise UserError(
                f"`keep` {OBJECTS!r}: none of the {every} objects stays: `edits` changes their boxes, or strategy "
                f"{strategy!r} their attributes, unknown ones too; use 'origin', or an attributes file of these layouts"
            )
        say(f"{stay} of {every} objects keep their pixels of the real images; the others are drawn")

    def kept(self, drawing: Drawing) -> set[int]:
        """Return the ids of the source's objects that ``keep='objects'`` keeps in a drawing."""
        layout, log = drawing.layout, drawing.log
        changed = set() if log is None else {*log.jittered, *log.swapped, *log.added}
        known, asked = self._attributes[layout.image_id], _attributes_of(layout)
        return {
            key
            for key, is_object in zip(layout.ids, self._is_object(drawing, layout))
            if is_object and key not in changed and known.get(key) == asked.get(key)
        }

    def _is_object(self, drawing: Drawing, source: Layout) -> list[bool]:
        words = _attributes_of(drawing.layout)
        named = is_free(replace(source, attributes=None), self.nameable)
        return [free and words.get(key) != "background" for free, key in zip(named, source.ids)]

    def _covered(self, drawing: Drawing, source: Layout, size: Sequence[int]) -> Tensor:
        """Return the pixels (H, W) of the objects' boxes, before and after the edits."""
        covered = torch.zeros(*size, dtype=torch.bool)
        for layout in (source, drawing.layout):
            for box, is_object in zip(layout.boxes.tolist(), self._is_object(drawing, layout)):
                if is_object:
                    covered[_pixels_of(box, size)] = True
        return covered


def _attributes_of(layout: Layout) -> dict[int, str]:
    return dict(zip(layout.ids, layout.attributes)) if layout.attributes else {}


def _pixels_of(box: Sequence[float], size: Sequence[int]) -> tuple[slice, slice]:
    """Return rows and columns of a normalised xyxy box in an image of ``size`` (height, width)."""
    columns, rows = (
        slice(int(np.floor(box[i] * side)), int(np.ceil(box[i + 2] * side)))
        for i, side in ((0, size[1]), (1, size[0]))
    )
    return rows, columns


def _not_within(layout: Layout, covered: Tensor) -> Layout:
    """Return the objects of which a pixel is not ``covered`` (H, W)."""
    visible = [not covered[_pixels_of(box, covered.shape)].all() for box in layout.boxes.tolist()]
    return layout.select([k for k, is_visible in enumerate(visible) if is_visible])


def _rle(mask: Tensor) -> dict:
    rle = mask_utils.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    return dict(size=[int(side) for side in rle["size"]], counts=rle["counts"].decode())
