"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a ``UNet2DConditionModel``, epsilon or v-prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from detdiffusion.registry import BACKBONES
from detdiffusion.utils.compat import fit_clip_names

from ..attention_taps import AttentionTaps
from ..components import build_component, build_sampling_scheduler, extend_text_encoder
from ..feature_taps import FeatureTaps
from ..layout_condition import widen_input
from ..layout_tokenizer import LayoutTokenizer
from ..lora import add_lora
from ..regional_compile import compile_regions, start_cuda_graph_steps
from .base import Backbone, Prompts


@BACKBONES.register_module()
class StableDiffusion(Backbone):
    """See :class:`.base.Backbone`; parts: vae, text_encoder, tokenizer, unet, scheduler and test_scheduler."""

    pipeline = "StableDiffusionPipeline"
    layout_pipeline = "layout_pipeline"
    pipeline_options = dict(
        safety_checker=[None, None],
        feature_extractor=[None, None],
        image_encoder=[None, None],
        requires_safety_checker=False,
    )
    trained = ("unet", "text_encoder")

    def build(self, parts: Mapping, layout_tokenizer: Mapping) -> None:
        model = self.model
        model.vae = build_component(parts["vae"], "vae").float().requires_grad_(False).eval()
        for name in ("text_encoder", "unet"):  # trained weights stay in float32
            setattr(model, name, build_component(parts[name], name).float())
        model.scheduler = build_component(parts["scheduler"], "scheduler")
        model.test_scheduler = build_sampling_scheduler(
            parts.get("test_scheduler"), model.scheduler, "test_scheduler"
        )
        tokenizer = build_component(parts["tokenizer"], "tokenizer")
        self.layout_tokenizer = LayoutTokenizer(tokenizer, **layout_tokenizer)
        extend_text_encoder(model.text_encoder, self.layout_tokenizer)

    def widen_input(self, channels: int) -> bool:
        unet = self.model.unet
        return widen_input(unet, unet.conv_in, self.latent_channels, channels)

    def optimise(self, gradient_checkpointing: bool, channels_last: bool, compile: bool | Mapping) -> None:
        if gradient_checkpointing:
            self.model.unet.enable_gradient_checkpointing()
        if channels_last:
            self.model.unet.to(memory_format=torch.channels_last)
            self.model.vae.to(memory_format=torch.channels_last)
        if compile:
            options = compile if isinstance(compile, Mapping) else {}
            compile_regions(self.model.unet, **options)
            start_cuda_graph_steps(self.model.unet, **options)

    def add_lora(self, **options) -> None:
        text_encoders = {name: getattr(self.model, name) for name in self.trained[1:]}
        add_lora(self.model.unet, text_encoders, self.layout_tokenizer, **options)
        if self.blueprint is not None:
            self.model.unet.conv_in.requires_grad_(True)  # the blueprint's channels are new to the model

    def encode(
        self,
        input_ids: Tensor,
        mask: Tensor | None = None,
        size: tuple[int, int] | None = None,
        sources: Sequence[tuple[int, int, int, int]] | None = None,
    ) -> Prompts:
        windows = input_ids.to(self.device).reshape(-1, self.layout_tokenizer.max_length)
        states = self.model.text_encoder(windows)[0].reshape(*input_ids.shape, -1)
        return Prompts(states, mask)

    def run_network(self, inputs: Tensor, timesteps: Tensor, prompts: Prompts) -> Tensor:
        return self.model.unet(
            inputs,
            timesteps,
            encoder_hidden_states=prompts.states,
            encoder_attention_mask=prompts.mask,
            added_cond_kwargs=self.added_conditions(prompts),
            return_dict=False,
        )[0]

    def added_conditions(self, prompts: Prompts) -> dict[str, Tensor] | None:
        """Return the UNet's ``added_cond_kwargs``."""
        return None

    @property
    def image_size(self) -> tuple[int, int]:
        size = self.model.unet.config.sample_size
        rows, columns = (size, size) if isinstance(size, int) else size
        return rows * self.latent_scale, columns * self.latent_scale

    @property
    def latent_channels(self) -> int:
        return self.model.unet.config.out_channels

    def feature_taps(self, mode: str) -> FeatureTaps:
        return FeatureTaps(self.model.unet, mode)

    def attention_taps(self) -> AttentionTaps:
        return AttentionTaps(self.model.unet)

    def fit_state(self, state: dict, prefix: str) -> None:
        for role in self.trained[1:]:
            names = {f"{prefix}{role}.{name}" for name in getattr(self.model, role).state_dict()}
            fit_clip_names(state, names, f"{prefix}{role}.")

    def folder_parts(self) -> dict[str, object]:
        model = self.model
        return dict(
            vae=model.vae,
            text_encoder=model.text_encoder,
            tokenizer=self.layout_tokenizer.tokenizer,
            unet=model.unet,
            scheduler=model.test_scheduler,
        )
