"""Where a data set's images lie, and mmdet's data sets with the library's one reader of image files."""

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
    raise UserError(f"{tried[0]}: no such folder; say by `img_dir` where the images are")


class NamesUnreadableImages:
    """Put before an mmdet data set: its images are read by :mod:`~detdiffusion.datasets.image_reading`, whatever
    loading step of mmdet's its pipeline names. One that cannot be used is a UserError.
    """

    def __init__(self, *args, **kwargs) -> None:
        from .mmdet_images import use_one_reader

        super().__init__(*args, **kwargs)
        use_one_reader(self.pipeline)

    def images_to_read(self) -> tuple[list[Path], list[dict]]:
        """Local files of all samples and what the json says of them; none where the pipeline loads no images."""
        from .mmdet_images import LoadRuledImage

        if not any(
            isinstance(step, LoadRuledImage) and not step.is_remote() for step in self.pipeline.transforms
        ):
            return [], []
        infos = [self.get_data_info(index) for index in range(len(self))]
        images = [dict(id=info["img_id"], width=info["width"], height=info["height"]) for info in infos]
        return [Path(info["img_path"]) for info in infos], images
