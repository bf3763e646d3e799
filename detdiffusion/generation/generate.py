"""The drawing of a set's batches, in halves where memory does not do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from detdiffusion.utils.errors import UserError

from .planning import Drawing, record_of


def generate(
    infer: Callable[..., dict],
    batches: Sequence[Sequence[Drawing]],
    done: set[int],
    add: Callable[..., None],
    report: Callable[[int, int], None] | None = None,
    before_batch: Callable[[], None] | None = None,
) -> dict[str, int]:
    """Draws batches and hands on the images that are missing in them.

    Args:
        infer: ``(layouts, generators=...) -> dict(samples, kept, prompts)``, as the editor's ``infer``.
        batches: of :func:`.planning.batches_to_draw`.
        done: image ids that need no writing.
        add: takes ``image`` (H, W, 3) uint8, ``record``, ``annotations`` and ``extra``, see
            :meth:`.writer.CocoWriter.add`.
        report: called with (images handed on, images to hand on) after each batch.
        before_batch: called before each batch; may raise to stop.

    Returns:
        Counts: ``written``, ``objects``, ``objects_not_prompted``, ``in_smaller_batches`` (images drawn in
        another company than planned, for want of memory).
    """
    done = set(done)
    missing = sum(drawing.image_id not in done for batch in batches for drawing in batch)
    counts = dict(written=0, objects=0, objects_not_prompted=0, in_smaller_batches=0)
    drawer = _Drawer(infer)
    for batch in batches:
        if before_batch:
            before_batch()
        for drawing, image, kept, prompt in drawer.draw(batch):
            if drawing.image_id in done:
                continue
            add(image=image, **record_of(drawing, kept, prompt, image.shape[1], image.shape[0]))
            counts["written"] += 1
            counts["objects"] += len(kept)
            counts["objects_not_prompted"] += len(drawing.layout) - len(kept)
            counts["in_smaller_batches"] += drawer.limit is not None and drawer.limit < len(batch)
        if report:
            report(counts["written"], missing)
    return counts


class _Drawer:
    """Draws batches, in halves after memory ran out; the smaller size stays for what follows."""

    def __init__(self, infer: Callable[..., dict]) -> None:
        self.infer, self.limit = infer, None

    def draw(self, batch: Sequence[Drawing]) -> Iterator[tuple[Drawing, np.ndarray, list[int], str]]:
        start = 0
        while start < len(batch):
            part = batch[start : start + (self.limit or len(batch))]
            drawn = self._try(part)
            if drawn is None:
                self.limit = _halved(len(part))
                continue
            yield from zip(part, *drawn)
            start += len(part)

    def _try(self, part: Sequence[Drawing]) -> tuple | None:
        """Pixels, kept objects and prompts, or None if the memory does not do for so many."""
        generators = [torch.Generator().manual_seed(drawing.noise_seed) for drawing in part]
        try:
            result = self.infer([drawing.layout for drawing in part], generators=generators)
            pixels = (result["samples"].float().clamp(0, 1) * 255).round().to(torch.uint8)
            return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy(), result["kept"], result["prompts"]
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise UserError(
                    f"out of memory with a single image ({str(error).splitlines()[0] if str(error) else error!r}); "
                    "choose a smaller `height` and `width`, or a device with more memory"
                ) from error
        if torch.cuda.is_available():  # here the failed call's tensors are no longer held by its traceback
            torch.cuda.empty_cache()
        return None


def _halved(size: int) -> int:
    half = (size + 1) // 2
    print(
        f"out of memory with {size} images at once: going on with {half}. Pixels of these batches may differ by 1 "
        "grey level from those of a run at the full --batch-size",
        file=sys.stderr,
        flush=True,
    )
    return half


def _is_out_of_memory(error: Exception) -> bool:
    """CUDA's has a class of its own; the CPU allocator's is a RuntimeError with a text."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(
        text in str(error) for text in ("can't allocate memory", "not enough memory", "out of memory")
    )
