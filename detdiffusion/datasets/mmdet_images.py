"""mmdet's image loading transform, based on the library's image reader (imports mmcv)."""

from __future__ import annotations

from mmcv.transforms import Compose, LoadImageFromFile

from detdiffusion.registry import TRANSFORMS
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.image_rules import image_rules

from .image_reading import read_bgr

_COLOUR, _STORED, _GREY = "color", "color_ignore_orientation", "grayscale"


@TRANSFORMS.register_module()
class LoadRuledImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, except that local colour and grey images are read by
    :func:`~detdiffusion.datasets.image_reading.read_bgr`.

    If the sample has ``img_id``, ``height`` and ``width``, the file must have this size.
    ``color_type='color_ignore_orientation'`` means ``exif_orientation='ignore'`` for this step. Remote files and
    ``color_type='unchanged'`` are left to mmcv.

    Raises:
        UserError: if an image cannot be used.
    """

    def transform(self, results: dict) -> dict | None:
        """Read ``img_path`` and add ``img``, ``img_shape`` and ``ori_shape``."""
        if self.is_remote() or self.color_type not in (_COLOUR, _STORED, _GREY):
            return super().transform(results)
        image = None
        if "img_id" in results:
            image = dict(id=results["img_id"], width=results.get("width"), height=results.get("height"))
        try:
            pixels = read_bgr(results["img_path"], image, exif_orientation=self._rule())
        except UserError:
            if self.ignore_empty:
                return None
            raise
        if self.color_type == _GREY:
            import cv2

            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        if self.to_float32:
            pixels = pixels.astype("float32")
        results.update(img=pixels, img_shape=pixels.shape[:2], ori_shape=pixels.shape[:2])
        return results

    def is_remote(self) -> bool:
        """Return whether the files are on another machine."""
        settings = self.file_client_args or self.backend_args
        return bool(settings) and settings.get("backend") not in ("local", "disk")

    def _rule(self) -> str | None:
        if self.color_type != _STORED:
            return None
        if image_rules().exif_orientation == "apply":
            raise UserError(
                "the pipeline's LoadImageFromFile has color_type='color_ignore_orientation', but the run's rule is "
                "--exif-orientation apply; change one of them"
            )
        return "ignore"


def use_one_reader(pipeline: Compose) -> None:
    """Replace mmcv's ``LoadImageFromFile`` in a pipeline by :class:`LoadRuledImage` with the same settings."""
    for place, step in enumerate(pipeline.transforms):
        if type(step) is LoadImageFromFile:
            replacement = LoadRuledImage.__new__(LoadRuledImage)
            replacement.__dict__.update(step.__dict__)
            pipeline.transforms[place] = replacement
