"""DetDiffusion: a layout-to-image latent diffusion model with perception-aware attributes and loss (paper, Fig. 2)."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.model import BaseModel
from torch import Tensor

from detdiffusion.registry import BACKBONES, MODELS
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from ..interface import RealImages, check_generators, check_sides, predict_batch
from .backbones import Backbone
from .latents import latent_sides
from .layout_config import layout_of_config
from .layout_tokenizer import LayoutTokenizer
from .options import AUTOCAST, FLAT_KEYS, read_options
from .perception_branch import build_branch, class_labels, masks_to_find, optimise_head
from .prompt_states import PromptStates
from .sampler import Start, count_evaluations, denoise, initial_noise, reporting


@MODELS.register_module()
class DetDiffusion(BaseModel):
    """Generates images of layouts with perception-aware attributes.

    Without ``perception`` and with ``layout_tokenizer.attributes=False`` this is GeoDiffusion; with
    ``layout_tokenizer.template='caption'`` it is a plain text-to-image model. Parts are objects, or config dicts of
    :func:`.components.build_component`.

    Args:
        vae: ``AutoencoderKL`` or ``AutoencoderTiny``; frozen.
        text_encoder: ``CLIPTextModel``; trained.
        tokenizer: ``CLIPTokenizer``; location and attribute tokens are added to it.
        unet: ``UNet2DConditionModel``; trained.
        scheduler: training noise schedule (``DDPMScheduler``), epsilon or v-prediction.
        test_scheduler: sampling scheduler; a dict without ``from_pretrained`` is completed by the training
            scheduler's betas and prediction type.
        backbone: name, or config, of the :mod:`.backbones` class that the parts belong to.
        layout_tokenizer: arguments of :class:`.layout_tokenizer.LayoutTokenizer`; if the tokenizer's folder has a
            ``layout_config.json``, it completes them, and they must not contradict it.
        noise_loss: config of the noise loss (Eq. 1).
        perception: fields of :class:`.options.Perception`; None disables the perception-aware branch.
        conditioning: fields of :class:`.options.Conditioning`.
        memory: fields of :class:`.options.Memory`.
        lora: arguments of :func:`.lora.add_lora`, which freezes UNet and text encoder and trains low-rank updates and
            the embeddings of the layout tokens; None trains all weights.
        test_cfg: arguments of :meth:`infer` in validation (``mode='predict'``), such as ``num_inference_steps`` and
            ``guidance_scale``.
        data_preprocessor: default scales uint8 images to [-1, 1].
        **flat: fields of the groups as top-level arguments, as in configs written before the groups existed
            (``mask_head``, ``perception_loss``, ``taps``, ``dtype``, ...; see :mod:`.options`); they override the
            fields of the groups.
    """

    config_keys = FLAT_KEYS
    """Arguments accepted as ``**flat``, for the check of a config's options."""

    def __init__(
        self,
        vae,
        text_encoder,
        tokenizer,
        unet,
        scheduler,
        test_scheduler=None,
        backbone: str | dict = "StableDiffusion",
        layout_tokenizer: dict | None = None,
        noise_loss: dict | None = None,
        perception: dict | None = None,
        conditioning: dict | None = None,
        memory: dict | None = None,
        lora: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        **flat,
    ) -> None:
        if data_preprocessor is None:
            data_preprocessor = dict(type="mmengine.ImgDataPreprocessor", mean=[127.5] * 3, std=[127.5] * 3)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        options = read_options(dict(perception=perception, conditioning=conditioning, memory=memory), flat)
        self.conditioning, self.memory = options["conditioning"], options["memory"]
        parts = dict(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet)
        parts.update(scheduler=scheduler, test_scheduler=test_scheduler)
        kind = dict(type=backbone) if isinstance(backbone, str) else dict(backbone)
        layout = dict(layout_tokenizer=layout_tokenizer, conditioning=vars(self.conditioning))
        self.backbone: Backbone = BACKBONES.build(dict(**kind, model=self, parts=parts, layout=layout))
        self.layout_tokenizer = self.backbone.layout_tokenizer
        self._states = PromptStates(self.backbone)
        if lora is not None:
            self.backbone.add_lora(**lora)
        self.backbone.optimise(
            self.memory.gradient_checkpointing, self.memory.channels_last, self.memory.compile
        )
        self.noise_loss = MODELS.build(noise_loss or dict(type="NoiseLoss"))
        grounding = self.conditioning.grounding_loss
        self.grounding_loss = MODELS.build(grounding) if grounding else None
        self._add_perception(options["perception"])
        self.test_cfg = dict(test_cfg or {})
        self.cache_latents = self.memory.cache_latents
        self.register_load_state_dict_pre_hook(_fit_state)

    def _add_perception(self, perception) -> None:
        self.perception, self.mask_head, self.perception_loss = perception, None, None
        if perception.mask_head is not None:
            channels = self.backbone.feature_taps(perception.taps).channels
            self.mask_head, self.perception_loss = build_branch(
                perception.mask_head, perception.loss, channels
            )
            optimise_head(self.mask_head, self.memory.channels_last, self.memory.compile)

    @property
    def tokenizer(self):
        """The CLIP tokenizer with the added tokens."""
        return self.layout_tokenizer.tokenizer

    @staticmethod
    def needs_attributes(cfg: Mapping) -> bool:
        """Return whether prompts or blueprints of a model with this config have attributes, without building it."""
        arguments, blueprint = layout_of_config(cfg)
        return LayoutTokenizer.with_attributes(arguments) or (blueprint is not None and blueprint.attributes)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the trained weights."""
        return self.backbone.dtype

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @property
    def image_size(self) -> tuple[int, int]:
        """Default height and width in pixels of generated images."""
        return self.backbone.image_size

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return channels, rows and columns of the latents of an image.

        Raises:
            UserError: ``height`` or ``width`` is not divisible by :attr:`latent_scale`.
        """
        return self.backbone.latent_channels, *latent_sides(height, width, self.latent_scale)

    @property
    def latent_scale(self) -> int:
        """Image pixels per latent cell, 8 for Stable Diffusion."""
        return self.backbone.latent_scale

    def train(self, mode: bool = True):
        super().train(mode)
        self.vae.eval()
        self._states.clear()
        return self

    def _autocast(self):
        dtype = AUTOCAST[self.memory.dtype]
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation (B, C, h, w) of the VAE's posterior; a deterministic VAE has deviation 0."""
        return self.backbone.posterior(images)

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Sample scaled latents (B, C, h, w) of images (B, 3, H, W) in [-1, 1] from the VAE's posterior."""
        return self.backbone.sample(*self.posterior(images))

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode scaled latents to images (B, 3, H, W) float32 in [0, 1]."""
        return self.backbone.decode(latents)

    @torch.no_grad()
    def round_trip(self, images: Tensor) -> Tensor:
        """Encode and decode images (B, 3, H, W) in [-1, 1]; the result, float32 in [0, 1], is the best that the frozen
        autoencoder lets any generated image be."""
        return self.decode_latents(self.backbone.scaled(self.posterior(images)[0]))

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = "tensor"):
        """Compute the losses of a training batch, or generate images of the layouts of a batch.

        Args:
            inputs: (B, 3, H, W) images in [-1, 1].
            data_samples: B samples with a ``layout``. For ``loss``, they may have ``moments`` (2, C, h, w), mean and
                deviation of the VAE's posterior, which are then used instead of ``inputs``.
            mode: ``loss`` returns a dict of scalars; ``predict`` returns the samples with ``pred_img`` (3, H, W) in
                [0, 1], ``prompted``, the indices of the objects in the prompt, and ``round_trip``, a function that
                returns the real image after :meth:`round_trip`; ``tensor`` returns the latents. The noise of a
                prediction depends on the layout's image id only, so it is the same in every validation and rank.
        """
        if mode == "loss":
            layouts = [sample.layout for sample in data_samples]
            if "moments" in data_samples[0]:  # from the latent cache
                moments = torch.stack([sample.moments for sample in data_samples]).to(inputs.device)
                return self._losses(self.backbone.sample(*moments.float().unbind(1)), layouts)
            return self._losses(self.encode_images(inputs), layouts)
        if mode == "predict":
            samples = predict_batch(self, *inputs.shape[-2:], data_samples)
            for sample, image in zip(samples, inputs):
                sample.set_data(dict(round_trip=lambda real=image[None]: self.round_trip(real)[0]))
            return samples
        if mode == "tensor":
            return self.encode_images(inputs)
        raise UserError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    def _noisy(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy latents at random timesteps, the network's target, and the timesteps (B,)."""
        noise = torch.randn_like(latents)
        if self.conditioning.noise_offset:
            noise = noise + self.conditioning.noise_offset * torch.randn_like(latents[:, :, :1, :1])
        return self.backbone.add_noise(latents, noise)

    def _losses(self, latents: Tensor, layouts: list[Layout]) -> dict[str, Tensor]:
        noisy, target, timesteps = self._noisy(latents)
        rng = random.Random(int(torch.randint(2**31, (1,))))
        encoded = self.layout_tokenizer.encode(layouts, rng)
        null = torch.rand(len(latents)) < self.conditioning.null_text_prob
        layouts = [layout.select(kept) for layout, kept in zip(layouts, encoded.kept)]
        drawn = [None if empty else layout for layout, empty in zip(layouts, null.tolist())]
        taps = attention = contextlib.nullcontext()
        if self.mask_head is not None:
            taps = self.backbone.feature_taps(self.perception.taps)
        if self.grounding_loss is not None:
            attention = self.backbone.attention_taps()
        size = tuple(side * self.latent_scale for side in latents.shape[-2:])
        sources = [layout.source_and_corner(size) for layout in layouts]
        with self._autocast(), taps, attention:
            prompts = self.backbone.encode_layouts(encoded, size, sources, null)
            prompts = self.backbone.add_blueprints(prompts, drawn, latents.shape[-2:])
            prediction = self.backbone.predict(noisy, timesteps, prompts)
        boxes = [layout.boxes.to(latents.device) for layout in layouts]
        losses = dict(loss_ldm=self.noise_loss(prediction.float(), target, boxes, timesteps, self.scheduler))
        if self.mask_head is not None:
            losses["loss_pa"] = self._perception_loss(taps.features, layouts, boxes, timesteps, null)
        if self.grounding_loss is not None:
            spans = [[] if empty else ranges for ranges, empty in zip(encoded.spans, null.tolist())]
            losses["loss_grounding"] = self.grounding_loss(
                attention.probabilities, spans, boxes, tuple(latents.shape[-2:])
            )
        return losses

    def _perception_loss(self, features, layouts, boxes, timesteps, null) -> Tensor:
        labels = class_labels(layouts, timesteps.device)
        with self._autocast():
            logits = self.mask_head(features, boxes, labels)
        mask_logits, class_logits = logits if isinstance(logits, tuple) else (logits, None)
        skip = null & (not self.perception.on_null_text)
        masks, labels = masks_to_find(layouts, labels, skip, mask_logits.shape[-2:])
        weights = self.backbone.signal_share(timesteps)
        return self.perception_loss(mask_logits, masks, weights, class_logits, labels)

    @torch.no_grad()
    def infer(
        self,
        layouts: Layout | Sequence[Layout],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.5,
        generators: Sequence[torch.Generator] | None = None,
        schedule: str | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        guidance_rescale: float = 0.0,
        real: RealImages | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> dict:
        """Generate images of layouts.

        Args:
            layouts: one or B layouts of any number of objects, with attributes if prompts have attribute tokens.
            height, width: image size in pixels, divisible by the latent scale; default: :attr:`image_size`.
            num_inference_steps: number of denoising steps.
            guidance_scale: scale of classifier-free guidance.
            generators: B CPU generators; image i depends on generator i only, even with a stochastic scheduler.
                Default: seeded from torch's global random state.
            schedule: spacing of the timesteps, see :func:`.schedules.with_timesteps`; None: the scheduler's own.
            guidance_interval: part of the evaluations with guidance, see :func:`.sampler.guided_evaluations`.
            guidance_rescale: share of rescaling, in [0, 1], see :func:`.sampler.rescale_guided`.
            real: B real images of this size to start from. Pixels that are kept are those of the real image; what is
                kept is also restored in the latents after every step.
            on_step: called after every denoising step, see :func:`.sampler.reporting`; may raise to stop.

        Returns:
            ``samples`` (B, 3, H, W) float32 in [0, 1]; ``kept``, objects in each prompt; ``prompts``, their text.

        Raises:
            UserError: there is no layout, a side is not divisible, the numbers of generators and layouts differ, the
                scheduler lacks the schedule, or real images have another size.
        """
        layouts = [layouts] if isinstance(layouts, Layout) else list(layouts)
        if not layouts:
            raise UserError("infer: layouts is empty; give at least one layout")
        size = check_sides(self, height, width)
        generators = check_generators(layouts, generators)
        encoded = self.layout_tokenizer.encode(layouts)
        noise = initial_noise(self.latent_shape(*size), generators)
        if real is not None and real.images.shape != (len(layouts), 3, *size):
            raise UserError(
                f"infer: `real.images` must have the shape {(len(layouts), 3, *size)}, got {tuple(real.images.shape)}"
            )
        training = self.training
        if training:
            self.eval()
        try:
            with self._autocast():
                prompts = self._states.prompts(encoded, size)
                null_prompts = self._states.null_prompts(prompts, size)
                drawn = [layout.select(sorted(kept)) for layout, kept in zip(layouts, encoded.kept)]
                sides = noise.shape[-2:]
                latents = denoise(
                    self.backbone.predict if on_step is None else reporting(self.backbone.predict, on_step),
                    self.test_scheduler,
                    noise.to(self.device),
                    self.backbone.add_blueprints(prompts, drawn, sides),
                    self.backbone.add_blueprints(null_prompts, [None] * len(drawn), sides),
                    num_inference_steps,
                    guidance_scale,
                    generators,
                    schedule,
                    guidance_interval,
                    guidance_rescale,
                    None if real is None else Start.of(self.backbone, real),
                )
            images = self.decode_latents(latents)
        finally:
            if training:
                self.train()
        if real is not None and real.keep is not None:
            images = torch.where(real.keep.to(images.device), (real.images / 2 + 0.5).to(images), images)
        return dict(samples=images, kept=encoded.kept, prompts=encoded.prompts)

    def evaluations(self, **sampling) -> int:
        """Return how often the network is evaluated for an image with these arguments of :meth:`infer`."""
        return count_evaluations(self.test_scheduler, **sampling)

    def val_step(self, data: dict) -> list:
        """Generate images of the layouts of a batch (mmengine's evaluation protocol)."""
        data = self.data_preprocessor(data, False)
        return self.forward(**data, mode="predict")

    test_step = val_step


def _fit_state(module, state_dict, prefix, *args) -> None:
    """Make checkpoints that were saved with other versions of the libraries loadable, and forget text states."""
    module._states.clear()
    module.backbone.fit_state(state_dict, prefix)
