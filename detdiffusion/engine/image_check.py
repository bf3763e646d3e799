"""The images of a run looked at before its model is built, so that the last of them does not end an epoch."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from ..datasets.image_survey import survey_images
from ..utils.errors import UserError
from ..utils.findings import Finding, raise_errors
from .run_checks import parts_of

SECONDS = 20.0
"""For reading headers; a large set is looked at in part, its files' presence in full."""


def image_findings(dataset: Sized, seconds: float | None = SECONDS) -> list[Finding]:
    """What is wrong with the images of a data set, and how they are converted; to be called on all ranks.

    Args:
        dataset: one with ``images_to_read``, an mmengine ``BaseDataset`` of local files, or a wrapper of such.
        seconds: see :func:`~detdiffusion.datasets.image_survey.survey_images`.

    Raises:
        UserError: the first rank cannot look.
    """
    box: list = [None]
    if is_main_process():
        try:
            box = [[finding for part in parts_of(dataset) for finding in _look(part, seconds)]]
        except (UserError, OSError) as error:
            box = [UserError(str(error))]
    broadcast_object_list(box)
    if isinstance(box[0], UserError):
        raise box[0]
    return box[0]


def check_images_of(dataset: Sized) -> None:
    """Prints how the images of a data set are converted; to be called on all ranks.

    Raises:
        UserError: images that are missing or cannot be used: how many, the first of them, and why.
    """
    findings = image_findings(dataset, seconds=None)
    for finding in findings:
        if finding.severity != "error":
            print_log(str(finding), logger="current")
    raise_errors(findings)


def _look(part, seconds: float | None) -> list[Finding]:
    if hasattr(part, "images_to_read"):
        paths, images = part.images_to_read()
    elif hasattr(part, "get_data_info") and not getattr(part, "backend_args", None):
        infos = (part.get_data_info(index) for index in range(len(part)))
        paths, images = [Path(i["img_path"]) for i in infos if isinstance(i.get("img_path"), str)], None
    else:
        return []
    return survey_images(paths, images, seconds).findings(paths[0].parent) if paths else []
