"""The images of a run looked at before its first step, so that the last of them does not end an epoch."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from ..datasets.image_survey import inspect_images
from ..utils.errors import UserError


def check_images_of(dataset) -> None:
    """Prints how the images of a data set are converted; to be called on all ranks, the first one looks.

    Args:
        dataset: one with ``images_to_read``, or mmengine's and mmdet's wrappers of such; of others nothing is known.

    Raises:
        UserError: images that are missing or cannot be used: how many, the first of them, and why.
    """
    errors: list[str | None] = [None]
    if is_main_process():
        try:
            for part in _parts(dataset):
                paths, images = part.images_to_read()
                if paths:
                    for line in inspect_images(paths, images).notes(str(paths[0].parent)):
                        print_log(line, logger="current")
        except UserError as error:
            errors = [str(error)]
    broadcast_object_list(errors)
    if errors[0] is not None:
        raise UserError(errors[0])


def _parts(dataset) -> Iterator:
    if hasattr(dataset, "images_to_read"):
        yield dataset
        return
    for inner in [getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or ())]:
        if inner is not None:
            yield from _parts(inner)
