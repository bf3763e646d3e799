"""A hook that saves contact sheets of generated images during training."""

from __future__ import annotations

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from ..registry import HOOKS
from ..utils.errors import UserError


@HOOKS.register_module()
class SampleGridHook(Hook):
    """Saves a sheet with real and generated images of the first validation layouts after every validation.

    The sheet is passed to every backend of the runner's visualizer: ``LocalVisBackend`` writes it to
    ``vis_data/vis_image/``, ``TensorboardVisBackend`` to TensorBoard if that is installed. Prompted boxes are drawn on
    both images, with hard objects marked by ``!``. With several processes, the sheet shows the first one's layouts.

    Args:
        num_samples: number of layouts on the sheet.
        scale: enlargement factor, without smoothing; None makes small images about 128 pixels wide.
        draw_boxes: whether to draw the prompted boxes.
        name: name of the sheet.

    Example:
        >>> custom_hooks = [dict(type='SampleGridHook', num_samples=8)]
        >>> vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    """

    def __init__(
        self, num_samples: int = 8, scale: int | None = None, draw_boxes: bool = True, name: str = "samples"
    ) -> None:
        if num_samples < 1:
            raise UserError(f"SampleGridHook: num_samples must be at least 1, it is {num_samples}")
        self.num_samples, self.scale, self.draw_boxes, self.name = num_samples, scale, draw_boxes, name
        self._rows: list[tuple[np.ndarray, np.ndarray, object]] = []

    def before_val_epoch(self, runner: Runner) -> None:
        """Start an empty sheet."""
        self._rows = []

    @master_only
    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Add the batch's images until the sheet is full."""
        for real, sample in zip(data_batch["inputs"], outputs):
            if len(self._rows) >= self.num_samples:
                return
            if "pred_img" not in sample:
                raise UserError(
                    "SampleGridHook: the model's val_step returns no pred_img; the hook is for editors"
                )
            image = (sample.pred_img.detach().float().clamp(0, 1) * 255).round().byte().cpu()
            layout = sample.layout
            if sample.get("prompted") is not None:
                layout = layout.select(sample.prompted)
            self._rows.append((*(x.permute(1, 2, 0).cpu().numpy() for x in (real, image)), layout))

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Pass the sheet to the visualizer, with the iteration as its step."""
        if self._rows:
            runner.visualizer.add_image(self.name, self.sheet(), step=runner.iter)
            self._rows = []

    def sheet(self) -> np.ndarray:
        """Return the sheet, (H, W, 3) uint8 RGB, with one row per layout and the real image on the left."""
        from detdiffusion.visualization.grids import Row, contact_sheet

        rows = []
        for real, generated, layout in self._rows:
            pictures = dict(real=self._picture(real, layout), generated=self._picture(generated, layout))
            rows.append(Row(layout=layout.image_id, caption="", images=pictures))
        return np.array(contact_sheet(rows))

    def _picture(self, pixels: np.ndarray, layout) -> Image.Image:
        from detdiffusion.utils.colours import class_colour
        from detdiffusion.visualization.overlays import DrawnObject, draw_objects

        height, width = pixels.shape[:2]
        scale = self.scale or max(1, round(128 / width))
        objects = []
        if self.draw_boxes:
            words = layout.attributes or [None] * len(layout)
            ids = layout.category_ids or list(range(len(layout)))
            for box, name, word, key in zip(layout.boxes.tolist(), layout.names, words, ids):
                x1, y1, x2, y2 = box
                mark = " !" if word == "hard" else ""
                box = (x1 * width, y1 * height, x2 * width, y2 * height)
                objects.append(DrawnObject(box, name + mark, class_colour(key)))
        return draw_objects(Image.fromarray(np.ascontiguousarray(pixels)), objects, scale)
