"""Inference with a trained generator, from its config and checkpoint."""

from __future__ import annotations

import difflib
import inspect
import numbers
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.infer import BaseInferencer

from detdiffusion.datasets.class_names import similar
from detdiffusion.generation.strategies import build_strategy
from detdiffusion.models.editors.detdiffusion.components import source_folder
from detdiffusion.models.editors.detdiffusion.layout_config import folder_classes
from detdiffusion.models.editors.interface import check_accepted, check_sides, draw
from detdiffusion.models.editors.lookup import editor_class
from detdiffusion.structures import GeneratedImages, Layout
from detdiffusion.utils.config import config_errors, load_config
from detdiffusion.utils.devices import choose_device
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.sampling_plan import SamplingPlan, read_plan

if TYPE_CHECKING:
    from mmengine.config import Config
    from PIL import Image

TRAINING_ONLY = ("mask_head.", "perception_loss.")
"""Prefixes of the names of weights that are not used in inference."""


class DetDiffusionInferencer(BaseInferencer):
    """Builds the editor of a config and generates images of layouts with it.

    Args:
        config: path (or ``package::file.py``) of a generator's config, or the parsed config.
        checkpoint: checkpoint saved by ``tools/train.py`` (its ``state_dict`` holds the EMA weights if the config
            uses EMA), or None to use the weights that the config names by ``from_pretrained``.
        device: torch device; None uses CUDA if it is available.
        cfg_options: ``key=value`` overrides of the config, only if ``config`` is a path.

    Attributes:
        config: the parsed config.
        model: the editor, in evaluation mode.
        classes: names of the classes that the model was trained with; empty if its weights do not tell.
        attribute_words: the attributes that it was trained with, easiest first; empty without attributes.

    Raises:
        UserError: config or checkpoint is missing or damaged, the checkpoint does not match the config, or
            ``cfg_options`` are given for a parsed config.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        cfg_options: Sequence[str] | None = None,
    ) -> None:
        self.device = choose_device(device)  # checked before the model is loaded
        parsed = not isinstance(config, (str, Path))
        if parsed and cfg_options:
            raise UserError("cfg_options require a config's path; merge them into the parsed config yourself")
        self.config = config if parsed else load_config(str(config), cfg_options)
        needs_attributes = editor_class(self.config).needs_attributes(self.config.model)
        super().__init__(self.config, checkpoint, self.device, scope="detdiffusion", show_progress=False)
        tokenizer = getattr(self.model, "layout_tokenizer", None) if needs_attributes else None
        self.attribute_words: tuple[str, ...] = getattr(tokenizer, "attribute_words", ())

    def __call__(
        self,
        inputs: Layout | Sequence[Layout],
        generators: Sequence[torch.Generator] | None = None,
        *,
        seed: int | Sequence[int] | None = None,
        batch_size: int = 8,
        show: bool = False,
        out_dir: str | Path | None = None,
        return_vis: bool = False,
        plan: str | SamplingPlan | None = None,
        **sampling,
    ) -> GeneratedImages:
        """Generate images of layouts.

        Args:
            inputs: one layout or a list of layouts.
            generators: a CPU random generator for each layout, instead of ``seed``.
            seed: seed of the noise. Layout i uses ``seed + i``, or the i-th of several seeds; None uses torch's global
                random state. The image of a layout depends on its own seed only.
            batch_size: number of images that are generated at once.
            show: open the images, with their boxes, in the system's viewer.
            out_dir: folder to save the images to, see :meth:`GeneratedImages.save`.
            return_vis: whether the result has the images with their boxes under ``visualization``.
            plan: a sampling plan: ``paper``, ``fast``, settings such as ``steps=20,schedule=ays``, or both, see
                :func:`detdiffusion.utils.sampling_plan.read_plan`. None: the defaults of the editor's ``infer``, 50
                steps and guidance 3.5; unlike ``tools/generate.py``, the config's ``sampling`` is not used.
            **sampling: arguments of the editor's ``infer``, which beat the plan: ``height`` and ``width`` in pixels,
                ``num_inference_steps``, ``guidance_scale``, ``schedule``, ``guidance_interval`` and
                ``guidance_rescale`` (see :class:`detdiffusion.utils.sampling_plan.SamplingPlan`).

        Raises:
            UserError: an argument is not valid, a class or attribute is unknown to the model, the model does not have
                the plan, or images have NaN or infinite pixels.
        """
        layouts = self._inputs_to_list(inputs)
        for index, layout in enumerate(layouts):
            self._check_classes(layout, index)
            self._check_attributes(layout, index)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"`batch_size` must be a whole number of at least 1, it is {batch_size!r}")
        if plan is not None:
            settings = read_plan(str(plan)).arguments()  # the text of a SamplingPlan is one that this reads
            check_accepted(self.model, settings)
            sampling = {**settings, **sampling}
        self._check_sampling(sampling)
        seeds = _seeds(seed, len(layouts))
        if seeds and generators is not None:
            raise UserError("give `seed` or `generators`, not both")
        if seeds:
            generators = [torch.Generator().manual_seed(number) for number in seeds]
        if generators is not None and len(generators) != len(layouts):
            raise UserError(f"{len(layouts)} layouts need {len(layouts)} generators, got {len(generators)}")
        batches = self.preprocess(layouts, batch_size, generators)
        preds = [self.forward(batch, **sampling) for batch in batches]
        result = self.postprocess(preds, layouts, seeds)
        if show or return_vis:
            result["visualization"] = self.visualize(layouts, result, show)
        if out_dir is not None:
            result.save(out_dir)
        return result

    def compare(
        self,
        inputs: Layout | Sequence[Layout],
        attributes: Sequence[str] = ("easy", "hard"),
        seed: int | Sequence[int] = 0,
        boxes: bool = True,
        **options,
    ) -> Image.Image:
        """Generate images that differ in the attributes of their objects only, from the same noise.

        Args:
            inputs: one or more layouts, one row each. Objects whose attribute is ``background`` keep it.
            attributes: attributes for all other objects, or names of strategies (``origin``, ``flip``, ``mix``), one
                column each.
            seed: see :meth:`__call__`.
            boxes: draw the boxes on the images; hard objects are marked by ``!``.
            **options: other arguments of :meth:`__call__`.

        Returns:
            A sheet with the attributes above the columns.

        Raises:
            UserError: as for :meth:`__call__`; an attribute is unknown, or the model has none.
        """
        from detdiffusion.visualization.layout_sheets import layout_sheet

        if not self.attribute_words:
            raise UserError(
                "`attributes`: the model was trained without attributes, its images do not depend on them"
            )
        if isinstance(attributes, str) or not attributes:
            raise UserError(f"`attributes` must be a list like ['easy', 'hard'], it is {attributes!r}")
        layouts = self._inputs_to_list(inputs)
        nameable = {name for layout in layouts for name in layout.names}
        columns = {}
        for word in dict.fromkeys(attributes):
            strategy = build_strategy(word, nameable, self.attribute_words[:-1])
            changed = [strategy(layout, random.Random(index)) for index, layout in enumerate(layouts)]
            columns[word] = (changed, self(changed, seed=seed, **options))
        return layout_sheet(columns, boxes)

    def preprocess(
        self, inputs: list, batch_size: int = 1, generators: Sequence[torch.Generator] | None = None
    ) -> Iterator[tuple[list[Layout], list[torch.Generator] | None]]:
        """Yield the layouts in batches, with the generators of their noise."""
        for start in range(0, len(inputs), batch_size):
            part = slice(start, start + batch_size)
            yield inputs[part], None if generators is None else list(generators[part])

    def forward(self, inputs: tuple[Sequence[Layout], Sequence[torch.Generator] | None], **sampling) -> dict:
        """Generate one batch; return the result of the editor's ``infer``."""
        layouts, generators = inputs
        return draw(self.model, layouts, generators=generators, **sampling)

    def visualize(self, inputs: list, preds: GeneratedImages, show: bool = False) -> list[Image.Image]:
        """Return the images with the boxes of the objects in their prompts."""
        from detdiffusion.visualization.layout_sheets import draw_layout

        pictures = [
            draw_layout(image, layout.select(kept))
            for image, layout, kept in zip(preds.images, inputs, preds["kept"])
        ]
        for picture in pictures if show else ():
            picture.show()
        return pictures

    def postprocess(
        self, preds: list[dict], inputs: list[Layout], seeds: Sequence[int] | None = None
    ) -> GeneratedImages:
        """Return the results of all batches as one."""
        return GeneratedImages.collect(preds, inputs, seeds)

    def _init_model(self, cfg: Config, weights: str | Path | None, device: torch.device) -> torch.nn.Module:
        from detdiffusion.registry import MODELS
        from detdiffusion.utils.checkpoint import load_checkpoint, load_strictly, stored_classes

        stored = None if weights is None else load_checkpoint(weights)
        with config_errors(cfg.filename):
            model = MODELS.build(cfg.model)
        if stored is None:
            self.classes = folder_classes(source_folder(cfg.model.get("tokenizer")))
        else:
            # the mask head is not used in inference
            load_strictly(model, stored, f"{cfg.filename}: checkpoint {weights}", ignore=TRAINING_ONLY)
            self.classes = stored_classes(stored, f"checkpoint {weights}")
        return model.to(device).eval()

    def _init_pipeline(self, cfg: Config) -> None:
        return None  # layouts go to the model as they are

    def _init_collate(self, cfg: Config) -> None:
        return None

    def _init_visualizer(self, cfg: Config) -> None:
        return None  # the config's reports to the trackers of its training

    def _inputs_to_list(self, inputs: Layout | Sequence[Layout]) -> list[Layout]:
        """Return the layouts as a list after checking their types."""
        layouts = [inputs] if isinstance(inputs, Layout) else inputs
        if not isinstance(layouts, (list, tuple)) or not layouts:
            raise UserError(f"`inputs` must be a Layout or a list of them, got {inputs!r:.80}")
        for index, layout in enumerate(layouts):
            if not isinstance(layout, Layout):
                raise UserError(f"`inputs`[{index}] must be a Layout, got {layout!r:.80}")
        return list(layouts)

    def _check_classes(self, layout: Layout, index: int) -> None:
        known = {name.replace("-", " ") for name in self.classes}
        for name in layout.names:
            if known and name.replace("-", " ") not in known:
                raise UserError(
                    f"layout {index}: the model does not know the class {name!r}; {similar(name, self.classes)}"
                )

    def _check_attributes(self, layout: Layout, index: int) -> None:
        words = self.attribute_words
        if words and layout.attributes is None:
            raise UserError(
                f"layout {index} has no attributes; the model needs one of {', '.join(words)} per object"
            )
        for word in layout.attributes or () if words else ():
            if word not in words:
                near = difflib.get_close_matches(word, words, n=1)
                hint = f", did you mean {near[0]}?" if near else ";"
                raise UserError(f"layout {index}: unknown attribute {word!r}{hint} known: {', '.join(words)}")

    def _check_sampling(self, sampling: Mapping) -> None:
        """Check the names of sampling options and the size; the other values are checked by :func:`draw`."""
        known = [
            n
            for n in inspect.signature(self.model.infer).parameters
            if n not in ("layouts", "generators", "real")
        ]
        for name in sampling:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise UserError(f"unknown argument `{name}`; {hint}known: {', '.join(known)}")
        check_sides(self.model, sampling.get("height"), sampling.get("width"))


def _seeds(seed: int | Sequence[int] | None, count: int) -> list[int] | None:
    """Return one seed for each layout, or None."""
    if seed is None:
        return None
    if isinstance(seed, numbers.Integral):
        seeds = [seed + index for index in range(count)]
    else:
        seeds = list(seed) if isinstance(seed, Iterable) else []
    if len(seeds) != count or not all(isinstance(number, numbers.Integral) for number in seeds):
        raise UserError(
            f"`seed` must be a whole number, or {count} of them, one for each layout; it is {seed!r}"
        )
    return [int(number) for number in seeds]
