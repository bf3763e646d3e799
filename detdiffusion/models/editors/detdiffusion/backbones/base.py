"""Interface between the editor and a family of diffusion models (SD 1.x and 2.x, SDXL, ...).

The parts are submodules of the editor, so that checkpoints, wrappers and optimizers see ``unet.*`` and
``text_encoder.*``; a backbone builds them and defines how they work together. To support another family, add a module
next to :mod:`.stable_diffusion` and select its class with ``model.backbone='ItsName'`` in a config.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from detdiffusion.structures import Layout

from ....losses import noise_target, sqrt_alpha_bar
from ..latents import decode, latent_scale, posterior, sample_latents, scaled
from ..layout_condition import Blueprint, stored_condition
from ..layout_config import layout_of_config
from ..layout_tokenizer import EncodedLayouts, LayoutTokenizer


@dataclass
class Prompts:
    """Encoded prompts of a batch, the conditions of the denoising network.

    Attributes:
        states: (B, L, D) text states.
        mask: (B, L) bool, False for tokens that a prompt does not attend; None where all are attended.
        extra: further conditions by name, for example pooled states, image sizes or a ``blueprint``; batch first.
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
        layout: ``layout_tokenizer`` and ``conditioning`` of the editor's config.

    Attributes:
        pipeline: diffusers' class that loads an exported folder.
        pipeline_options: further entries of an exported ``model_index.json``.
        layout_pipeline: module of the pipeline for layouts that is copied to an exported folder, or None.
        trained: names of the parts that are trained, the denoising network first.
        layout_tokenizer: encodes layouts as token ids.
        blueprint: draws layouts for the network's input, or None.
    """

    pipeline: str
    pipeline_options: Mapping = {}
    layout_pipeline: str | None = None
    trained: tuple[str, ...]
    layout_tokenizer: LayoutTokenizer

    def __init__(self, model: nn.Module, parts: Mapping, layout: Mapping) -> None:
        self.model = model
        arguments, self.blueprint = layout_of_config({**layout, "tokenizer": parts["tokenizer"]})
        self.build(parts, arguments)
        self._new_blueprint = self.widen_input(0 if self.blueprint is None else Blueprint.channels)

    @abstractmethod
    def build(self, parts: Mapping, layout_tokenizer: Mapping) -> None:
        """Set :attr:`layout_tokenizer` and the parts as the model's attributes.

        ``vae`` is frozen, trained parts are float32.

        Args:
            parts: as for the class.
            layout_tokenizer: arguments of :class:`..layout_tokenizer.LayoutTokenizer`, without the tokenizer.
        """

    @abstractmethod
    def widen_input(self, channels: int) -> bool:
        """Add input channels with zero weights to the network, unless it has them; return whether any were added.

        :func:`..layout_condition.widen_input` does this to a convolution. It is called with 0 if there is no blueprint.

        Raises:
            UserError: the network takes another number of channels, or cannot take more.
        """

    @abstractmethod
    def encode(
        self,
        input_ids: Tensor,
        mask: Tensor | None = None,
        size: tuple[int, int] | None = None,
        sources: Sequence[tuple[int, int, int, int]] | None = None,
    ) -> Prompts:
        """Encode prompts.

        Args:
            input_ids: (B, W * max_length) token ids; each window of ``max_length`` tokens is encoded separately.
            mask: (B, W * max_length) bool, True for tokens to attend.
            size: height and width of the image in pixels, for models that are conditioned on it.
            sources: in training, the B images' sources and corners, for the same models; see
                :meth:`~detdiffusion.structures.Layout.source_and_corner`.
        """

    @abstractmethod
    def run_network(self, inputs: Tensor, timesteps: Tensor, prompts: Prompts) -> Tensor:
        """Return the network's output (B, C, h, w); :meth:`predict` calls it.

        Args:
            inputs: (B, C + K, h, w) noisy latents, followed by the K channels of a blueprint if there is one.
            timesteps: (B,) or ().
            prompts: the conditions.
        """

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Default height and width in pixels of generated images."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels of the latents, those of the blueprint not included."""

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

    def encode_layouts(
        self,
        encoded: EncodedLayouts,
        size: tuple[int, int] | None = None,
        sources: Sequence[tuple[int, int, int, int]] | None = None,
        null: Tensor | None = None,
    ) -> Prompts:
        """Encode the prompts of layouts.

        Args:
            encoded: B prompts.
            size, sources: as in :meth:`encode`.
            null: (B,) bool on the CPU, True for samples that get the empty prompt in place of theirs.
        """
        ids, mask = encoded.input_ids, encoded.attention_mask()
        if null is not None:
            windows = ids.shape[1] // self.layout_tokenizer.max_length
            ids = torch.where(null[:, None], self.layout_tokenizer.null_ids(len(ids), windows), ids)
        return self.encode(ids, None if mask is None else mask.to(self.device), size, sources)

    def encode_null(self, length: int, size: tuple[int, int] | None = None) -> Prompts:
        """Encode the empty prompt, one sample of it, to ``length`` states: those of one window for every window.

        Args:
            length: number of states of the prompts that it is sampled with.
            size: as in :meth:`encode`.
        """
        null = self.encode(self.layout_tokenizer.null_ids(1), size=size)
        windows = length // self.layout_tokenizer.max_length
        return replace(null, states=null.states.repeat(1, windows, 1))

    def add_blueprints(
        self, prompts: Prompts, layouts: Sequence[Layout | None], sides: tuple[int, int]
    ) -> Prompts:
        """Return the prompts with the blueprints of their layouts in ``extra``, if the model is conditioned on them.

        Args:
            prompts: encoded prompts; not changed.
            layouts: one per prompt; None for an empty blueprint, which belongs to the empty prompt.
            sides: rows and columns of the latents.
        """
        if self.blueprint is None:
            return prompts
        drawn = self.blueprint(layouts, sides).to(self.device)
        return replace(prompts, extra={**prompts.extra, "blueprint": drawn})

    def predict(self, latents: Tensor, timesteps: Tensor, prompts: Prompts) -> Tensor:
        """Return the network's output (B, C, h, w) for noisy latents (B, C, h, w) at timesteps (B,) or ()."""
        if self.blueprint is not None:
            latents = torch.cat((latents, prompts.extra["blueprint"].to(latents.dtype)), dim=1)
        return self.run_network(latents, timesteps, prompts)

    @property
    def attribute_words(self) -> tuple[str, ...]:
        """Attributes that prompts or blueprints have, easiest first, ``background`` last; empty without any."""
        needed = self.layout_tokenizer.attributes or (
            self.blueprint is not None and self.blueprint.attributes
        )
        return tuple(self.layout_tokenizer.attribute_words) if needed else ()

    @property
    def has_new_attributes(self) -> bool:
        """Whether attributes are new to the weights that the parts started from, in prompts and in the blueprint."""
        in_prompts = self.layout_tokenizer.attributes and not self.layout_tokenizer.added["attribute"]
        in_blueprint = self.blueprint is not None and self.blueprint.attributes and not self._new_blueprint
        return bool(self.attribute_words) and not (in_prompts or in_blueprint)

    def stored_condition(self) -> dict:
        """Return what ``layout_config.json`` stores about the condition."""
        return stored_condition(self.layout_tokenizer.template, self.blueprint)

    def add_noise(self, latents: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy latents (B, C, h, w) at random timesteps, the network's target, and the timesteps (B,)."""
        scheduler = self.model.scheduler
        steps = scheduler.config.num_train_timesteps
        timesteps = torch.randint(0, steps, (len(latents),), device=latents.device)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        return noisy, noise_target(scheduler, latents, noise, timesteps), timesteps

    def signal_share(self, timesteps: Tensor) -> Tensor:
        """Return the weights (B,) in [0, 1] of the perception-aware loss, sqrt(alpha_bar_t) of Eq. 4."""
        return sqrt_alpha_bar(self.model.scheduler, timesteps)

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
