"""Layouts as prompts: class words, location tokens and attribute tokens, mapped to ids without a slow tokenizer.

A prompt is ``An image with`` followed by the objects. Template ``compact`` writes an object as
``class <lA> <lB> [attribute]`` (GeoDiffusion's form plus the paper's attribute), ``paper`` as the printed
``(class, <lA><lB>, [attribute]),`` of the supplement, and ``caption`` as the class alone, which is what a base
model without layouts is trained on. ``<lA>`` is the token of the top-left corner's bin, ``<lB>`` the
bottom-right one's.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detdiffusion.structures import ATTRIBUTES, Layout, check_attribute_words
from detdiffusion.utils.errors import UserError

TEMPLATES = ("compact", "paper", "caption")
OVERFLOWS = ("largest", "error")


@dataclass
class EncodedLayouts:
    """Prompts of a batch.

    Attributes:
        input_ids: (B, L) int64, padded to the tokenizer's ``max_length``.
        kept: for each layout the indices of the objects that the prompt names, in prompt order.
        prompts: the same prompts as text.
        spans: for each layout the (start, end) token range of each kept object.
    """

    input_ids: Tensor
    kept: list[list[int]]
    prompts: list[str]
    spans: list[list[tuple[int, int]]]


class LayoutTokenizer:
    """Writes layouts as token ids of a CLIP tokenizer with added location and attribute tokens.

    Only class names go through BPE, once each; everything else is an id computed from the box. The ids are those
    that the stock tokenizer gives for :attr:`EncodedLayouts.prompts`.

    Args:
        tokenizer: a ``CLIPTokenizer`` (slow or fast); missing tokens are added to it.
        bins: (rows, columns) of the location grid; COCO uses (256, 256).
        template: one of :data:`TEMPLATES`.
        attributes: whether objects carry an attribute token (off: GeoDiffusion).
        overflow: ``largest`` keeps the largest objects that fit, ``error`` raises.
        max_length: length in tokens that every prompt is padded to, start and end included.
        shuffle: whether :meth:`encode` shuffles the objects when called with a random generator (training).
        prefix: the prompt's first words.
        attribute_words: the attributes, easiest first, ``background`` last; one added token each. Other levels
            than the paper's go with an attributes file made by ``--levels``.

    Raises:
        UserError: unknown template or overflow policy, or words that are no attributes.
    """

    def __init__(
        self,
        tokenizer,
        bins: tuple[int, int] = (256, 256),
        template: str = "compact",
        attributes: bool = True,
        overflow: str = "largest",
        max_length: int = 77,
        shuffle: bool = True,
        prefix: str = "An image with",
        attribute_words: Sequence[str] = ATTRIBUTES,
    ) -> None:
        if template not in TEMPLATES:
            raise UserError(f"layout tokenizer: template must be one of {TEMPLATES}, got {template!r}")
        if overflow not in OVERFLOWS:
            raise UserError(f"layout tokenizer: overflow must be one of {OVERFLOWS}, got {overflow!r}")
        self.tokenizer, self.template, self.overflow = tokenizer, template, overflow
        self.bins, self.attributes = tuple(bins), attributes and template != "caption"
        self.attribute_words = check_attribute_words(attribute_words, "layout_tokenizer.attribute_words")
        self.max_length, self.shuffle, self.prefix = max_length, shuffle, prefix
        self.dropped: Counter = Counter()
        """How many objects did not fit so far, by class name."""
        self.added = self._add_tokens()
        self._word_ids: dict[str, list[int]] = {}
        self._bos, self._eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._eos

    def _add_tokens(self) -> dict[str, list[int]]:
        """Add what the vocabulary lacks; returns the ids of the new ``location`` and ``attribute`` tokens."""
        known = self.tokenizer.get_vocab()
        wanted = {"location": [], "attribute": []}
        if self.template != "caption":
            wanted["location"] = [f"<l{i}>" for i in range(self.bins[0] * self.bins[1])]
        if self.attributes:
            wanted["attribute"] = [f"[{name}]" for name in self.attribute_words]
        missing = {kind: [t for t in tokens if t not in known] for kind, tokens in wanted.items()}
        have = sum(re.fullmatch(r"<l\d+>", token) is not None for token in known)
        if have and wanted["location"] and have != len(wanted["location"]):
            raise UserError(
                f"the tokenizer already has {have} location tokens, the config wants a grid of "
                f"{self.bins[0]} x {self.bins[1]} = {len(wanted['location'])}: set layout_tokenizer.bins to the "
                "checkpoint's grid (its layout_config.json names it), or start from a checkpoint without location "
                "tokens"
            )
        for tokens in missing.values():
            if tokens:
                self.tokenizer.add_tokens(tokens, special_tokens=False)
        ids = {
            kind: self.tokenizer.convert_tokens_to_ids(tokens) if tokens else []
            for kind, tokens in wanted.items()
        }
        self._first_location = ids["location"][0] if ids["location"] else None
        if ids["location"] and ids["location"][-1] - ids["location"][0] != len(ids["location"]) - 1:
            raise UserError("the tokenizer's location tokens <l0>, <l1>, ... do not have consecutive ids")
        self._attribute_ids = dict(zip(self.attribute_words, ids["attribute"]))
        return {
            kind: self.tokenizer.convert_tokens_to_ids(tokens) if tokens else []
            for kind, tokens in missing.items()
        }

    def words(self, text: str) -> list[int]:
        """BPE ids of a text without start and end, cached."""
        if text not in self._word_ids:
            self._word_ids[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self._word_ids[text]

    def location_bins(self, boxes: Tensor) -> Tensor:
        """Bins ``y_d * columns + x_d`` of the two corners, (N, 2) int64, of (N, 4) xyxy boxes in [0, 1]."""
        rows, columns = self.bins
        grid = boxes.new_tensor([columns - 1, rows - 1, columns - 1, rows - 1])
        x1, y1, x2, y2 = (boxes * grid).round().long().unbind(1)
        return torch.stack((y1 * columns + x1, y2 * columns + x2), dim=1)

    def _object(self, name: str, bins: Sequence[int], attribute: str | None) -> tuple[list[int], str]:
        words = name.replace("-", " ")
        if self.template == "caption":
            return self.words(words), words
        ids = [self._first_location + b for b in bins]
        text = [f"<l{b}>" for b in bins]
        if self.attributes and attribute not in self._attribute_ids:
            raise UserError(
                f"object {name!r} has no perception-aware attribute ({attribute!r}); add LoadPerceptionAttributes "
                "to the pipeline, or set layout_tokenizer.attributes=False"
            )
        if self.template == "compact":
            ids, text = self.words(words) + ids, [words, *text]
            if self.attributes:
                ids, text = [*ids, self._attribute_ids[attribute]], [*text, f"[{attribute}]"]
            return ids, " ".join(text)
        ids = [*self.words("("), *self.words(words), *self.words(","), *ids]
        form = f"({words}, {''.join(text)}"
        if self.attributes:
            ids, form = [*ids, *self.words(","), self._attribute_ids[attribute]], f"{form}, [{attribute}]"
        return [*ids, *self.words("),")], form + "),"

    def encode(self, layouts: Sequence[Layout], rng: random.Random | None = None) -> EncodedLayouts:
        """Prompts of a batch of layouts.

        Args:
            layouts: B layouts; attributes are needed unless they are switched off.
            rng: shuffles the objects of every layout when given and ``shuffle`` is on (training); without it
                the order is the layout's own.

        Raises:
            UserError: an object lacks its attribute, or does not fit and ``overflow='error'``.
        """
        batch_ids, batch_kept, prompts, spans = [], [], [], []
        start = [self._bos, *self.words(self.prefix)]
        for layout in layouts:
            bins = self.location_bins(layout.boxes).tolist()
            attributes = layout.attributes or [None] * len(layout)
            parts = [self._object(n, b, a) for n, b, a in zip(layout.names, bins, attributes)]
            order = list(range(len(layout)))
            if rng is not None and self.shuffle:
                rng.shuffle(order)
            kept = self._fit(layout, order, [len(ids) for ids, _ in parts], self.max_length - len(start) - 1)
            ids, ranges = [*start], []
            for k in kept:
                ranges.append((len(ids), len(ids) + len(parts[k][0])))
                ids += parts[k][0]
            ids.append(self._eos)
            spans.append(ranges)
            batch_ids.append(ids + [self._pad] * (self.max_length - len(ids)))
            batch_kept.append(kept)
            prompts.append(" ".join([self.prefix, *(parts[k][1] for k in kept)]))
        return EncodedLayouts(torch.tensor(batch_ids, dtype=torch.long), batch_kept, prompts, spans)

    def _fit(self, layout: Layout, order: list[int], lengths: list[int], room: int) -> list[int]:
        if sum(lengths) <= room:
            return order
        if self.overflow == "error":
            raise UserError(
                f"image {layout.image_id}: {len(order)} objects need {sum(lengths)} tokens, the prompt has room "
                f"for {room}; raise layout_tokenizer.max_length or set overflow='largest'"
            )
        areas = (layout.boxes[:, 2:] - layout.boxes[:, :2]).prod(dim=1).tolist()
        fitting, used = set(), 0
        for k in sorted(order, key=lambda k: -areas[k]):
            if used + lengths[k] <= room:
                fitting.add(k)
                used += lengths[k]
        self.dropped.update(layout.names[k] for k in order if k not in fitting)
        return [k for k in order if k in fitting]

    def null_ids(self, count: int) -> Tensor:
        """(count, max_length) int64 ids of the empty prompt."""
        return torch.tensor([[self._bos, self._eos, *[self._pad] * (self.max_length - 2)]] * count)


def sincos_grid(dim: int, rows: int, columns: int) -> Tensor:
    """MAE-style 2-D sine-cosine embedding of a grid.

    Args:
        dim: embedding width, divisible by 4.
        rows, columns: the grid.

    Returns:
        (rows * columns, dim) float32, row-major; the first half encodes x, the second y.
    """
    if dim % 4:
        raise ValueError(f"2-D sine-cosine embedding needs a width divisible by 4, got {dim}")
    omega = 1.0 / 10000 ** (torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))

    def axis(count: int) -> Tensor:
        angles = torch.arange(count, dtype=torch.float64)[:, None] * omega
        return torch.cat((angles.sin(), angles.cos()), dim=1)

    x, y = axis(columns), axis(rows)
    grid = torch.cat((x[None].expand(rows, -1, -1), y[:, None].expand(-1, columns, -1)), dim=2)
    return grid.reshape(rows * columns, dim).float()
