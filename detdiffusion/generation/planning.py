"""Planning of a set: the images to generate, their batches, and their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from .edits import EditLog, LayoutEdits
from .identity import (
    check_unique,
    noise_seed,
    rng_of,
    synthetic_annotation_id,
    synthetic_file_name,
    synthetic_image_id,
)


@dataclass
class Drawing:
    """One image to generate: a layout with the strategy's attributes, and the identity of its image.

    ``edits`` is the name of the layout's edits ('' for none), ``log`` their log, ``real`` how it starts from a real
    image ('' for none), ``size`` height and width in pixels; None is the model's.
    """

    layout: Layout
    image_id: int
    file_name: str
    noise_seed: int
    strategy: str
    seed: int
    sample_index: int
    edits: str = ""
    log: EditLog | None = None
    real: str = ""
    size: tuple[int, int] | None = None


def plan(
    layouts: Sequence[Layout],
    strategy: Callable[..., Layout],
    seed: int,
    samples_per_image: int | Sequence[int] = 1,
    edits: LayoutEdits | None = None,
    suffix: str = ".png",
    real: str = "",
) -> list[Drawing]:
    """Return all images of a set; the first sample of every layout comes before any second sample.

    Args:
        layouts: layouts with ``image_id``, ``ids`` and ``category_ids`` of the source.
        strategy: see :mod:`detdiffusion.generation.strategies`.
        seed: part of every id and of every noise seed.
        samples_per_image: images per layout, or one number for each layout.
        edits: applied separately to each sample of a layout, before the strategy; their name is part of the ids.
        suffix: suffix of the file names, '.png' or '.jpg'.
        real: see :func:`.real_images.real_name`; part of the ids.

    Raises:
        UserError: the strategy fails for a layout, or two images or two annotations would get the same id.
    """
    counts = [samples_per_image] * len(layouts) if isinstance(samples_per_image, int) else samples_per_image
    variant = "_".join(filter(None, (strategy.name, edits.name if edits else "", real)))
    drawings = []
    for sample in range(max(counts, default=0)):
        for layout, count in zip(layouts, counts):
            if sample >= count:
                continue
            source, log = layout.image_id, None
            if edits:
                layout, log = edits(layout, rng_of("edit", source, sample, seed))
            drawings.append(
                Drawing(
                    layout=_attributed(strategy, layout, rng_of("strategy", source, sample, seed)),
                    image_id=synthetic_image_id(source, variant, sample, seed),
                    file_name=synthetic_file_name(source, variant, sample, seed, suffix),
                    noise_seed=noise_seed(source, sample, seed),
                    strategy=strategy.name,
                    seed=seed,
                    sample_index=sample,
                    edits=edits.name if edits else "",
                    log=log,
                    real=real,
                )
            )
    check_unique((d.image_id for d in drawings), "image")
    check_unique(
        (synthetic_annotation_id(d.image_id, i) for d in drawings for i in d.layout.ids), "annotation"
    )
    return drawings


def _attributed(strategy: Callable[..., Layout], layout: Layout, rng) -> Layout:
    """Apply the strategy; errors of custom strategies are raised as a UserError."""
    where = f"strategy {strategy.name!r} at the layout of image {layout.image_id}"
    try:
        result = strategy(layout, rng)
    except UserError:
        raise
    except Exception as error:
        hint = ""
        if layout.attributes is None:
            hint = (
                "; the layout has no attributes: a strategy that reads them must set reads_attributes = True"
            )
        raise UserError(f"{where}: {type(error).__name__}: {error}{hint}") from error
    if not isinstance(result, Layout):
        raise UserError(f"{where}: must return a Layout, returned a {type(result).__name__}")
    return result


def record_of(
    drawing: Drawing,
    kept: Sequence[int],
    prompt: str,
    width: int,
    height: int,
    outlines: Mapping[int, dict] | None = None,
    ignored: Layout | None = None,
) -> dict:
    """Return the arguments of the writer other than the pixels.

    Args:
        drawing: the generated image.
        kept: indices of the objects in the prompt; only these become annotations. The others are listed as
            ``not_prompted`` in the image record, as it is unknown whether the image shows them.
        prompt: text of the prompt.
        width, height: size of the generated image in pixels, the unit of the boxes.
        outlines: RLE, by source annotation id, of objects that are those of the real image.
        ignored: objects of the real image that the generated one may still show although the layout does not have
            them; they become ignored regions (``iscrowd`` 1).

    Returns:
        ``record``, ``annotations`` and ``extra`` of :meth:`.writer.CocoWriter.add`.
    """
    layout, log = drawing.layout, drawing.log
    scale = torch.tensor([width, height, width, height])

    def facts(index: int, layout: Layout = layout) -> dict:
        x1, y1, x2, y2 = (round(value, 3) for value in (layout.boxes[index].double() * scale).tolist())
        return dict(
            category_id=layout.category_ids[index],
            bbox=[x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
            source_annotation_id=layout.ids[index],
        )

    def annotated(index: int, layout: Layout, **more) -> dict:
        key = synthetic_annotation_id(drawing.image_id, layout.ids[index])
        made = dict(id=key, image_id=drawing.image_id, **more, **facts(index, layout))
        made["area"] = round(made["bbox"][2] * made["bbox"][3], 3)
        return made

    annotations = []
    for index in kept:
        attribute = layout.attributes[index] if layout.attributes else None
        annotation = annotated(index, layout, iscrowd=0, attribute=attribute)
        if log is not None:
            annotation["edits"] = log.of_object(layout.ids[index])
            if layout.ids[index] in log.swapped:
                annotation["source_category_id"] = log.swapped[layout.ids[index]]
        if outlines and layout.ids[index] in outlines:
            annotation.update(from_real=True, segmentation=outlines[layout.ids[index]])
        annotations.append(annotation)
    for index in range(0 if ignored is None else len(ignored)):
        annotations.append(annotated(index, ignored, iscrowd=1, attribute=None, from_real=True))
    record = dict(
        id=drawing.image_id,
        file_name=drawing.file_name,
        width=width,
        height=height,
        source_image_id=layout.image_id,
        strategy=drawing.strategy,
        seed=drawing.seed,
        sample_index=drawing.sample_index,
    )
    left_out = sorted(set(range(len(layout))) - set(kept))
    if left_out:
        record["not_prompted"] = [facts(index) for index in left_out]
    if log is not None:
        record.update(edits=drawing.edits, flipped=log.flipped, dropped=log.dropped)
    if drawing.real:
        record["from_real"] = drawing.real
    extra = dict(
        noise_seed=drawing.noise_seed, prompt=prompt, not_prompted=[layout.ids[index] for index in left_out]
    )
    return dict(record=record, annotations=annotations, extra=extra)


def batches_to_draw(drawings: Sequence[Drawing], done: set[int], batch_size: int) -> list[list[Drawing]]:
    """Return the batches with missing images; the images of a batch have one size.

    Batches are formed from all ``drawings``, including finished ones, and a batch with missing images is generated
    completely. A resumed run therefore has the same batches as an uninterrupted one, regardless of the numbers of
    ranks, and produces bit-identical pixels with an equal number of threads. The cost is at most one repeated batch
    per rank and interruption.

    Args:
        drawings: result of :func:`plan`.
        done: ids of finished images, the same on every rank.
        batch_size: images per batch.
    """
    batches: list[list[Drawing]] = []
    filling: dict[tuple | None, list[Drawing]] = {}
    for drawing in drawings:
        batch = filling.get(drawing.size)
        if batch is None or len(batch) == batch_size:
            batch = filling[drawing.size] = []
            batches.append(batch)
        batch.append(drawing)
    return [batch for batch in batches if any(drawing.image_id not in done for drawing in batch)]
