"""One clear error for an image that cannot be read, in place of whatever the image library raises."""

from __future__ import annotations

from pathlib import Path

from detdiffusion.utils.errors import UserError


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
    return None


class NamesUnreadableImages:
    """Put before an mmdet data set: a fault in preparing an image that cannot be read is a UserError."""

    def prepare_data(self, idx: int):
        """mmengine's, with the image's path and id in the error.

        Raises:
            UserError: the image is missing or cannot be read.
        """
        try:
            return super().prepare_data(idx)
        except Exception as error:
            info = self.get_data_info(idx)
            reason = None if self.backend_args else unreadable(info["img_path"], info["img_id"])
            if reason is None:
                raise
            raise reason from error
