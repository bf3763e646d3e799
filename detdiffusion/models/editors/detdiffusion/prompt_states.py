"""Encoded prompts of a frozen model, kept from batch to batch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backbones import Backbone, Prompts
    from .layout_tokenizer import EncodedLayouts

LIMIT = 128 * 2**20


class PromptStates:
    """Encodes prompts for sampling: equal batches of prompts once, and the empty prompt once.

    Whole batches are kept, not single prompts, because the states of a prompt may differ in their last bits between
    batches: an image must not depend on which batches were sampled before. The owner calls :meth:`clear` whenever
    weights may have changed.

    Args:
        backbone: encodes the prompts.
        limit: bytes of states that are kept; the batches that were used the longest time ago are dropped first.
    """

    def __init__(self, backbone: Backbone, limit: int = LIMIT) -> None:
        self.backbone, self.limit = backbone, limit
        self._kept: OrderedDict[tuple, Prompts] = OrderedDict()

    def clear(self) -> None:
        """Forget all states."""
        self._kept.clear()

    def prompts(self, encoded: EncodedLayouts, size: tuple[int, int]) -> Prompts:
        """Return the encoded prompts of layouts; ``size`` is the image's height and width in pixels."""
        windows = tuple(len(windows) for windows in encoded.in_windows)
        key = (encoded.input_ids.numpy().tobytes(), windows, size)
        return self._get(key, lambda: self.backbone.encode_layouts(encoded, size))

    def null_prompts(self, prompts: Prompts, size: tuple[int, int]) -> Prompts:
        """Return the encoded empty prompt, repeated to the shape of ``prompts``."""
        count, length = prompts.states.shape[:2]
        null = self._get(("", length, size), lambda: self.backbone.encode_null(length, size))
        extra = {name: value.repeat(count, *[1] * (value.dim() - 1)) for name, value in null.extra.items()}
        return replace(null, states=null.states.repeat(count, 1, 1), extra=extra)

    def _get(self, key: tuple, encode: Callable[[], Prompts]) -> Prompts:
        key = (*key, self.backbone.device)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        self._kept[key] = encode()
        while sum(map(_bytes, self._kept.values())) > self.limit and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return self._kept[key]


def _bytes(prompts: Prompts) -> int:
    return sum(tensor.nbytes for tensor in (prompts.states, *prompts.extra.values()))
