"""Preprocessing of images by an FID protocol, and checks of the real images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.datasets.image_survey import ImageFacts, inspect_images
from detdiffusion.evaluation.protocols import FidProtocol
from detdiffusion.utils.errors import UserError

_FILTERS = {
    name: getattr(Image.Resampling, name.upper()) for name in ("bilinear", "bicubic", "lanczos", "box")
}


def protocol_pixels(image: Image.Image, protocol: FidProtocol, size: tuple[int, int]) -> np.ndarray:
    """Resize an image for the extractor.

    Args:
        image: RGB image.
        protocol: provides the filter and ``extractor_size``.
        size: (height, width) of the first resize.

    Returns:
        (H, W, 3) uint8.
    """
    for height, width in filter(None, (size, protocol.extractor_size)):
        if image.size != (width, height):
            image = image.resize((width, height), _FILTERS[protocol.resample])
    return np.array(image)


def check_real_images(images: Sequence[Mapping], folder: Path, option: str = "`img_dir`") -> ImageFacts:
    """Check that the source images exist and have the sizes given in the annotation file; returns what was found.

    Args:
        images: COCO image dicts.
        folder: folder of the files.
        option: name of the option for the folder, for messages.

    Raises:
        UserError: a file is missing, is not an image, or has another size.
    """
    missing = [image["file_name"] for image in images if not (folder / image["file_name"]).is_file()]
    if missing:
        raise UserError(
            f"real: {folder}: {len(missing)} of {len(images)} real images are missing, the first {missing[0]}; give "
            f"their folder by {option}: the real images are always scored as the bound"
        )
    try:
        return inspect_images([folder / image["file_name"] for image in images], images)
    except UserError as error:
        raise UserError(
            f"real: {error} (is {folder}, given by {option}, the folder of the real images?)"
        ) from None
