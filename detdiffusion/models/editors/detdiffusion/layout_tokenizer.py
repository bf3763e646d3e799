"""Encoding of layouts as prompts of class names, location tokens and attribute tokens.

A prompt is ``An image with`` followed by the objects. Template ``compact`` writes an object as
``class <lA> <lB> [attribute]`` (GeoDiffusion's form plus the paper's attribute), ``paper`` as
``(class, <lA><lB>, [attribute]),``, the form printed in the supplement, and ``caption`` as the class only, for base
models that are trained without layouts. ``<lA>`` is the token of the top-left corner's bin, ``<lB>`` that of the
bottom-right corner.

A prompt has room for about 14 objects; the overflow policy handles more, see :mod:`.overflow`.
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
        input_ids: (B, W * max_length) int64: W windows per prompt, each with start and end tokens and padding. W is 1
            unless ``overflow='chunk'`` and a layout needs more; layouts that need fewer get empty windows.
        in_windows: for each window of each layout, the indices of the objects in it, in order.
        spans: for each layout, the (start, end) range of each kept object in its row of ``input_ids``.
        write: returns :attr:`prompts`.
    """

    input_ids: Tensor
    in_windows: list[list[list[int]]]
    spans: list[list[tuple[int, int]]]
    write: Callable[[], list[str]]

    @cached_property
    def kept(self) -> list[list[int]]:
        """For each layout, the indices of the objects in its prompt, in prompt order."""
        return [[k for window in windows for k in window] for windows in self.in_windows]

    @cached_property
    def prompts(self) -> list[str]:
        """The prompts as text, one line per window; computed on first access, since training needs ids only."""
        return self.write()

    def attention_mask(self) -> Tensor | None:
        """Return a (B, W * max_length) bool mask, False in empty windows, or None if there are none.

        The UNet takes it as ``encoder_attention_mask``, so that an image does not depend on the rest of its batch.
        """
        counts = [len(windows) for windows in self.in_windows]
        most = max(counts, default=1)
        if min(counts, default=1) == most:
            return None
        filled = torch.arange(most) < torch.tensor(counts)[:, None]
        return filled.repeat_interleave(self.input_ids.shape[1] // most, dim=1)


class LayoutTokenizer:
    """Encodes layouts as token ids of a CLIP tokenizer with added location and attribute tokens.

    Only class names are tokenized by BPE, once each; the other ids are computed from boxes and attributes. The ids
    equal those that the stock tokenizer returns for :attr:`EncodedLayouts.prompts`.

    Args:
        tokenizer: a ``CLIPTokenizer`` (slow or fast); missing tokens are added to it.
        bins: (rows, columns) of the location grid; COCO uses (256, 256).
        template: one of :data:`TEMPLATES`.
        attributes: whether objects have an attribute token; False for GeoDiffusion.
        attribute_position: position of the attribute token within its object in the compact template, ``last`` (as in
            the paper) or ``first``. CLIP's text encoder is causal: a leading attribute affects the states of the class
            and location tokens, which a layout checkpoint already uses, while a model has to learn to use the state
            of a trailing one.
        overflow: name of a policy in :mod:`.overflow`: ``largest``, ``error`` or ``chunk``; each window starts with
            ``prefix``.
        max_length: length in tokens that every window is padded to, including start and end tokens.
        shuffle: whether :meth:`encode` shuffles the objects when called with a random generator (training).
        prefix: the prompt's first words.
        attribute_words: the attributes, easiest first, ``background`` last; one token is added for each. Other levels
            than the paper's require an attributes file made with ``--levels``.

    Raises:
        UserError: the template or overflow policy is unknown, or words are not valid attributes.
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
        """Number of objects that did not fit so far, by class name (``overflow='largest'``)."""
        self.windows: Counter = Counter()
        """Number of prompts so far, by their number of windows."""
        self.added = self._add_tokens()
        self._word_ids: dict[str, list[int]] = {}
        self._heads: dict[str, list[int]] = {}
        tokens = self._attribute_ids if self.attributes else {None: None}
        self._tails = {name: self._tail(token) for name, token in tokens.items()}
        bos, self._eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._eos
        self._start = [] if bos is None else [bos]  # T5 has no start token
        self._empty = [*self._start, self._eos]
        self._empty += [self._pad] * (max_length - len(self._empty))

    @staticmethod
    def with_attributes(arguments: Mapping) -> bool:
        """Return :attr:`attributes` of a tokenizer with these arguments."""
        return bool(arguments.get("attributes", True)) and arguments.get("template") != "caption"

    def _add_tokens(self) -> dict[str, list[int]]:
        """Add missing tokens to the vocabulary; return the ids of the new ``location`` and ``attribute`` tokens."""
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
                f"the tokenizer already has {have} location tokens, but the config sets a grid of "
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
        """Ids of all location and attribute tokens, including those that the tokenizer already had."""
        return {
            kind: self.tokenizer.convert_tokens_to_ids(tokens) if tokens else []
            for kind, tokens in missing.items()
        }

    def words(self, text: str) -> list[int]:
        """Return the cached BPE ids of a text, without start and end tokens.

        Raises:
            UserError: a part of the text is not in the vocabulary; its id would equal that of the end token.
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
        """Return the bins ``y_d * columns + x_d`` of the two corners of (N, 4) xyxy boxes in [0, 1].

        For the few boxes of an image, plain Python is ten times as fast as tensor operations.
        """
        rows, columns = self.bins[0] - 1, self.bins[1] - 1
        width = self.bins[1]
        return [
            (round(y1 * rows) * width + round(x1 * columns), round(y2 * rows) * width + round(x2 * columns))
            for x1, y1, x2, y2 in boxes.tolist()
        ]

    def _object(self, name: str, bins: tuple[int, int], attribute: str | None) -> list[int]:
        """Return the token ids of one object; :meth:`_text` returns the same as text."""
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
        """Return the ids before the corners' tokens."""
        words = self.words(name.replace("-", " "))
        return [*self.words("("), *words, *self.words(",")] if self.template == "paper" else words

    def _tail(self, attribute: int | None) -> list[int]:
        """Return the ids after the corners' tokens; ``attribute`` is the id of the attribute token, or None."""
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
        """Encode a batch of layouts as prompts.

        Args:
            layouts: B layouts, with attributes unless the tokenizer has ``attributes=False``.
            rng: shuffles the objects of every layout if ``shuffle`` is True (training); None keeps the layout's
                order.

        Raises:
            UserError: an object has no attribute, or does not fit with ``overflow='error'``, or is longer than a
                window with ``overflow='chunk'``.
        """
        rows, kept, spans = [], [], []
        start = [*self._start, *self.words(self.prefix)]
        room = self.max_length - len(start) - 1
        for layout in layouts:
            attributes = layout.attributes or [None] * len(layout)
            bins = self.location_bins(layout.boxes)
            parts = [self._object(n, b, a) for n, b, a in zip(layout.names, bins, attributes)]
            order = list(range(len(layout)))
            if rng is not None and self.shuffle:
                order.sort(key=lambda _: rng.random())  # twice as fast as rng.shuffle
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
        """Return the objects of each window in prompt order, as decided by the overflow policy."""
        if sum(lengths) <= room:
            return [order]
        windows = OVERFLOW_POLICIES.module_dict[self.overflow](layout, order, lengths, room)
        fitting = {k for window in windows for k in window}
        self.dropped.update(layout.names[k] for k in order if k not in fitting)
        return windows

    def null_ids(self, count: int, windows: int = 1) -> Tensor:
        """Return (count, windows * max_length) int64 ids of the empty prompt, repeated in every window.

        Attention over several equal windows equals attention over one, so ``windows`` only changes the shape.
        """
        return torch.tensor(self._empty).repeat(count, windows)


def sincos_grid(dim: int, rows: int, columns: int) -> Tensor:
    """Return an MAE-style 2-D sine-cosine embedding of a grid.

    Args:
        dim: embedding width, divisible by 4.
        rows, columns: size of the grid.

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
