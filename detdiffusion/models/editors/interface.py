"""What a layout-to-image model is to the rest of the library: the part that generation and evaluation rely on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError, some


class LayoutEditor(Protocol):
    """A registered model that draws layouts; ``tools/generate.py`` and the validation metrics take any.

    Attributes:
        image_size: height and width in pixels of an image that is not told otherwise.
        test_cfg: arguments of :meth:`infer` for validation.
    """

    image_size: tuple[int, int]
    test_cfg: dict

    @staticmethod
    def needs_attributes(cfg: Mapping) -> bool:
        """Whether a model of this config wants layouts with attributes; told without building it."""

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Channels, rows and columns of an image's latents; a UserError for sides that the model cannot draw."""

    def infer(
        self,
        layouts: Sequence[Layout],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.5,
        generators: Sequence[torch.Generator] | None = None,
    ) -> dict:
        """``samples`` (B, 3, H, W) float32 in [0, 1], ``kept`` lists of the drawn objects' indices, ``prompts`` texts.

        Image i depends on ``layouts[i]`` and ``generators[i]`` alone.
        """


def check_sides(editor: LayoutEditor, height: int | None, width: int | None) -> tuple[int, int]:
    """Height and width in pixels; where None, the model's own.

    Raises:
        UserError: sides that the model cannot draw.
    """
    own_height, own_width = editor.image_size
    height = own_height if height is None else height
    width = own_width if width is None else width
    editor.latent_shape(height, width)
    return height, width


def check_generators(
    layouts: Sequence[Layout], generators: Sequence[torch.Generator] | None
) -> list[torch.Generator]:
    """One CPU generator a layout; where None, seeded from torch's global state.

    Raises:
        UserError: another number of generators than of layouts.
    """
    if generators is None:
        return [torch.Generator().manual_seed(int(torch.randint(2**62, (1,)))) for _ in layouts]
    if len(generators) != len(layouts):
        raise UserError(f"{len(layouts)} layouts need as many generators, got {len(generators)}")
    return list(generators)


def draw(editor: LayoutEditor, layouts: Layout | Sequence[Layout], *sides: int | None, **options) -> dict:
    """What the editor's ``infer`` gives, where every image is one: the way that all drawing goes.

    Args:
        editor: the model.
        layouts: one or more to draw.
        *sides: height and width in pixels.
        **options: of ``infer``.

    Raises:
        UserError: images with NaN or infinite pixels, with the layouts' image ids.
    """
    layouts = [layouts] if isinstance(layouts, Layout) else layouts
    drawn = editor.infer(layouts, *sides, **options)
    sound = drawn["samples"].isfinite().flatten(1).all(dim=1).tolist()
    spoilt = [layout.image_id for layout, whole in zip(layouts, sound) if not whole]
    if spoilt:
        raise UserError(
            f"{len(spoilt)} of {len(sound)} images came out with NaN or infinite pixels (layouts of image id "
            f"{some(spoilt)}): the numbers overflow on the way. Set model.dtype='fp32' (--cfg-options "
            "model.dtype=fp32), or take weights of a training that did not diverge"
        )
    return drawn


def predict_batch(editor: LayoutEditor, height: int, width: int, data_samples: Sequence) -> Sequence:
    """Draws a validation batch: ``pred_img`` (3, H, W) in [0, 1] and ``prompted`` into every sample.

    The noise depends on the layout's image id alone: equal in every validation, on any rank.

    Args:
        editor: the model.
        height, width: of the images.
        data_samples: each with a ``layout``.

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
