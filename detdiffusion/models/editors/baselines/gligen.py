"""GLIGEN (Li et al., CVPR 2023): diffusers' pipeline, grounded on a layout's boxes and class names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detdiffusion.registry import MODELS
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from .pipeline_editor import PipelineEditor, load_folder

MAX_OBJECTS = 30
"""Maximum number of objects of the pipeline; of a larger layout only the largest objects are used."""


@MODELS.register_module()
class GLIGENEditor(PipelineEditor):
    """Generates images of layouts with ``StableDiffusionGLIGENPipeline``.

    Args:
        folder: diffusers folder of a GLIGEN for text and boxes (a UNet with ``attention_type='gated'``).
        grounding_steps: fraction of the steps that use the boxes (the paper's scheduled sampling), in [0, 1].
        **kwargs: arguments of :class:`.pipeline_editor.PipelineEditor`.

    Raises:
        UserError: the folder does not exist or holds another model.
    """

    def __init__(self, folder: str, grounding_steps: float = 1.0, **kwargs) -> None:
        if not 0 <= grounding_steps <= 1:
            raise UserError(f"GLIGENEditor: grounding_steps must be in [0, 1], got {grounding_steps}")
        expected = (
            "a diffusers folder of GLIGEN for generation with text and boxes (model_index.json, unet/, ...)"
        )
        options = dict(safety_checker=None, requires_safety_checker=False)
        super().__init__(load_folder("StableDiffusionGLIGENPipeline", folder, expected, **options), **kwargs)
        if self.unet.config.get("attention_type") != "gated":
            raise UserError(
                f"{folder}: its UNet has no gated attention, so it is not a GLIGEN; it should be {expected}"
            )
        self.grounding_steps = grounding_steps

    def choose(self, layout: Layout) -> list[int]:
        """Return the indices of all objects, or of the 30 largest, in the layout's order."""
        return sorted(layout.areas.argsort(descending=True, stable=True)[:MAX_OBJECTS].tolist())

    def draw(
        self,
        layouts: Sequence[Layout],
        prompts: Sequence[str],
        noise: Tensor,
        options: dict,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        """Generate one image at a time, as the pipeline takes one set of boxes per call."""
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
