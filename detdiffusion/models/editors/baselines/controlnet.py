"""ControlNet (Zhang et al., ICCV 2023): diffusers' pipeline, conditioned on a picture of the layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from detdiffusion.registry import MODELS
from detdiffusion.structures import Layout
from detdiffusion.utils.colours import class_colour

from .pipeline_editor import PipelineEditor, load_folder


def draw_layout(layout: Layout, height: int, width: int) -> Image.Image:
    """Draw a layout as filled boxes on black, largest first, each with a white outline.

    The colour of a class depends on its category id (on the label, or on the object's index, if there are no
    category ids), so colours are the same in training and generation.

    Args:
        layout: the layout to draw.
        height, width: size of the picture in pixels.

    Returns:
        An RGB image.
    """
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    keys = layout.category_ids
    if keys is None:
        keys = layout.labels.tolist() if layout.labels is not None else range(len(layout))
    boxes = layout.boxes.double().tolist()
    for index in layout.areas.argsort(descending=True, stable=True).tolist():
        x1, y1, x2, y2 = boxes[index]
        left, top = round(x1 * width), round(y1 * height)
        corner = max(left, round(x2 * width) - 1), max(top, round(y2 * height) - 1)
        draw.rectangle((left, top, *corner), fill=class_colour(keys[index]), outline=(255, 255, 255))
    return image


@MODELS.register_module()
class ControlNetEditor(PipelineEditor):
    """Generates images of layouts with ``StableDiffusionControlNetPipeline``.

    Args:
        folder: diffusers folder of the base model, Stable Diffusion 1.x.
        controlnet: diffusers folder of a ControlNet that was trained on pictures made by :func:`draw_layout`,
            for example with diffusers' ``train_controlnet.py``.
        conditioning_scale: weight of the ControlNet's residuals.
        **kwargs: arguments of :class:`.pipeline_editor.PipelineEditor`.

    Raises:
        UserError: a folder does not exist or holds another model.
    """

    def __init__(self, folder: str, controlnet: str, conditioning_scale: float = 1.0, **kwargs) -> None:
        net = load_folder(
            "ControlNetModel", controlnet, "a diffusers folder of a ControlNet (config.json and its weights)"
        )
        expected = (
            "a diffusers folder of Stable Diffusion 1.x (model_index.json, unet/, vae/, text_encoder/, ...)"
        )
        options = dict(controlnet=net, safety_checker=None, requires_safety_checker=False)
        pipeline = load_folder("StableDiffusionControlNetPipeline", folder, expected, **options)
        super().__init__(pipeline, **kwargs)
        self.conditioning_scale = conditioning_scale

    def draw(
        self,
        layouts: Sequence[Layout],
        prompts: Sequence[str],
        noise: Tensor,
        options: dict,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        """Generate the batch in one call; see :meth:`PipelineEditor.draw`."""
        return self.pipeline(
            prompts,
            image=[draw_layout(layout, options["height"], options["width"]) for layout in layouts],
            controlnet_conditioning_scale=self.conditioning_scale,
            latents=noise,
            generator=list(generators),
            **options,
        ).images
