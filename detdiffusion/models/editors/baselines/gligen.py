"""GLIGEN (Li et al., CVPR 2023): diffusers' pipeline with a layout's boxes and class names as grounding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detdiffusion.registry import MODELS
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from .pipeline_editor import PipelineEditor, load_folder

MAX_OBJECTS = 30
"""What the pipeline takes; of a larger layout the largest objects are drawn."""


@MODELS.register_module()
class GLIGENEditor(PipelineEditor):
    """Draws layouts with ``StableDiffusionGLIGENPipeline``.

    Args:
        folder: diffusers folder of a GLIGEN for text and boxes (a UNet with ``attention_type='gated'``).
        grounding_steps: share of the steps that see the boxes (the paper's scheduled sampling), in [0, 1].
        **kwargs: of :class:`.pipeline_editor.PipelineEditor`.

    Raises:
        UserError: no such folder, or one of another model.
    """

    def __init__(self, folder: str, grounding_steps: float = 1.0, **kwargs) -> None:
        if not 0 <= grounding_steps <= 1:
            raise UserError(f"GLIGENEditor: grounding_steps must be in [0, 1], got {grounding_steps}")
        what = "a diffusers folder of GLIGEN for generation from text and boxes (model_index.json, unet/, vae/, ...)"
        options = dict(safety_checker=None, requires_safety_checker=False)
        super().__init__(load_folder("StableDiffusionGLIGENPipeline", folder, what, **options), **kwargs)
        if self.unet.config.get("attention_type") != "gated":
            raise UserError(
                f"{folder}: its UNet has no gated attention, so it is no GLIGEN; it should be {what}"
            )
        self.grounding_steps = grounding_steps

    def choose(self, layout: Layout) -> list[int]:
        """All objects, or the 30 largest, in the layout's order."""
        areas = (layout.boxes[:, 2:] - layout.boxes[:, :2]).prod(dim=1)
        return sorted(areas.argsort(descending=True, stable=True)[:MAX_OBJECTS].tolist())

    def draw(
        self,
        layouts: Sequence[Layout],
        prompts: Sequence[str],
        noise: Tensor,
        options: dict,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        """One image at a time: the pipeline takes one set of boxes a call."""
        images = [
            self.pipeline(
                prompt,
                gligen_phrases=[name.replace("-", " ") for name in layout.names],
                gligen_boxes=layout.boxes.tolist(),
                gligen_scheduled_sampling_beta=self.grounding_steps,
                latents=latents[None],
                generator=generator,
                **options,
            ).images
            for layout, prompt, latents, generator in zip(layouts, prompts, noise, generators)
        ]
        return torch.cat(images)
