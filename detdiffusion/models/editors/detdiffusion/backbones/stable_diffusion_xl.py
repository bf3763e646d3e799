"""Stable Diffusion XL: two text encoders, pooled states, and the image's sizes as conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from detdiffusion.registry import BACKBONES
from detdiffusion.utils.errors import UserError

from ..components import build_component, extend_text_encoder
from ..layout_tokenizer import LayoutTokenizer
from .base import Prompts
from .stable_diffusion import StableDiffusion


@BACKBONES.register_module()
class StableDiffusionXL(StableDiffusion):
    """See :class:`.base.Backbone`; the editor's ``text_encoder`` and ``tokenizer`` are the first of two.

    Both encoders get the layout's tokens. The UNet attends to their second last hidden states side by side, and its
    time embedding gets the pooled state of the second encoder's first window and six numbers: height and width of the
    source image, the upper left corner of its crop, and height and width of the image. Training images are resized, so
    the corner is (0, 0) unless ``RandomResizedCropLayout`` crops them; sampling is conditioned on (0, 0).

    Args:
        text_encoder_2: ``CLIPTextModelWithProjection``, or its config.
        tokenizer_2: ``CLIPTokenizer``, or its config, with the vocabulary of the first one; it pads differently.
        zero_null: the empty prompt has states of zeros, as in the training of SDXL; ``force_zeros_for_empty_prompt`` of
            the exported folder.
        source_size: height and width of the source image that sampling is conditioned on; None for those of the image,
            as in diffusers. An exported folder's ``pipeline.py`` uses it too.
        **arguments: see the base class.

    Raises:
        UserError: the two tokenizers differ in more than their padding.
    """

    pipeline = "StableDiffusionXLPipeline"
    layout_pipeline = "layout_pipeline_xl"
    trained = ("unet", "text_encoder", "text_encoder_2")

    def __init__(
        self,
        text_encoder_2: Any,
        tokenizer_2: Any,
        zero_null: bool = True,
        source_size: tuple[int, int] | None = None,
        **arguments,
    ) -> None:
        self._second = dict(text_encoder_2=text_encoder_2, tokenizer_2=tokenizer_2)
        self.zero_null, self.source_size = zero_null, source_size
        self.pipeline_options = dict(
            feature_extractor=[None, None],
            image_encoder=[None, None],
            force_zeros_for_empty_prompt=zero_null,
        )
        super().__init__(**arguments)

    def build(self, parts: Mapping, layout_tokenizer: Mapping) -> None:
        super().build(parts, layout_tokenizer)
        encoder = build_component(self._second["text_encoder_2"], "text_encoder_2").float()
        tokenizer = build_component(self._second["tokenizer_2"], "tokenizer_2")
        second = LayoutTokenizer(tokenizer, **layout_tokenizer)
        first = self.layout_tokenizer
        if second.tokenizer.get_vocab() != first.tokenizer.get_vocab():
            raise UserError(
                "tokenizer_2: its vocabulary is not that of tokenizer; name the tokenizer/ and tokenizer_2/ of one "
                "SDXL folder"
            )
        extend_text_encoder(encoder, second)
        # The id that old configs state, 2, stands for "the largest id of the prompt", which is a layout token's now.
        for module in (encoder, encoder.text_model):
            module.config.eos_token_id = module.eos_token_id = first.tokenizer.eos_token_id
        self.model.text_encoder_2 = encoder
        self.tokenizer_2 = second.tokenizer
        self._freeze_unused()

    def add_lora(self, **options) -> None:
        super().add_lora(**options)
        self._freeze_unused()

    def _freeze_unused(self) -> None:
        """Freeze what follows the second last hidden state of the first encoder: gradients never reach it."""
        inner = getattr(self.model.text_encoder, "text_model", self.model.text_encoder)
        inner.encoder.layers[-1].requires_grad_(False)
        inner.final_layer_norm.requires_grad_(False)

    def encode(
        self,
        input_ids: Tensor,
        mask: Tensor | None = None,
        size: tuple[int, int] | None = None,
        sources: Sequence[tuple[int, int, int, int]] | None = None,
    ) -> Prompts:
        tokens, length = input_ids.to(self.device), self.layout_tokenizer.max_length
        count, windows = len(tokens), tokens.shape[1] // length
        first = self.model.text_encoder(tokens.reshape(-1, length), output_hidden_states=True)
        second = self.model.text_encoder_2(self._second_ids(tokens, length), output_hidden_states=True)
        states = torch.cat((first.hidden_states[-2], second.hidden_states[-2]), dim=-1)
        states = states.reshape(count, windows * length, -1)
        pooled = second.text_embeds.reshape(count, windows, -1)[:, 0]
        if self.zero_null:
            null = (tokens == self.layout_tokenizer.null_ids(1, windows).to(self.device)).all(dim=1)
            states = states.masked_fill(null[:, None, None], 0)
            pooled = pooled.masked_fill(null[:, None], 0)
        return Prompts(states, mask, dict(text_embeds=pooled, time_ids=self._sizes(count, size, sources)))

    def _second_ids(self, tokens: Tensor, length: int) -> Tensor:
        """Return the (B * W, max_length) ids of the second tokenizer: those of the first, with its own padding."""
        windows = tokens.reshape(-1, length)
        end, pad = self.tokenizer_2.eos_token_id, self.tokenizer_2.pad_token_id
        ends = (windows == end).cumsum(dim=1)
        after = (ends > 1) | ((ends == 1) & (windows != end))
        return windows.masked_fill(after, end if pad is None else pad)

    def _sizes(self, count: int, size, sources) -> Tensor:
        """Return the (B, 6) float32 size conditions."""
        size = self.image_size if size is None else size
        sources = sources or [(*(self.source_size or size), 0, 0)] * count
        rows = [[*source, *size] for source in sources]
        return torch.tensor(rows, dtype=torch.float32, device=self.device)

    def added_conditions(self, prompts: Prompts) -> dict[str, Tensor]:
        return {name: prompts.extra[name] for name in ("text_embeds", "time_ids")}

    def stored_condition(self) -> dict:
        stored = super().stored_condition()
        return stored if self.source_size is None else dict(stored, source_size=list(self.source_size))

    def folder_parts(self) -> dict[str, object]:
        parts = super().folder_parts()
        rows, columns = (side // self.latent_scale for side in self.image_size)
        if rows == columns:  # the stock pipeline takes its default size from a number, not from a pair
            self.model.unet.register_to_config(sample_size=rows)
        return dict(parts, text_encoder_2=self.model.text_encoder_2, tokenizer_2=self.tokenizer_2)
