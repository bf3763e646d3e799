"""Generation of the batches of a set, with smaller batches after an out-of-memory error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from detdiffusion.utils.errors import UserError

from .planning import Drawing, record_of


class SingleImageMemoryError(UserError):
    """The device has too little memory for a single image."""


def generate(
    infer: Callable[..., dict],
    batches: Iterable[Sequence[Drawing]],
    done: set[int],
    add: Callable[..., None],
    real: Callable[[Sequence[Drawing]], tuple] | None = None,
) -> dict[str, int]:
    """Generate batches and pass the images that are not done yet to ``add``.

    Args:
        infer: ``(layouts, generators=...) -> dict(samples, kept, prompts)``, as the editor's ``infer``.
        batches: the batches of this rank; the next one is requested when all images of the last one are added.
        done: ids of images that are already written.
        add: called with ``image`` (H, W, 3) uint8, ``record``, ``annotations`` and ``extra``, see
            :meth:`.writer.CocoWriter.add`.
        real: reads the real images that a batch starts from, :class:`.real_images.RealSource`; they are passed to
            ``infer`` as ``real``.

    Returns:
        Counts: ``written``, ``objects``, ``objects_not_prompted``, ``in_smaller_batches`` (images generated in
        smaller batches than planned because memory ran out).
    """
    counts = dict(written=0, objects=0, objects_not_prompted=0, in_smaller_batches=0)
    generator = _BatchGenerator(infer, real)
    for batch in batches:
        for drawing, image, kept, prompt, content in generator.run(batch):
            if drawing.image_id in done:
                continue
            add(image=image, **record_of(drawing, kept, prompt, image.shape[1], image.shape[0], **content))
            counts["written"] += 1
            counts["objects"] += len(kept)
            counts["objects_not_prompted"] += len(drawing.layout) - len(kept)
            counts["in_smaller_batches"] += generator.limit is not None and generator.limit < len(batch)
    return counts


class _BatchGenerator:
    """Generates batches, halving the batch size, for all following batches too, whenever memory runs out."""

    def __init__(self, infer: Callable[..., dict], real: Callable[[Sequence[Drawing]], tuple] | None) -> None:
        self.infer, self.real, self.limit = infer, real, None

    def run(self, batch: Sequence[Drawing]) -> Iterator[tuple[Drawing, np.ndarray, list[int], str, dict]]:
        start = 0
        while start < len(batch):
            part = batch[start : start + (self.limit or len(batch))]
            results = self._try(part)
            if results is None:
                self.limit = _halved(len(part))
                continue
            yield from zip(part, *results)
            start += len(part)

    def _try(self, part: Sequence[Drawing]) -> tuple | None:
        """Return pixels, objects in the prompt, prompts and contents of the real images, or None if memory ran out."""
        generators = [torch.Generator().manual_seed(drawing.noise_seed) for drawing in part]
        try:
            options, contents = {}, [{} for _ in part]
            if part[0].size is not None:
                options["height"], options["width"] = part[0].size
            if self.real is not None:
                options["real"], contents = self.real(part)
            result = self.infer([drawing.layout for drawing in part], generators=generators, **options)
            pixels = (result["samples"].float().clamp(0, 1) * 255).round().to(torch.uint8)
            pixels = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
            return pixels, result["kept"], result["prompts"], contents
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise SingleImageMemoryError(
                    f"out of memory with a single image ({str(error).splitlines()[0] if str(error) else error!r}); "
                    "choose a smaller `height` and `width`, or a device with more memory"
                ) from error
        if (
            torch.cuda.is_available()
        ):  # outside the except block, whose traceback would keep the tensors alive
            torch.cuda.empty_cache()
        return None


def _halved(size: int) -> int:
    half = (size + 1) // 2
    print(
        f"out of memory with {size} images at once: going on with {half}. Pixels of these images may differ by 1 "
        f"grey level from those of batches of {size}",
        file=sys.stderr,
        flush=True,
    )
    return half


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out: an error of its own class on CUDA, a RuntimeError of the CPU allocator."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(
        text in str(error) for text in ("can't allocate memory", "not enough memory", "out of memory")
    )
