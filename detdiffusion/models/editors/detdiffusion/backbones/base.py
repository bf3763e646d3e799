"""Interface between the editor and a family of diffusion models (SD 1.x and 2.x, SDXL, ...).

The parts are submodules of the editor, so that checkpoints, wrappers and optimizers see ``unet.*`` and
``text_encoder.*``; a backbone builds them and defines how they work together. To support another family, add a module
next to :mod:`.stable_diffusion` and select its class with ``model.backbone='ItsName'`` in a config.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..latents import decode, latent_scale, posterior, sample_latents, scaled
from ..layout_tokenizer import EncodedLayouts, LayoutTokenizer


@dataclass
class Prompts:
    """Encoded prompts of a batch, the conditions of the denoising network.

    Attributes:
        states: (B, L, D) text states.
        mask: (B, L) bool, False for tokens that a prompt does not attend; None where all are attended.
        extra: further conditions by name, for example pooled states or image sizes; batch first.
    """

    states: Tensor
    mask: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)

    def after(self, others: Prompts) -> Prompts:
        """Return one batch of ``others`` followed by these prompts, for classifier-free guidance.

        Both halves use the mask of these prompts.
        """
        return Prompts(
            torch.cat((others.states, self.states)),
            None if self.mask is None else torch.cat((self.mask, self.mask)),
            {name: torch.cat((others.extra[name], value)) for name, value in self.extra.items()},
        )


class Backbone(ABC):
    """Base class of the families of diffusion models.

    Args:
        model: the editor that owns the parts.
        parts: mapping of part names to objects, or to configs of :func:`..components.build_component`.
        layout_tokenizer: arguments of :class:`..layout_tokenizer.LayoutTokenizer`, without the tokenizer.

    Attributes:
        pipeline: diffusers' class that loads an exported folder.
        trained: names of the parts that are trained.
        layout_tokenizer: encodes layouts as token ids.
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
            input_ids: (B, W * max_length) token ids; each window of ``max_length`` tokens is encoded separately.
            mask: (B, W * max_length) bool, True for tokens to attend.
            size: height and width of the image in pixels, for models that are conditioned on it.
        """

    @abstractmethod
    def predict(self, latents: Tensor, timesteps: Tensor, prompts: Prompts) -> Tensor:
        """Return the network's output (B, C, h, w) for noisy latents (B, C, h, w) at timesteps (B,) or ()."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Default height and width in pixels of generated images."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels of the latents."""

    @abstractmethod
    def feature_taps(self, mode: str) -> AbstractContextManager:
        """Return a context manager that collects ``.features`` of a forward pass; ``.channels`` is known before it."""

    @abstractmethod
    def attention_taps(self) -> AbstractContextManager:
        """Return a context manager that collects the cross-attention's ``.probabilities`` of a forward pass."""

    @abstractmethod
    def add_lora(self, **options) -> None:
        """Freeze the trained parts and add low-rank updates to them."""

    @abstractmethod
    def fit_state(self, state: dict, prefix: str) -> None:
        """Rename tensors, in place, of a checkpoint saved with another version of the libraries."""

    @abstractmethod
    def folder_parts(self) -> dict[str, object]:
        """Return the parts of an exported diffusers folder by name."""

    @abstractmethod
    def optimise(self, gradient_checkpointing: bool, channels_last: bool, compile: bool | Mapping) -> None:
        """Apply memory and speed options to the parts; see the editor's arguments."""

    @property
    def device(self) -> torch.device:
        """Device of the denoising network."""
        return next(getattr(self.model, self.trained[0]).parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the trained weights."""
        return next(getattr(self.model, self.trained[0]).parameters()).dtype

    @property
    def latent_scale(self) -> int:
        """Image pixels per latent cell, 8 for Stable Diffusion."""
        return latent_scale(self.model.vae)

    def encode_layouts(self, encoded: EncodedLayouts, size: tuple[int, int] | None = None) -> Prompts:
        """Encode the prompts of layouts."""
        mask = encoded.attention_mask()
        return self.encode(encoded.input_ids, None if mask is None else mask.to(self.device), size)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation (B, C, h, w) of the VAE's posterior; a deterministic VAE has deviation 0."""
        return posterior(self.model.vae, images)

    def sample(self, mean: Tensor, std: Tensor) -> Tensor:
        """Sample scaled float32 latents from a posterior, using torch's global random state."""
        return sample_latents(self.model.vae, mean, std)

    def scaled(self, latents: Tensor) -> Tensor:
        """Return latents of the VAE at the denoising network's scale, in float32."""
        return scaled(self.model.vae, latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents to images (B, 3, H, W) float32 in [0, 1]."""
        return decode(self.model.vae, latents)
