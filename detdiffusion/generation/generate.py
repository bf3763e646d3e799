"""From layouts to a synthetic set: what is to be drawn, in which batches, and how a drawing is recorded."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from detdiffusion.generation.identity import (
    check_unique,
    noise_seed,
    synthetic_annotation_id,
    synthetic_file_name,
    synthetic_image_id,
)
from detdiffusion.generation.writer import CocoWriter
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError


@dataclass
class Drawing:
    """One image to generate: a layout with the strategy's attributes, and where its image belongs."""

    layout: Layout
    image_id: int
    file_name: str
    noise_seed: int
    strategy: str
    seed: int
    sample_index: int


def plan(
    layouts: Sequence[Layout],
    strategy: Callable[[Layout], Layout],
    seed: int,
    samples_per_image: int = 1,
) -> list[Drawing]:
    """All images of a set, the first sample of every layout before the second ones.

    Args:
        layouts: with ``image_id``, ``ids`` and ``category_ids`` of the source.
        strategy: see :mod:`detdiffusion.generation.strategies`.
        seed: part of every id and of every noise seed.
        samples_per_image: images a layout.

    Raises:
        UserError: two images or two annotations would share an id.
    """
    drawings = []
    for sample in range(samples_per_image):
        for layout in layouts:
            key = (layout.image_id, strategy.name, sample, seed)
            drawings.append(
                Drawing(
                    layout=strategy(layout),
                    image_id=synthetic_image_id(*key),
                    file_name=synthetic_file_name(*key),
                    noise_seed=noise_seed(layout.image_id, sample, seed),
                    strategy=strategy.name,
                    seed=seed,
                    sample_index=sample,
                )
            )
    check_unique((d.image_id for d in drawings), "image")
    check_unique(
        (synthetic_annotation_id(d.image_id, i) for d in drawings for i in d.layout.ids), "annotation"
    )
    return drawings


def record_of(drawing: Drawing, kept: Sequence[int], prompt: str, width: int, height: int) -> dict:
    """The writer's arguments beside the pixels.

    Args:
        drawing: what was drawn.
        kept: indices of the objects that the prompt named; only these become annotations.
        prompt: its text.
        width, height: of the generated image, in pixels; boxes are in these.

    Returns:
        ``record``, ``annotations`` and ``extra`` of :meth:`.writer.CocoWriter.add`.
    """
    layout = drawing.layout
    boxes = layout.boxes.double() * torch.tensor([width, height, width, height])
    annotations = []
    for index in kept:
        x1, y1, x2, y2 = (round(value, 3) for value in boxes[index].tolist())
        w, h = round(x2 - x1, 3), round(y2 - y1, 3)
        annotations.append(
            dict(
                id=synthetic_annotation_id(drawing.image_id, layout.ids[index]),
                image_id=drawing.image_id,
                category_id=layout.category_ids[index],
                bbox=[x1, y1, w, h],
                area=round(w * h, 3),
                iscrowd=0,
                source_annotation_id=layout.ids[index],
                attribute=layout.attributes[index] if layout.attributes else None,
            )
        )
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
    extra = dict(
        noise_seed=drawing.noise_seed, prompt=prompt, not_prompted=[layout.ids[index] for index in left_out]
    )
    return dict(record=record, annotations=annotations, extra=extra)


def generate(
    infer: Callable[..., dict],
    drawings: Sequence[Drawing],
    writer: CocoWriter,
    batch_size: int = 8,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Draws what the writer does not have yet.

    Batches are cut from ``drawings`` as a whole, finished images included, and a batch with anything missing
    is drawn in full: so a continued run composes its batches as an undisturbed one does and, with an equal
    number of threads, gives the same pixels bit for bit. The price is at most a batch for each interruption.

    Args:
        infer: ``(layouts, generators=...) -> dict(samples, kept, prompts)``, as the editor's ``infer``.
        drawings: of :func:`plan`.
        writer: an open writer.
        batch_size: images a batch.
        report: called with (images written by this call, images this call has to write) after each batch.

    Returns:
        Counts: ``written``, ``already_there``, ``objects``, ``objects_not_prompted``.
    """
    missing = sum(drawing.image_id not in writer.done for drawing in drawings)
    counts = dict(written=0, already_there=len(drawings) - missing, objects=0, objects_not_prompted=0)
    for start in range(0, len(drawings), batch_size):
        batch = drawings[start : start + batch_size]
        if all(drawing.image_id in writer.done for drawing in batch):
            continue
        generators = [torch.Generator().manual_seed(drawing.noise_seed) for drawing in batch]
        result = infer([drawing.layout for drawing in batch], generators=generators)
        pixels = (result["samples"].float().clamp(0, 1) * 255).round().to(torch.uint8)
        for drawing, image, kept, prompt in zip(batch, pixels, result["kept"], result["prompts"]):
            if drawing.image_id in writer.done:
                continue
            image = image.permute(1, 2, 0).contiguous().cpu().numpy()
            arguments = record_of(drawing, kept, prompt, image.shape[1], image.shape[0])
            writer.add(image=image, **arguments)
            counts["written"] += 1
            counts["objects"] += len(kept)
            counts["objects_not_prompted"] += len(drawing.layout) - len(kept)
        if report:
            report(counts["written"], missing)
    return counts


class Progress:
    """A line on stderr with images a second and the time left; outside a terminal one every few seconds."""

    def __init__(self, every: float = 10.0) -> None:
        self.terminal = sys.stderr.isatty()
        self.every = 0.5 if self.terminal else every
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last < self.every and done < total:
            return
        self.last = now
        rate = done / max(now - self.start, 1e-9)
        left = round((total - done) / max(rate, 1e-9))
        clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        text = f"generating: {done}/{total} images, {rate:.2f} images/s, {clock} left"
        end = "\n" if not self.terminal or done == total else ""
        print(f"\r\033[K{text}" if self.terminal else text, end=end, file=sys.stderr, flush=True)


def check_positive(**values: int | None) -> None:
    """UserError for a count below 1; None passes."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, it is {value}")
