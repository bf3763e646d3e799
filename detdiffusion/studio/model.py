"""The models behind the page: a generator, and a detector that looks at its images."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.generation.generate import generate
from detdiffusion.generation.identity import noise_seed, rng_of, synthetic_file_name, synthetic_image_id
from detdiffusion.generation.options import GeneratorOptions, SamplingOptions
from detdiffusion.generation.planning import Drawing
from detdiffusion.generation.strategies import build_strategy
from detdiffusion.models.editors.interface import draw
from detdiffusion.utils.array_cache import digest_of

from .detections import ImageInspector
from .request import ImageRequest, read_request


@dataclass
class StudioImage:
    """A generated image.

    Attributes:
        column: the strategy of its attributes.
        pixels: (H, W, 3) uint8 RGB.
        record, annotations, extra: what :meth:`~detdiffusion.generation.writer.CocoWriter.add` takes; category ids
            are indices of the request's objects.
        names: class names of the request's objects.
        request: the request that it answers, as json values.
        detections: what a detector finds, see :meth:`.detections.ImageInspector.look`; None without one.
    """

    column: str
    pixels: np.ndarray
    record: dict
    annotations: list[dict]
    extra: dict
    names: list[str]
    request: dict
    detections: dict | None = field(default=None)


class StudioModel:
    """Generates the images of a request.

    Args:
        options: the generator.
        inspector: the detector; None: without detections.

    Attributes:
        inferencer: the loaded generator.
        words: its attributes, easiest first, ``background`` last; empty for a model without attributes.
        trained_attributes: whether its weights were trained with them; a checkpoint is taken to be.
        classes: classes that it was trained with; empty if its checkpoint does not tell.
        image_size: (height, width) of its images in pixels.
        plan: the config's sampling plan, of which a request changes steps and guidance scale.

    Raises:
        UserError: see :class:`~detdiffusion.apis.DetDiffusionInferencer`.
    """

    def __init__(self, options: GeneratorOptions, inspector: ImageInspector | None = None) -> None:
        self.inferencer = DetDiffusionInferencer(
            options.config, options.checkpoint, options.device, options.cfg_options
        )
        self.inspector = inspector
        model = self.inferencer.model
        self.words = self.inferencer.attribute_words
        new = self.words and options.checkpoint is None and model.layout_tokenizer.added["attribute"]
        self.trained_attributes = bool(self.words) and not new
        self.classes = tuple(self.inferencer.classes)
        self.image_size: tuple[int, int] = model.image_size
        self.plan = SamplingOptions().settle(self.inferencer.config.get("sampling"), options.config)
        self._reports_steps = "on_step" in inspect.signature(model.infer).parameters

    def read_request(self, data: object) -> ImageRequest:
        """Check the json of a page, see :func:`.request.read_request`."""
        return read_request(data, self.words, self.classes)

    def generate(
        self, request: ImageRequest, on_step: Callable[[int, int], None] | None = None
    ) -> list[StudioImage]:
        """Generate the images of all columns from the same noise.

        The noise depends on the seed only, and for a layout of a file on its image id too, as that of
        ``tools/generate.py``.

        Args:
            request: the layout and its columns.
            on_step: called with the number of denoising steps done and of all steps; may raise to stop.

        Raises:
            UserError: the model cannot generate images of the layout.
        """
        drawings = self._drawings(request)
        found: list[StudioImage] = []
        sampling = replace(self.plan, steps=request.steps, guidance_scale=request.guidance_scale)
        steps = {}
        if self._reports_steps and on_step is not None:
            # second-order schedulers evaluate the network more often
            steps["on_step"] = lambda done: on_step(done, max(done, request.steps))

        def infer(layouts, generators) -> dict:
            return draw(
                self.inferencer.model,
                layouts,
                generators=generators,
                **sampling.arguments(),
                **steps,
            )

        def add(image, record, annotations, extra) -> None:
            names, plain = request.layout.names, request.to_dict()
            found.append(StudioImage(record["strategy"], image, record, annotations, extra, names, plain))

        generate(infer, [drawings], set(), add)
        if self.inspector is not None:
            for image, detections in zip(found, self.inspector.look(found)):
                image.detections = detections
        return found

    def _drawings(self, request: ImageRequest) -> list[Drawing]:
        layout, seed = request.layout, request.seed
        digest = digest_of(request.to_dict() | dict(columns=None))[:10]
        drawings = []
        for column in request.columns:
            strategy = build_strategy(column, levels=self.words[:-1] or ("easy", "hard"))
            variant = f"{column}-{digest}"
            drawings.append(
                Drawing(
                    layout=strategy(layout, rng_of("strategy", layout.image_id, 0, seed)),
                    image_id=synthetic_image_id(layout.image_id, variant, 0, seed),
                    file_name=synthetic_file_name(layout.image_id, variant, 0, seed),
                    noise_seed=noise_seed(request.source or 0, 0, seed),
                    strategy=column,
                    seed=seed,
                    sample_index=0,
                )
            )
        return drawings
