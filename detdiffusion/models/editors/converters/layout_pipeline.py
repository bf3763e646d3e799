"""A diffusers pipeline that generates images of layouts with Stable Diffusion 1.x and 2.x.

Exported folders have it as ``pipeline.py``:

    pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline="pipeline", trust_remote_code=True)
    image = pipeline(boxes=[[0.1, 0.3, 0.6, 0.9]], names=["ball"], attributes=["hard"]).images[0]

The folder's ``layout_config.json`` says how the model was trained to read layouts.
"""

import torch
from diffusers import StableDiffusionPipeline

from .layout_prompts import LayoutPrompts


class LayoutPipeline(LayoutPrompts, StableDiffusionPipeline):
    """Stable Diffusion with boxes, class names and attributes."""

    def conditions(self, prompts: list[list[list[int]]]) -> dict[str, torch.Tensor]:
        """Return the states of the prompts, each window encoded by itself, and of the empty prompt."""
        states = torch.cat([self._states(windows) for windows in prompts])
        null = self._states([self._padded([self.tokenizer.bos_token_id])])
        return dict(
            prompt_embeds=states, negative_prompt_embeds=null.repeat(len(prompts), len(prompts[0]), 1)
        )

    def _states(self, windows: list[list[int]]) -> torch.Tensor:
        ids = torch.tensor(windows, device=self.text_encoder.device)
        return self.text_encoder(ids)[0].flatten(0, 1)[None]
