"""A diffusers pipeline that generates images of layouts with Stable Diffusion XL; see :mod:`.layout_pipeline`.

The class has the same name: diffusers runs the ``pipeline.py`` of every folder in one module, which must end up with
one pipeline.
"""

import torch
from diffusers import StableDiffusionXLPipeline

from .layout_prompts import LayoutPrompts


class LayoutPipeline(LayoutPrompts, StableDiffusionXLPipeline):
    """Stable Diffusion XL with boxes, class names and attributes."""

    def conditions(self, prompts: list[list[list[int]]]) -> dict[str, torch.Tensor]:
        """Return states and pooled states of the prompts, each window encoded by itself, and of the empty prompt."""
        states, pooled = map(torch.cat, zip(*(self._states(windows) for windows in prompts)))
        if self.config.force_zeros_for_empty_prompt:
            null, null_pooled = torch.zeros_like(states), torch.zeros_like(pooled)
        else:
            null, null_pooled = self._states([self._padded([self.tokenizer.bos_token_id])])
            null = null.repeat(len(prompts), len(prompts[0]), 1)
            null_pooled = null_pooled.repeat(len(prompts), 1)
        return dict(
            prompt_embeds=states,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=null,
            negative_pooled_prompt_embeds=null_pooled,
        )

    def _states(self, windows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the (1, W * max_length, D) states of both encoders side by side, and the first window's pooled one."""
        end, pad = self.tokenizer_2.eos_token_id, self.tokenizer_2.pad_token_id
        pad = end if pad is None else pad
        own = [ids[: ids.index(end) + 1] for ids in windows]  # the second tokenizer pads differently
        own = [ids + [pad] * (len(windows[0]) - len(ids)) for ids in own]
        device = self.text_encoder.device
        first = self.text_encoder(torch.tensor(windows, device=device), output_hidden_states=True)
        second = self.text_encoder_2(torch.tensor(own, device=device), output_hidden_states=True)
        states = torch.cat((first.hidden_states[-2], second.hidden_states[-2]), dim=-1)
        return states.flatten(0, 1)[None], second.text_embeds[:1]
