"""Checking the images of a run before its model is built, so that a bad image does not stop it late."""

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
"""Time limit for reading headers; after it, only the existence of the remaining files is checked."""


def image_findings(dataset: Sized, seconds: float | None = SECONDS) -> list[Finding]:
    """Find problems with the images of a data set, and the conversions of their files; call it on all ranks.

    Args:
        dataset: a data set with ``images_to_read``, an mmengine ``BaseDataset`` of local files, or a wrapper of these.
        seconds: see :func:`~detdiffusion.datasets.image_survey.survey_images`.

    Raises:
        UserError: if the first rank cannot check the images.
    """
    box: list = [None]
    if is_main_process():
        try:
            box = [[finding for part in parts_of(dataset) for finding in _inspect(part, seconds)]]
        except (UserError, OSError) as error:
            box = [UserError(str(error))]
    broadcast_object_list(box)
    if isinstance(box[0], UserError):
        raise box[0]
    return box[0]


def check_images_of(dataset: Sized) -> None:
    """Log how the images of a data set are converted; call it on all ranks.

    Raises:
        UserError: if images are missing or cannot be used; gives their number, the first ones, and the reason.
    """
    findings = image_findings(dataset, seconds=None)
    for finding in findings:
        if finding.severity != "error":
            print_log(str(finding), logger="current")
    raise_errors(findings)


def _inspect(part, seconds: float | None) -> list[Finding]:
    if hasattr(part, "images_to_read"):
        paths, images = part.images_to_read()
    elif hasattr(part, "get_data_info") and not getattr(part, "backend_args", None):
        infos = (part.get_data_info(index) for index in range(len(part)))
        paths, images = [Path(i["img_path"]) for i in infos if isinstance(i.get("img_path"), str)], None
    else:
        return []
    return survey_images(paths, images, seconds).findings(paths[0].parent) if paths else []
