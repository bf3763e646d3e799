"""Base class of editors that wrap a stock diffusers pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from detdiffusion.structures import Layout
from detdiffusion.utils.checkpoint import check_finite
from detdiffusion.utils.errors import UserError, first_line

from ..detdiffusion.components import build_sampling_scheduler
from ..detdiffusion.latents import latent_sides
from ..detdiffusion.sampler import count_evaluations, initial_noise
from ..interface import check_generators, check_sides, predict_batch

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class CaptionWriter:
    """Writes plain captions that name the objects, which these models take instead of layout tokens.

    Args:
        template: text with ``{objects}``, which is replaced by the comma-separated class names.
    """

    def __init__(self, template: str) -> None:
        if "{objects}" not in template:
            raise UserError(f"caption {template!r} must contain {{objects}}, the place of the class names")
        self.template = template

    def write(self, names: Sequence[str]) -> str:
        """Return the caption of a layout with these class names, each named once."""
        words = dict.fromkeys(name.replace("-", " ") for name in names)
        return self.template.format(objects=", ".join(words))


class PipelineEditor(BaseModel):
    """Base class of the baselines, which generate images but cannot be trained in this project.

    Args:
        pipeline: a diffusers pipeline.
        scheduler: config of another sampling scheduler, built with the betas of the folder's scheduler; None uses
            the folder's scheduler.
        caption: see :class:`CaptionWriter`.
        dtype: dtype of the pipeline, ``fp32``, ``bf16`` or ``fp16``.
        test_cfg: arguments of :meth:`infer` in validation.
        data_preprocessor: default stacks uint8 images.

    Raises:
        UserError: the dtype or scheduler is unknown, or weights are not finite in ``dtype``.
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
            if isinstance(
                part, nn.Module
            ):  # register the pipeline's modules, so that they move with the editor
                setattr(self, name, part.to(_DTYPES[dtype]).requires_grad_(False).eval())
                where = f"{name} of {getattr(part.config, '_name_or_path', '') or 'the pipeline'} as {dtype}"
                check_finite(part.state_dict(), where, "Use other weights, or dtype='fp32' if they overflow.")

    @staticmethod
    def needs_attributes(cfg: Mapping) -> bool:
        """Return False: these models do not use perception-aware attributes."""
        return False

    @property
    def latent_scale(self) -> int:
        """Image pixels per latent cell, 8 for Stable Diffusion."""
        return self.pipeline.vae_scale_factor

    @property
    def image_size(self) -> tuple[int, int]:
        """The pipeline's default height and width in pixels."""
        size = self.pipeline.unet.config.sample_size
        rows, columns = (size, size) if isinstance(size, int) else size
        return rows * self.latent_scale, columns * self.latent_scale

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return channels, rows and columns of an image's latents.

        Raises:
            UserError: ``height`` or ``width`` is not divisible by :attr:`latent_scale`.
        """
        return self.pipeline.unet.config.in_channels, *latent_sides(height, width, self.latent_scale)

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = "predict"):
        """Generate images of the layouts of a batch; only ``mode='predict'`` is supported.

        Raises:
            UserError: the mode is not ``predict``.
        """
        if mode != "predict":
            raise UserError(f"{type(self).__name__} supports mode='predict' only: train it with its own code")
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
        """Generate images of layouts; attributes of the layouts are not used.

        Args and returns: see :class:`~detdiffusion.models.editors.interface.LayoutEditor`.

        Raises:
            UserError: a side is not divisible by the latent scale, or a layout has no objects.
        """
        height, width = check_sides(self, height, width)
        generators = check_generators(layouts, generators)
        for layout in layouts:
            if not len(layout):
                raise UserError(f"the layout of image {layout.image_id} has no objects: nothing to generate")
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

    def evaluations(self, **sampling) -> int:
        """Return how often the network is evaluated for an image with these arguments of :meth:`infer`."""
        return count_evaluations(self.pipeline.scheduler, **sampling)

    def choose(self, layout: Layout) -> list[int]:
        """Return the indices of the objects that the model uses, by default all."""
        return list(range(len(layout)))

    def draw(
        self,
        layouts: Sequence[Layout],
        prompts: Sequence[str],
        noise: Tensor,
        options: dict,
        generators: Sequence[torch.Generator] | None,
    ) -> Tensor:
        """Generate (B, 3, H, W) images in [0, 1].

        Args:
            layouts: layouts of the objects that :meth:`choose` returned.
            prompts: their captions.
            noise: (B, C, h, w) standard normal.
            options: steps, guidance scale, size and output type, passed to the pipeline.
            generators: random generators for schedulers that add noise in each step.
        """
        raise NotImplementedError

    def val_step(self, data: dict) -> list:
        """Generate images of the layouts of a batch (mmengine's evaluation protocol)."""
        return self.forward(**self.data_preprocessor(data, False), mode="predict")

    test_step = val_step


def load_folder(class_name: str, folder: str, expected: str, **kwargs):
    """Load a diffusers pipeline or model from a local folder.

    Args:
        class_name: name of a class that diffusers exports.
        folder: folder written by ``save_pretrained``.
        expected: description of the folder, for error messages.
        **kwargs: arguments of ``from_pretrained``.

    Raises:
        UserError: the folder does not exist, or cannot be loaded as ``class_name``.
    """
    import diffusers

    if not Path(folder).is_dir():
        raise UserError(
            f"no folder {str(folder)!r}; it should be {expected}. Nothing is downloaded: download it first"
        )
    try:
        return getattr(diffusers, class_name).from_pretrained(str(folder), local_files_only=True, **kwargs)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = first_line(error)
        raise UserError(
            f"cannot load {class_name} from {str(folder)!r}: {reason}. It should be {expected}"
        ) from error
