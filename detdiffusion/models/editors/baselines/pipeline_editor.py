"""A stock diffusers pipeline as an editor: its folder, its parts as modules, and noise from our generators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from detdiffusion.structures import Layout
from detdiffusion.utils.checkpoint import check_finite
from detdiffusion.utils.errors import UserError

from ..detdiffusion.components import build_sampling_scheduler
from ..detdiffusion.latents import latent_sides
from ..detdiffusion.sampler import initial_noise
from ..interface import check_generators, check_sides, predict_batch

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class CaptionWriter:
    """A plain caption that names the objects: what these models take in place of layout tokens.

    Args:
        template: with ``{objects}``, which becomes the class names, comma between.
    """

    def __init__(self, template: str) -> None:
        if "{objects}" not in template:
            raise UserError(f"caption {template!r}: it needs {{objects}}, where the class names go")
        self.template = template

    def write(self, names: Sequence[str]) -> str:
        """The caption of a layout with these class names, each once."""
        words = dict.fromkeys(name.replace("-", " ") for name in names)
        return self.template.format(objects=", ".join(words))


class PipelineEditor(BaseModel):
    """The base of both baselines: draws layouts, is not trained here.

    Args:
        pipeline: a diffusers pipeline.
        scheduler: config of another sampling scheduler; it takes the folder's betas. None keeps the folder's.
        caption: see :class:`CaptionWriter`.
        dtype: ``fp32``, ``bf16`` or ``fp16``: of the whole pipeline.
        test_cfg: arguments of :meth:`infer` for validation.
        data_preprocessor: default stacks uint8 images.

    Raises:
        UserError: another dtype, an unknown scheduler, or weights that are not finite in ``dtype``.
    """

    def __init__(
        self,
        pipeline,
        scheduler: dict | None = None,
        caption: str = "An image with {objects}",
        dtype: str = "fp32",
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor or dict(type="mmengine.ImgDataPreprocessor"))
        if dtype not in _DTYPES:
            raise UserError(f"dtype must be one of {sorted(_DTYPES)}, got {dtype!r}")
        if scheduler is not None:
            pipeline.scheduler = build_sampling_scheduler(scheduler, pipeline.scheduler, "scheduler")
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline, self.dtype_name, self.test_cfg = pipeline, dtype, dict(test_cfg or {})
        self.caption = CaptionWriter(caption)
        for name, part in pipeline.components.items():
            if isinstance(part, nn.Module):  # the same objects: moving the editor moves the pipeline
                setattr(self, name, part.to(_DTYPES[dtype]).requires_grad_(False).eval())
                where = f"{name} of {getattr(part.config, '_name_or_path', '') or 'the pipeline'} as {dtype}"
                check_finite(
                    part.state_dict(), where, "Take other weights, or dtype='fp32' if they overflow."
                )

    @staticmethod
    def needs_attributes(cfg: Mapping) -> bool:
        """No: perception-aware attributes mean nothing to these models."""
        return False

    @property
    def latent_scale(self) -> int:
        """Image pixels a latent cell, 8 for Stable Diffusion."""
        return self.pipeline.vae_scale_factor

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels, as the pipeline chooses them."""
        size = self.pipeline.unet.config.sample_size
        rows, columns = (size, size) if isinstance(size, int) else size
        return rows * self.latent_scale, columns * self.latent_scale

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Channels, rows and columns of an image's latents.

        Raises:
            UserError: sides in pixels that do not divide by :attr:`latent_scale`.
        """
        return self.pipeline.unet.config.in_channels, *latent_sides(height, width, self.latent_scale)

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = "predict"):
        """Images for the layouts of a batch (``predict``); there is nothing to train.

        Raises:
            UserError: another mode.
        """
        if mode != "predict":
            raise UserError(f"{type(self).__name__} only draws (mode='predict'): train it with its own code")
        return predict_batch(self, *inputs.shape[-2:], data_samples)

    @torch.no_grad()
    def infer(
        self,
        layouts: Sequence[Layout],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.5,
        generators: Sequence[torch.Generator] | None = None,
    ) -> dict:
        """Images for layouts; attributes of the layouts are not used.

        Args and returns: see :class:`~detdiffusion.models.editors.interface.LayoutEditor`.

        Raises:
            UserError: sides that do not divide by the latent scale, or a layout without objects.
        """
        height, width = check_sides(self, height, width)
        generators = check_generators(layouts, generators)
        for layout in layouts:
            if not len(layout):
                raise UserError(f"the layout of image {layout.image_id} has no objects: nothing to draw")
        noise = initial_noise(self.latent_shape(height, width), generators)
        kept = [self.choose(layout) for layout in layouts]
        chosen = [layout.select(indices) for layout, indices in zip(layouts, kept)]
        prompts = [self.caption.write(layout.names) for layout in chosen]
        options = dict(
            num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, output_type="pt"
        )
        options.update(height=height, width=width)
        images = self.draw(chosen, prompts, noise.to(_DTYPES[self.dtype_name]), options, generators)
        return dict(samples=images.float().clamp(0, 1), kept=kept, prompts=prompts)

    def choose(self, layout: Layout) -> list[int]:
        """Indices of the objects that the model can take; all of them."""
        return list(range(len(layout)))

    def draw(
        self,
        layouts: Sequence[Layout],
        prompts: Sequence[str],
        noise: Tensor,
        options: dict,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        """(B, 3, H, W) images in [0, 1].

        Args:
            layouts: the objects to draw.
            prompts: their captions.
            noise: (B, C, h, w) standard normal.
            options: steps, guidance, sides and output type, for the pipeline's call.
            generators: of schedulers that add noise on the way.
        """
        raise NotImplementedError

    def val_step(self, data: dict) -> list:
        """Images for the layouts of a batch (mmengine's evaluation protocol)."""
        return self.forward(**self.data_preprocessor(data, False), mode="predict")

    test_step = val_step


def load_folder(class_name: str, folder: str, what: str, **kwargs):
    """A diffusers pipeline or model of a local folder.

    Args:
        class_name: top-level name of diffusers.
        folder: written by ``save_pretrained``.
        what: describes the folder, for the message.
        **kwargs: of ``from_pretrained``.

    Raises:
        UserError: no such folder, or one of something else.
    """
    import diffusers

    if not Path(folder).is_dir():
        raise UserError(
            f"no folder {str(folder)!r}; it should be {what}. Nothing is downloaded: fetch it first"
        )
    try:
        return getattr(diffusers, class_name).from_pretrained(str(folder), local_files_only=True, **kwargs)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"cannot load {class_name} from {str(folder)!r}: {reason}. It should be {what}"
        ) from error
