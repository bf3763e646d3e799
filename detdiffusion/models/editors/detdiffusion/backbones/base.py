"""What a family of diffusion models (SD 1.x and 2.x, SDXL, ...) is to the editor.

The editor owns the parts as its own submodules, so that checkpoints, wrappers and optimizers see ``unet.*`` and
``text_encoder.*``; a backbone builds them there and knows how they work together. Another family is another file beside
:mod:`.stable_diffusion` and ``model.backbone='ItsName'`` in a config.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..latents import decode, latent_scale, posterior, sample_latents
from ..layout_tokenizer import EncodedLayouts, LayoutTokenizer


@dataclass
class Prompts:
    """Encoded prompts of a batch, as the denoising network takes them.

    Attributes:
        states: (B, L, D) text states.
        mask: (B, L) bool, False for tokens that a prompt does not attend; None where all are attended.
        extra: further conditions by name, batch first: pooled states, image sizes.
    """

    states: Tensor
    mask: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)

    def after(self, others: Prompts) -> Prompts:
        """``others`` and these as one batch, as classifier-free guidance runs them; the mask is this batch's."""
        return Prompts(
            torch.cat((others.states, self.states)),
            None if self.mask is None else torch.cat((self.mask, self.mask)),
            {name: torch.cat((others.extra[name], value)) for name, value in self.extra.items()},
        )


class Backbone(ABC):
    """One family of base models, at work in an editor.

    Args:
        model: the editor that owns the parts.
        parts: part -> object, or config of :func:`..components.build_component`.
        layout_tokenizer: arguments of :class:`..layout_tokenizer.LayoutTokenizer`, without the tokenizer.

    Attributes:
        pipeline: diffusers' class that loads an exported folder.
        trained: names of the parts that are trained.
        layout_tokenizer: writes layouts as token ids.
    """

    pipeline: str
    trained: tuple[str, ...]
    layout_tokenizer: LayoutTokenizer

    def __init__(self, model: nn.Module, parts: Mapping, layout_tokenizer: Mapping) -> None:
        self.model = model
        self.build(parts, layout_tokenizer)

    @abstractmethod
    def build(self, parts: Mapping, layout_tokenizer: Mapping) -> None:
        """Set the parts as the model's attributes: ``vae`` frozen, trained parts in float32, and both schedulers."""

    @abstractmethod
    def encode(
        self, input_ids: Tensor, mask: Tensor | None = None, size: tuple[int, int] | None = None
    ) -> Prompts:
        """Encode prompts.

        Args:
            input_ids: (B, W * max_length) token ids; every window of ``max_length`` is a prompt of its own.
            mask: (B, W * max_length) bool, of the tokens to attend.
            size: height and width of the image in pixels, for models that are told it.
        """

    @abstractmethod
    def predict(self, latents: Tensor, timesteps: Tensor, prompts: Prompts) -> Tensor:
        """The denoising network's output (B, C, h, w) for noisy latents (B, C, h, w) at timesteps (B,) or ()."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the model draws unless it is told otherwise."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels of the latents."""

    @abstractmethod
    def feature_taps(self, mode: str) -> AbstractContextManager:
        """A context in which ``.features`` are taken from a forward; ``.channels`` are known before it."""

    @abstractmethod
    def attention_taps(self) -> AbstractContextManager:
        """A context in which ``.probabilities`` of the cross-attention are taken from a forward."""

    @abstractmethod
    def add_lora(self, **options) -> None:
        """Freeze the trained parts and give them low-rank updates."""

    @abstractmethod
    def fit_state(self, state: dict, prefix: str) -> None:
        """Rename the tensors of a checkpoint of another version of the libraries, in place."""

    @abstractmethod
    def folder_parts(self) -> dict[str, object]:
        """Part -> object of an exported diffusers folder."""

    @abstractmethod
    def optimise(self, gradient_checkpointing: bool, channels_last: bool, compile: bool | Mapping) -> None:
        """Memory and speed options of the parts; see the editor's arguments."""

    @property
    def device(self) -> torch.device:
        """Where the denoising network lies."""
        return next(getattr(self.model, self.trained[0]).parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the trained weights."""
        return next(getattr(self.model, self.trained[0]).parameters()).dtype

    @property
    def latent_scale(self) -> int:
        """Image pixels a latent cell, 8 for Stable Diffusion."""
        return latent_scale(self.model.vae)

    def encode_layouts(self, encoded: EncodedLayouts, size: tuple[int, int] | None = None) -> Prompts:
        """Encode the prompts of layouts."""
        mask = encoded.attention_mask()
        return self.encode(encoded.input_ids, None if mask is None else mask.to(self.device), size)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, C, h, w) of the VAE's posterior; a deterministic VAE has deviation 0."""
        return posterior(self.model.vae, images)

    def sample(self, mean: Tensor, std: Tensor) -> Tensor:
        """Scaled float32 latents from a posterior, by torch's global random state."""
        return sample_latents(self.model.vae, mean, std)

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) float32 in [0, 1] of scaled latents."""
        return decode(self.model.vae, latents)
