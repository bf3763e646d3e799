"""Objects that real images show although they are not in the layouts: crowds, small ones, other classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.structures import Layout


def unlabelled_objects(
    ann_files: Sequence[str], layouts: Sequence[Layout], nameable: Collection[str] | None
) -> dict[int, Layout]:
    """Return the objects of the layouts' images that the data set's filter left out of the layouts.

    Stuff is no object: of several files, only the first one has objects of classes that are not in ``nameable``.

    Args:
        ann_files: COCO jsons of the layouts.
        layouts: layouts of the data set, with ``image_id`` and ``ids``.
        nameable: class names of objects; None: all of the first file.

    Returns:
        Layouts of these objects, by id of the image; images without any are not in it.

    Raises:
        UserError: a file is missing or damaged.
    """
    known = {layout.image_id: set(layout.ids) for layout in layouts}
    found: dict[int, list[tuple[dict, str]]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for number, path in enumerate(ann_files):
        file = read_coco(path, spans=True)
        names = {category["id"]: category["name"] for category in file.categories}
        sizes.update({image["id"]: (image["width"], image["height"]) for image in file.images})
        all_things = number == 0 and (nameable is None or len(ann_files) > 1)
        for annotation in file.annotations:
            image_id, name = annotation["image_id"], names[annotation["category_id"]]
            if image_id not in known or annotation["id"] in known[image_id]:
                continue
            if all_things or (nameable is not None and name in nameable):
                found.setdefault(image_id, []).append((annotation, name))
    return {image_id: _layout(image_id, sizes[image_id], rows) for image_id, rows in found.items()}


def _layout(image_id: int, size: tuple[int, int], rows: Sequence[tuple[dict, str]]) -> Layout:
    """Return the layout of annotations and their class names in an image of ``size`` (width, height)."""
    boxes = torch.tensor([annotation["bbox"] for annotation, _ in rows], dtype=torch.float64)
    boxes[:, 2:] += boxes[:, :2]
    return Layout(
        (boxes / torch.tensor([*size, *size])).clamp(0, 1).float(),
        [name for _, name in rows],
        ids=[annotation["id"] for annotation, _ in rows],
        category_ids=[annotation["category_id"] for annotation, _ in rows],
        image_id=image_id,
    )
