"""DetDiffusion: a layout-to-image latent diffusion model that listens to a detector (the paper's Fig. 2)."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModel
from torch import Tensor

from detdiffusion.registry import MODELS
from detdiffusion.structures import Layout
from detdiffusion.utils.compat import fit_clip_names
from detdiffusion.utils.errors import UserError

from ...losses import noise_target, sqrt_alpha_bar
from ..interface import check_generators, check_sides, predict_batch
from .attention_taps import AttentionTaps
from .components import build_component, build_sampling_scheduler, extend_text_encoder, source_folder
from .feature_taps import FeatureTaps
from .latents import decode, latent_scale, posterior, sample_latents
from .layout_config import settle_layout_config
from .layout_tokenizer import EncodedLayouts, LayoutTokenizer
from .lora import add_lora
from .perception_branch import build_branch, class_labels, masks_to_find
from .regional_compile import compile_regions
from .sampler import denoise, initial_noise

_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@MODELS.register_module()
class DetDiffusion(BaseModel):
    """Layouts with perception-aware attributes in, images out.

    Without ``perception_loss`` and with ``layout_tokenizer.attributes=False`` it is GeoDiffusion; with
    ``layout_tokenizer.template='caption'`` it is a plain text-to-image model. Parts are config dicts of
    :func:`.components.build_component` or objects.

    Args:
        vae: ``AutoencoderKL`` or ``AutoencoderTiny``; frozen.
        text_encoder: ``CLIPTextModel``; trained.
        tokenizer: ``CLIPTokenizer``; location and attribute tokens are added to it.
        unet: ``UNet2DConditionModel``; trained.
        scheduler: training noise schedule (``DDPMScheduler``), epsilon or v-prediction.
        test_scheduler: sampling scheduler; a dict without ``from_pretrained`` takes the training schedule's
            betas and prediction type.
        layout_tokenizer: arguments of :class:`.layout_tokenizer.LayoutTokenizer`; where the tokenizer's folder has a
            ``layout_config.json``, they are completed by it and may not contradict it.
        noise_loss: config of the noise loss (Eq. 1).
        mask_head: config of the segmentation head on the UNet's features, or None.
        perception_loss: config of the perception-aware loss (Eq. 4 and 5), or None; comes with ``mask_head``.
        grounding_loss: config of an :class:`~detdiffusion.models.losses.AttentionGroundingLoss`, or None as in the
            paper.
        taps: which UNet features the head sees, ``decoder`` or ``down+up``.
        null_text_prob: share of training samples whose prompt is empty.
        perception_on_null_text: whether those samples count in the perception-aware loss.
        noise_offset: deviation of one more normal number a channel that is added to the training noise, so that
            very dark and very bright images are learned; 0 as in the paper.
        lora: arguments of :func:`.lora.add_lora`: freeze UNet and text encoder and train low-rank updates, with the
            embeddings of the layout's tokens; None trains all weights.
        dtype: ``fp32``, ``bf16`` or ``fp16``: autocast of UNet and text encoder in training and sampling;
            trained weights stay float32. ``fp16`` gradients need loss scaling: tools/train.py --amp.
        gradient_checkpointing: recompute UNet activations in the backward pass.
        cache_latents: True or a folder: the VAE sees every training image, and its mirror images, once, before the
            first step (:class:`detdiffusion.engine.LatentCacheHook`); True keeps them in the work dir. For
            pipelines without other random transforms than ``RandomFlipLayout``.
        channels_last: keep convolutions' weights and features in that memory format.
        compile: ``torch.compile`` the UNet's residual and transformer blocks; True, or a dict of its options.
        test_cfg: arguments of :meth:`infer` for validation (``mode='predict'``), such as ``num_inference_steps`` and
            ``guidance_scale``.
        data_preprocessor: default turns uint8 images into [-1, 1].
    """

    def __init__(
        self,
        vae,
        text_encoder,
        tokenizer,
        unet,
        scheduler,
        test_scheduler=None,
        layout_tokenizer: dict | None = None,
        noise_loss: dict | None = None,
        mask_head: dict | None = None,
        perception_loss: dict | None = None,
        grounding_loss: dict | None = None,
        taps: str = "decoder",
        null_text_prob: float = 0.1,
        perception_on_null_text: bool = True,
        noise_offset: float = 0.0,
        lora: dict | None = None,
        dtype: str = "fp32",
        gradient_checkpointing: bool = False,
        cache_latents: bool | str = False,
        channels_last: bool = False,
        compile: bool | dict = False,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if data_preprocessor is None:
            data_preprocessor = dict(type="mmengine.ImgDataPreprocessor", mean=[127.5] * 3, std=[127.5] * 3)
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if (mask_head is None) != (perception_loss is None):
            raise UserError("mask_head and perception_loss come together: give both or neither")
        if dtype not in _AUTOCAST:
            raise UserError(f"dtype must be one of {sorted(_AUTOCAST)}, got {dtype!r}")
        if grounding_loss is not None and (gradient_checkpointing or compile):
            raise UserError(
                "grounding_loss needs the attention of the forward pass: set gradient_checkpointing=False and "
                "compile=False"
            )
        self.vae = build_component(vae, "vae").float().requires_grad_(False).eval()
        self.text_encoder = build_component(text_encoder, "text_encoder").float()  # trained weights: float32
        self.unet = build_component(unet, "unet").float()
        self.scheduler = build_component(scheduler, "scheduler")
        self.test_scheduler = build_sampling_scheduler(test_scheduler, self.scheduler, "test_scheduler")
        layout_tokenizer = settle_layout_config(layout_tokenizer or {}, source_folder(tokenizer))
        self.layout_tokenizer = LayoutTokenizer(build_component(tokenizer, "tokenizer"), **layout_tokenizer)
        extend_text_encoder(self.text_encoder, self.layout_tokenizer)
        if lora is not None:
            add_lora(self.unet, self.text_encoder, self.layout_tokenizer, **lora)
        if gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        if channels_last:
            self.unet.to(memory_format=torch.channels_last)
            self.vae.to(memory_format=torch.channels_last)
        if compile:
            compile_regions(self.unet, **(compile if isinstance(compile, dict) else {}))
        self.noise_loss = MODELS.build(noise_loss or dict(type="NoiseLoss"))
        self.grounding_loss = MODELS.build(grounding_loss) if grounding_loss else None
        self.mask_head = self.perception_loss = None
        if mask_head is not None:
            channels = FeatureTaps(self.unet, taps).channels
            self.mask_head, self.perception_loss = build_branch(mask_head, perception_loss, channels)
        self.taps_mode = taps
        self.null_text_prob, self.perception_on_null_text = null_text_prob, perception_on_null_text
        self.noise_offset = noise_offset
        self.dtype_name = dtype
        self.test_cfg = dict(test_cfg or {})
        self.cache_latents = cache_latents
        self.register_load_state_dict_pre_hook(_fit_text_encoder)

    @property
    def tokenizer(self):
        """The CLIP tokenizer with the added tokens."""
        return self.layout_tokenizer.tokenizer

    @staticmethod
    def writes_attributes(cfg: Mapping) -> bool:
        """Whether prompts of a model of this config have attribute tokens; told without building it."""
        settled = settle_layout_config(cfg.get("layout_tokenizer") or {}, source_folder(cfg.get("tokenizer")))
        return LayoutTokenizer.with_attributes(settled)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the trained weights."""
        return next(self.unet.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def latent_scale(self) -> int:
        """Image pixels a latent cell, 8 for Stable Diffusion."""
        return latent_scale(self.vae)

    def train(self, mode: bool = True):
        super().train(mode)
        self.vae.eval()
        return self

    def _autocast(self):
        dtype = _AUTOCAST[self.dtype_name]
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, C, h, w) of the VAE's posterior; a deterministic VAE has deviation 0."""
        return posterior(self.vae, images)

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) of images (B, 3, H, W) in [-1, 1], sampled from the VAE's posterior."""
        return sample_latents(self.vae, *self.posterior(images))

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) float32 in [0, 1] of scaled latents."""
        return decode(self.vae, latents)

    def encode_prompts(self, input_ids: Tensor) -> Tensor:
        """Text states (B, L, D) of token ids (B, L); each window of ``max_length`` tokens is a prompt of its own."""
        windows = input_ids.to(self.device).reshape(-1, self.layout_tokenizer.max_length)
        return self.text_encoder(windows)[0].reshape(*input_ids.shape, -1)

    def _attention_mask(self, encoded: EncodedLayouts) -> Tensor | None:
        mask = encoded.attention_mask()
        return None if mask is None else mask.to(self.device)

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = "tensor"):
        """Losses of a training batch, or images for the layouts of a batch.

        Args:
            inputs: (B, 3, H, W) images in [-1, 1].
            data_samples: B samples with a ``layout``; for ``loss`` they may bring ``moments`` (2, C, h, w), mean and
                deviation of the VAE's posterior, and ``inputs`` then is not looked at.
            mode: ``loss`` gives a dict of scalars, ``predict`` the samples with ``pred_img`` (3, H, W) in [0, 1] and
                ``prompted``, the indices of the objects that the prompt names, ``tensor`` the latents. A
                prediction's noise depends on the layout's image id alone: equal in every validation, on any rank.
        """
        if mode == "loss":
            layouts = [sample.layout for sample in data_samples]
            if "moments" in data_samples[0]:  # from the cache, in place of the image
                moments = torch.stack([sample.moments for sample in data_samples]).to(inputs.device)
                return self._losses(sample_latents(self.vae, *moments.float().unbind(1)), layouts)
            return self._losses(self.encode_images(inputs), layouts)
        if mode == "predict":
            return predict_batch(self, *inputs.shape[-2:], data_samples)
        if mode == "tensor":
            return self.encode_images(inputs)
        raise UserError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    def _losses(self, latents: Tensor, layouts: list[Layout]) -> dict[str, Tensor]:
        count = len(latents)
        noise = torch.randn_like(latents)
        if self.noise_offset:
            noise = noise + self.noise_offset * torch.randn_like(latents[:, :, :1, :1])
        steps = self.scheduler.config.num_train_timesteps
        timesteps = torch.randint(0, steps, (count,), device=latents.device)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        rng = random.Random(int(torch.randint(2**31, (1,))))
        encoded = self.layout_tokenizer.encode(layouts, rng)
        null = torch.rand(count) < self.null_text_prob
        windows = encoded.input_ids.shape[1] // self.layout_tokenizer.max_length
        null_ids = self.layout_tokenizer.null_ids(count, windows)
        input_ids = torch.where(null[:, None], null_ids, encoded.input_ids)
        layouts = [layout.select(kept) for layout, kept in zip(layouts, encoded.kept)]
        taps = attention = contextlib.nullcontext()
        if self.mask_head is not None:
            taps = FeatureTaps(self.unet, self.taps_mode)
        if self.grounding_loss is not None:
            attention = AttentionTaps(self.unet)
        with self._autocast(), taps, attention:
            prediction = self.unet(
                noisy,
                timesteps,
                encoder_hidden_states=self.encode_prompts(input_ids),
                encoder_attention_mask=self._attention_mask(encoded),
                return_dict=False,
            )[0]
        target = noise_target(self.scheduler, latents, noise, timesteps)
        boxes = [layout.boxes.to(latents.device) for layout in layouts]
        losses = dict(loss_ldm=self.noise_loss(prediction.float(), target, boxes, timesteps, self.scheduler))
        if self.mask_head is not None:
            losses["loss_pa"] = self._perception_loss(taps.features, layouts, boxes, timesteps, null)
        if self.grounding_loss is not None:
            spans = [[] if empty else ranges for ranges, empty in zip(encoded.spans, null.tolist())]
            size = tuple(latents.shape[-2:])
            losses["loss_grounding"] = self.grounding_loss(attention.probabilities, spans, boxes, size)
        return losses

    def _perception_loss(self, features, layouts, boxes, timesteps, null) -> Tensor:
        labels = class_labels(layouts, timesteps.device)
        with self._autocast():
            logits = self.mask_head(features, boxes, labels)
        mask_logits, class_logits = logits if isinstance(logits, tuple) else (logits, None)
        skip = null & (not self.perception_on_null_text)
        masks, labels = masks_to_find(layouts, labels, skip, mask_logits.shape[-2:])
        weights = sqrt_alpha_bar(self.scheduler, timesteps)
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
    ) -> dict:
        """Images for layouts.

        Args:
            layouts: B layouts, or one, with attributes where the tokenizer writes them; any number of objects each.
            height, width: pixels, divisible by :attr:`latent_scale`; default: the UNet's ``sample_size``.
            num_inference_steps: denoising steps.
            guidance_scale: classifier-free guidance.
            generators: B CPU generators; image i depends on generator i alone, with a stochastic scheduler too.
                Default: seeded from torch's global state.

        Returns:
            ``samples`` (B, 3, H, W) float32 in [0, 1], ``kept`` the prompted objects' indices, ``prompts`` texts.

        Raises:
            UserError: no layout, sides that do not divide, or another number of generators than of layouts.
        """
        layouts = [layouts] if isinstance(layouts, Layout) else list(layouts)
        if not layouts:
            raise UserError("infer: there is no layout to draw")
        scale = self.latent_scale
        height, width = check_sides(self, height, width)
        generators = check_generators(layouts, generators)
        encoded = self.layout_tokenizer.encode(layouts)
        null_ids = self.layout_tokenizer.null_ids(1)
        noise = initial_noise((self.unet.config.in_channels, height // scale, width // scale), generators)
        training = self.training
        self.eval()
        try:
            with self._autocast():
                states = self.encode_prompts(encoded.input_ids)
                windows = states.shape[1] // null_ids.shape[1]
                null_states = self.encode_prompts(null_ids).repeat(len(layouts), windows, 1)
                latents = denoise(
                    self.unet,
                    self.test_scheduler,
                    noise.to(self.device),
                    states,
                    null_states,
                    num_inference_steps,
                    guidance_scale,
                    generators,
                    self._attention_mask(encoded),
                )
            images = self.decode_latents(latents)
        finally:
            self.train(training)
        return dict(samples=images, kept=encoded.kept, prompts=encoded.prompts)

    def val_step(self, data: dict) -> list:
        """Images for the layouts of a batch (mmengine's evaluation protocol)."""
        data = self.data_preprocessor(data, False)
        return self.forward(**data, mode="predict")

    test_step = val_step


def _fit_text_encoder(module, state_dict, prefix, *args) -> None:
    """Checkpoints of transformers 4 and 5 load in either."""
    own = {f"{prefix}text_encoder.{name}" for name in module.text_encoder.state_dict()}
    fit_clip_names(state_dict, own, f"{prefix}text_encoder.")
