"""Layouts as prompts: class words, location tokens and attribute tokens, mapped to ids without a slow tokenizer.

A prompt is ``An image with`` followed by the objects. Template ``compact`` writes an object as
``class <lA> <lB> [attribute]`` (GeoDiffusion's form plus the paper's attribute), ``paper`` as the printed
``(class, <lA><lB>, [attribute]),`` of the supplement, and ``caption`` as the class alone, which is what a base
model without layouts is trained on. ``<lA>`` is the token of the top-left corner's bin, ``<lB>`` the
bottom-right one's.

A prompt has room for some 14 objects. What happens to more is the overflow policy, see :mod:`.overflow`.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from detdiffusion.registry import OVERFLOW_POLICIES
from detdiffusion.structures import ATTRIBUTES, Layout, check_attribute_words
from detdiffusion.utils.errors import UserError

from . import overflow as _policies  # noqa: F401  registers the policies

TEMPLATES = ("compact", "paper", "caption")
ATTRIBUTE_POSITIONS = ("last", "first")


@dataclass
class EncodedLayouts:
    """Prompts of a batch.

    Attributes:
        input_ids: (B, W * max_length) int64: W windows a prompt, each one padded and with its own start and end. W
            is 1 unless ``overflow='chunk'`` and a layout needs more; layouts that need fewer get empty ones.
        in_windows: for each layout and each of its windows the indices of the objects that it names, in order.
        spans: for each layout the (start, end) range of each kept object in its row of ``input_ids``.
        write: gives :attr:`prompts`.
    """

    input_ids: Tensor
    in_windows: list[list[list[int]]]
    spans: list[list[tuple[int, int]]]
    write: Callable[[], list[str]]

    @cached_property
    def kept(self) -> list[list[int]]:
        """For each layout the indices of the objects that the prompt names, in prompt order."""
        return [[k for window in windows for k in window] for windows in self.in_windows]

    @cached_property
    def prompts(self) -> list[str]:
        """The same prompts as text, a line a window; written when asked for, since training needs ids only."""
        return self.write()

    def attention_mask(self) -> Tensor | None:
        """(B, W * max_length) bool, False in the empty windows; None where there are none.

        It goes to the UNet as ``encoder_attention_mask``, so that an image does not depend on its batch mates.
        """
        counts = [len(windows) for windows in self.in_windows]
        most = max(counts, default=1)
        if min(counts, default=1) == most:
            return None
        filled = torch.arange(most) < torch.tensor(counts)[:, None]
        return filled.repeat_interleave(self.input_ids.shape[1] // most, dim=1)


class LayoutTokenizer:
    """Writes layouts as token ids of a CLIP tokenizer with added location and attribute tokens.

    Only class names go through BPE, once each; everything else is an id computed from the box. The ids are those
    that the stock tokenizer gives for :attr:`EncodedLayouts.prompts`.

    Args:
        tokenizer: a ``CLIPTokenizer`` (slow or fast); missing tokens are added to it.
        bins: (rows, columns) of the location grid; COCO uses (256, 256).
        template: one of :data:`TEMPLATES`.
        attributes: whether objects carry an attribute token (off: GeoDiffusion).
        attribute_position: in the compact template, the attribute token stands ``last`` (the paper's order) or
            ``first`` in its object. A CLIP text encoder is causal: from the front the attribute reaches the class and
            location tokens that a layout checkpoint already listens to; from the back it waits to be discovered.
        overflow: name of a policy in :mod:`.overflow`: ``largest``, ``error`` or ``chunk``; each window starts with
            ``prefix``.
        max_length: length in tokens that every window is padded to, start and end included.
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
        attribute_position: str = "last",
        overflow: str = "largest",
        max_length: int = 77,
        shuffle: bool = True,
        prefix: str = "An image with",
        attribute_words: Sequence[str] = ATTRIBUTES,
    ) -> None:
        if template not in TEMPLATES:
            raise UserError(f"layout tokenizer: template must be one of {TEMPLATES}, got {template!r}")
        if not isinstance(overflow, str) or overflow not in OVERFLOW_POLICIES.module_dict:
            known = tuple(OVERFLOW_POLICIES.module_dict)
            raise UserError(f"layout tokenizer: overflow must be one of {known}, got {overflow!r}")
        if attribute_position not in ATTRIBUTE_POSITIONS:
            raise UserError(
                f"layout tokenizer: attribute_position must be one of {ATTRIBUTE_POSITIONS}, got {attribute_position!r}"
            )
        self.tokenizer, self.template, self.overflow = tokenizer, template, overflow
        self.attribute_position = attribute_position
        self.bins = tuple(bins)
        self.attributes = self.with_attributes(dict(attributes=attributes, template=template))
        self.attribute_words = check_attribute_words(attribute_words, "layout_tokenizer.attribute_words")
        self.max_length, self.shuffle, self.prefix = max_length, shuffle, prefix
        self.dropped: Counter = Counter()
        """How many objects did not fit so far, by class name (``overflow='largest'``)."""
        self.windows: Counter = Counter()
        """How many prompts took how many windows so far."""
        self.added = self._add_tokens()
        self._word_ids: dict[str, list[int]] = {}
        self._heads: dict[str, list[int]] = {}
        tokens = self._attribute_ids if self.attributes else {None: None}
        self._tails = {name: self._tail(token) for name, token in tokens.items()}
        self._bos, self._eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._eos
        self._empty = [self._bos, self._eos, *[self._pad] * (max_length - 2)]

    @staticmethod
    def with_attributes(arguments: Mapping) -> bool:
        """:attr:`attributes` of a tokenizer that is given these arguments."""
        return bool(arguments.get("attributes", True)) and arguments.get("template") != "caption"

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
        self.layout_ids: list[int] = [*ids["location"], *ids["attribute"]]
        """Ids of all location and attribute tokens, new or not."""
        return {
            kind: self.tokenizer.convert_tokens_to_ids(tokens) if tokens else []
            for kind, tokens in missing.items()
        }

    def words(self, text: str) -> list[int]:
        """BPE ids of a text without start and end, cached.

        Raises:
            UserError: the vocabulary lacks a part of the text, which would be read as the prompt's end.
        """
        if text not in self._word_ids:
            ids = self.tokenizer(text, add_special_tokens=False).input_ids
            if self.tokenizer.unk_token_id in ids:
                raise UserError(
                    f"the tokenizer has no tokens for {text!r} (its vocabulary has {len(self.tokenizer)}); load it "
                    "from the folder of the text encoder that it belongs to"
                )
            self._word_ids[text] = ids
        return self._word_ids[text]

    def location_bins(self, boxes: Tensor) -> list[tuple[int, int]]:
        """Bins ``y_d * columns + x_d`` of the two corners of (N, 4) xyxy boxes in [0, 1].

        Plain Python: for the few boxes of an image it takes a tenth of the time of tensor operations.
        """
        rows, columns = self.bins[0] - 1, self.bins[1] - 1
        width = self.bins[1]
        return [
            (round(y1 * rows) * width + round(x1 * columns), round(y2 * rows) * width + round(x2 * columns))
            for x1, y1, x2, y2 in boxes.tolist()
        ]

    def _object(self, name: str, bins: tuple[int, int], attribute: str | None) -> list[int]:
        """Token ids of one object; :meth:`_text` is the same in words."""
        head = self._heads.get(name)
        if head is None:
            head = self._heads[name] = self._head(name)
        if self.template == "caption":
            return head
        tail = self._tails.get(attribute if self.attributes else None)
        if tail is None:
            raise UserError(
                f"object {name!r} has no perception-aware attribute ({attribute!r}); add LoadPerceptionAttributes "
                "to the pipeline, or set layout_tokenizer.attributes=False"
            )
        corners = (self._first_location + bins[0], self._first_location + bins[1])
        if self.attribute_position == "first" and self.template == "compact":
            return [*tail, *head, *corners]
        return [*head, *corners, *tail]

    def _head(self, name: str) -> list[int]:
        """Ids in front of the corners."""
        words = self.words(name.replace("-", " "))
        return [*self.words("("), *words, *self.words(",")] if self.template == "paper" else words

    def _tail(self, attribute: int | None) -> list[int]:
        """Ids behind the corners; ``attribute`` is its token, None where there is none."""
        ids = [] if attribute is None else [attribute]
        if self.template == "paper":
            return [*(self.words(",") if ids else []), *ids, *self.words("),")]
        return ids

    def _text(self, name: str, bins: tuple[int, int], attribute: str | None) -> str:
        words, corners = name.replace("-", " "), [f"<l{b}>" for b in bins]
        attributes = [f"[{attribute}]"] if self.attributes else []
        if self.template == "caption":
            return words
        if self.template == "compact":
            first = self.attribute_position == "first"
            return " ".join([*attributes, words, *corners] if first else [words, *corners, *attributes])
        return f"({', '.join([words, ''.join(corners), *attributes])}),"

    def encode(self, layouts: Sequence[Layout], rng: random.Random | None = None) -> EncodedLayouts:
        """Prompts of a batch of layouts.

        Args:
            layouts: B layouts; attributes are needed unless they are switched off.
            rng: shuffles the objects of every layout when given and ``shuffle`` is on (training); without it
                the order is the layout's own.

        Raises:
            UserError: an object lacks its attribute, or does not fit and ``overflow='error'``, or is longer than a
                window and ``overflow='chunk'``.
        """
        rows, kept, spans = [], [], []
        start = [self._bos, *self.words(self.prefix)]
        room = self.max_length - len(start) - 1
        for layout in layouts:
            attributes = layout.attributes or [None] * len(layout)
            bins = self.location_bins(layout.boxes)
            parts = [self._object(n, b, a) for n, b, a in zip(layout.names, bins, attributes)]
            order = list(range(len(layout)))
            if rng is not None and self.shuffle:
                order.sort(key=lambda _: rng.random())  # half the time of rng.shuffle
            row, ranges = [], []
            windows = self._fit(layout, order, [len(ids) for ids in parts], room)
            for window in windows:
                row += start
                for k in window:
                    begin = len(row)
                    row += parts[k]
                    ranges.append((begin, len(row)))
                row.append(self._eos)
                row += [self._pad] * (-len(row) % self.max_length)
            rows.append(row)
            spans.append(ranges)
            kept.append(windows)
        counts = [len(windows) for windows in kept]
        most = max(counts, default=1)
        for row, count in zip(rows, counts):
            row += self._empty * (most - count)
            self.windows[count] += 1
        input_ids = torch.from_numpy(np.array(rows, dtype=np.int64).reshape(-1, most * self.max_length))
        return EncodedLayouts(input_ids, kept, spans, partial(self._prompts, layouts, kept))

    def _prompts(self, layouts: Sequence[Layout], kept: list[list[list[int]]]) -> list[str]:
        prompts = []
        for layout, windows in zip(layouts, kept):
            bins = self.location_bins(layout.boxes)
            attributes = layout.attributes or [None] * len(layout)
            texts = [
                " ".join(
                    [self.prefix, *[self._text(layout.names[k], bins[k], attributes[k]) for k in window]]
                )
                for window in windows
            ]
            prompts.append("\n".join(texts))
        return prompts

    def _fit(self, layout: Layout, order: list[int], lengths: list[int], room: int) -> list[list[int]]:
        """The objects of each window, in prompt order, by the overflow policy."""
        if sum(lengths) <= room:
            return [order]
        windows = OVERFLOW_POLICIES.module_dict[self.overflow](layout, order, lengths, room)
        fitting = {k for window in windows for k in window}
        self.dropped.update(layout.names[k] for k in order if k not in fitting)
        return windows

    def null_ids(self, count: int, windows: int = 1) -> Tensor:
        """(count, windows * max_length) int64 ids of the empty prompt, repeated in every window.

        Attention over equal windows gives what attention over one gives, so the number changes nothing but the
        shape.
        """
        return torch.tensor(self._empty).repeat(count, windows)


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
