"""The interface of layout-to-image models that generation and evaluation rely on."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.numbers import is_number


@dataclass(frozen=True)
class RealImages:
    """Real images that generation starts from, instead of noise alone.

    Attributes:
        images: (B, 3, H, W) float32 in [-1, 1].
        strength: share of the denoising steps that are run, in [0, 1], as in diffusers' image-to-image pipelines: 1
            starts from almost pure noise; 0 only encodes and decodes the images.
        keep: (B, 1, H, W) bool, True for pixels of ``images`` that stay as they are; None changes all pixels.

    Raises:
        UserError: ``strength`` is not in [0, 1], or the shapes differ.
    """

    images: Tensor
    strength: float = 1.0
    keep: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UserError(f"`strength` must be between 0 and 1, got {self.strength}")
        expected = (len(self.images), 1, *self.images.shape[-2:])
        if self.keep is not None and tuple(self.keep.shape) != expected:
            raise UserError(f"`keep` must have the shape {expected}, got {tuple(self.keep.shape)}")


class LayoutEditor(Protocol):
    """A registered model that generates images of layouts, for ``tools/generate.py`` and the validation metrics.

    Attributes:
        image_size: default height and width in pixels of generated images.
        test_cfg: arguments of :meth:`infer` in validation.
    """

    image_size: tuple[int, int]
    test_cfg: dict

    @staticmethod
    def needs_attributes(cfg: Mapping) -> bool:
        """Return whether a model with this config needs layouts with attributes, without building the model."""

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return channels, rows and columns of an image's latents; raise a UserError for unsupported sizes."""

    def infer(
        self,
        layouts: Sequence[Layout],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.5,
        generators: Sequence[torch.Generator] | None = None,
        real: RealImages | None = None,
    ) -> dict:
        """Generate images; image i depends on ``layouts[i]``, ``generators[i]`` and ``real.images[i]`` only.

        Further arguments are optional: a model whose ``infer`` has ``schedule``, ``guidance_interval`` or
        ``guidance_rescale`` takes these options of ``tools/generate.py``; for other models they are refused. With
        ``on_step``, called with the number of denoising steps done after each, ``tools/studio.py`` shows progress and
        can cancel.

        Returns:
            ``samples`` (B, 3, H, W) float32 in [0, 1]; ``kept``, for each layout the indices of the objects that were
            used; and ``prompts``, the prompts as text.
        """

    def evaluations(self, **sampling) -> int:
        """Return how often the network is evaluated for an image with these arguments of :meth:`infer`.

        Only a comparison of sampling plans needs it.
        """


def check_sides(editor: LayoutEditor, height: int | None, width: int | None) -> tuple[int, int]:
    """Return height and width in pixels, replacing None by the model's default.

    Raises:
        UserError: the model cannot generate images of this size.
    """
    default_height, default_width = editor.image_size
    height = default_height if height is None else height
    width = default_width if width is None else width
    editor.latent_shape(height, width)
    return height, width


def check_generators(
    layouts: Sequence[Layout], generators: Sequence[torch.Generator] | None
) -> list[torch.Generator]:
    """Return one CPU generator per layout, seeded from torch's global random state if ``generators`` is None.

    Raises:
        UserError: the numbers of generators and layouts differ.
    """
    if generators is None:
        return [torch.Generator().manual_seed(int(torch.randint(2**62, (1,)))) for _ in layouts]
    if len(generators) != len(layouts):
        raise UserError(f"{len(layouts)} layouts need {len(layouts)} generators, got {len(generators)}")
    return list(generators)


def draw(editor: LayoutEditor, layouts: Layout | Sequence[Layout], *sides: int | None, **options) -> dict:
    """Call the editor's ``infer`` and check that all pixels are finite; all generation goes through this function.

    Args:
        editor: the model.
        layouts: one or more layouts.
        *sides: height and width in pixels.
        **options: arguments of ``infer``.

    Returns:
        The result of ``infer``.

    Raises:
        UserError: the number of steps or the guidance scale is not valid, the model's ``infer`` has no argument for an
            option, or pixels are NaN or infinite (the message names the image ids).
    """
    layouts = [layouts] if isinstance(layouts, Layout) else layouts
    steps, scale = options.get("num_inference_steps", 1), options.get("guidance_scale", 1)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UserError(f"`num_inference_steps` must be a whole number of at least 1, it is {steps!r}")
    if not is_number(scale):
        raise UserError(f"`guidance_scale` must be a finite number, it is {scale!r}")
    check_accepted(editor, options)
    result = editor.infer(layouts, *sides, **options)
    finite = result["samples"].isfinite().flatten(1).all(dim=1).tolist()
    failed = [layout.image_id for layout, is_finite in zip(layouts, finite) if not is_finite]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(finite)} images came out with NaN or infinite pixels (layouts of image id "
            f"{some(failed)}) because of an overflow. Set model.dtype='fp32' (--cfg-options "
            "model.dtype=fp32), or use weights of a training that did not diverge"
        )
    return result


def check_accepted(editor: LayoutEditor, options: Mapping) -> None:
    """Check that the editor's ``infer`` has an argument for every option.

    Raises:
        UserError: it lacks one.
    """
    accepted = inspect.signature(editor.infer).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        return
    for name in options:
        if name == "real" and name not in accepted:
            raise UserError(f"{type(editor).__name__} cannot start from real images: leave out `from_real`")
        if name not in accepted:
            raise UserError(f"`{name}`: the model {type(editor).__name__} does not have this option")


def predict_batch(editor: LayoutEditor, height: int, width: int, data_samples: Sequence) -> Sequence:
    """Generate a validation batch: set ``pred_img`` (3, H, W) in [0, 1] and ``prompted`` in every sample.

    The noise depends on the layout's image id only, so it is the same in every validation and on every rank.

    Args:
        editor: the model.
        height, width: size of the images in pixels.
        data_samples: samples with a ``layout``.

    Raises:
        UserError: see :func:`draw`.
    """
    layouts = [sample.layout for sample in data_samples]
    generators = None
    if all(layout.image_id is not None for layout in layouts):
        generators = [torch.Generator().manual_seed(layout.image_id) for layout in layouts]
    drawn = draw(editor, layouts, height, width, generators=generators, **editor.test_cfg)
    for sample, image, kept in zip(data_samples, drawn["samples"], drawn["kept"]):
        sample.set_data(dict(pred_img=image, prompted=kept))
    return data_samples
