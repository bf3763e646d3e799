"""One clear error for an image that cannot be read, in place of whatever the image library raises."""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path

from detdiffusion.utils.errors import UserError

_JPEG_START, _JPEG_END, _TAIL = b"\xff\xd8", b"\xff\xd9", 64
_FILLER = b"\xaa\x55" * 2048  # for any bits that a decoder still waits for


def image_folder(img_dir: str | Path | None, ann_file: str | Path) -> Path:
    """The images' folder: ``img_dir``, or ``images`` beside the annotation file or beside its folder.

    Raises:
        UserError: no such folder.
    """
    parent = Path(ann_file).absolute().parent
    tried = [Path(img_dir)] if img_dir is not None else [parent / "images", parent.parent / "images"]
    for folder in tried:
        if folder.is_dir():
            return folder
    raise UserError(f"{tried[0]}: no such folder; say by --img-dir where the images are")


def cut_off(path: str | Path) -> bool:
    """Whether a JPEG file ends before its image does; OpenCV fills the rest with grey and goes on.

    A file without its end marker whose pixels are all there is not cut off. Other formats that end too early OpenCV
    refuses. A file that is not there is not cut off.
    """
    try:
        with open(path, "rb") as file:
            if file.read(2) != _JPEG_START:
                return False
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            if _JPEG_END in file.read():
                return False
            stat = os.fstat(file.fileno())
        return _lacks_pixels(str(path), stat.st_size, stat.st_mtime_ns)
    except OSError:
        return False


@functools.lru_cache(maxsize=1 << 16)
def _lacks_pixels(path: str, size: int, mtime_ns: int) -> bool:
    """By decoding, once a process for every state of a file: cameras write other things behind the image."""
    from PIL import Image

    data = Path(path).read_bytes()
    body = data.rstrip(b"\xff")  # half an end marker
    try:
        if _decoded(data) is not None:
            return False
        # In the place of pixels that are missing a decoder takes what comes; behind a whole image it skips it.
        ends = [_decoded(body + filler + _JPEG_END) for filler in (b"", _FILLER)]
    except Image.DecompressionBombError:  # OpenCV decodes larger images than Pillow dares to
        return False
    return ends[0] is None or ends[0] != ends[1]


def _decoded(data: bytes) -> bytes | None:
    """The pixels by Pillow, or None where it refuses the file."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.tobytes()
    except (OSError, SyntaxError, ValueError):
        return None


def unreadable(path: str | Path, image_id: int) -> UserError | None:
    """Why an image cannot be read, or None if it can.

    Args:
        path: of a local file.
        image_id: for the message.
    """
    import cv2

    where = f"{path} (image id {image_id})"
    if not Path(path).is_file():
        return UserError(f"{where}: no such file; correct the image folder or fetch the image again")
    if cv2.imread(str(path)) is None:
        return UserError(
            f"{where}: cannot be read as an image; repair it or remove it from the annotation file"
        )
    if cut_off(path):
        return UserError(
            f"{where}: is cut off, a part of the image is missing; fetch it again or remove it from the annotation file"
        )
    return None


def refusal(path: str | Path, image_id: int) -> UserError:
    """Why an image could not be read, also where it can be now: see :func:`unreadable`."""
    return unreadable(path, image_id) or UserError(
        f"{path} (image id {image_id}): could not be read, a moment later it could; the file was being written or its "
        "disk is unsteady: run again"
    )


class NamesUnreadableImages:
    """Put before an mmdet data set: an image that cannot be read, or is cut off, is a UserError."""

    def prepare_data(self, idx: int):
        """mmengine's, with the image's path and id in the error.

        Raises:
            UserError: the image is missing, cannot be read or is cut off.
        """
        info = self.get_data_info(idx)
        if not self.backend_args and cut_off(info["img_path"]):
            raise refusal(info["img_path"], info["img_id"])
        try:
            return super().prepare_data(idx)
        except Exception as error:
            reason = None if self.backend_args else unreadable(info["img_path"], info["img_id"])
            if reason is None:
                raise
            raise reason from error
