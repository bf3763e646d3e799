"""Overflow policies: what to do with objects that do not fit in a prompt.

A policy is a function ``(layout, order, lengths, room) -> windows``. To add one, register it with
``@OVERFLOW_POLICIES.register_module('name')`` and set ``layout_tokenizer.overflow='name'``. It is called only if the
objects do not fit.

Args of every policy:
    layout: the :class:`~detdiffusion.structures.Layout`.
    order: indices of its objects, in prompt order.
    lengths: number of tokens of each object, by index.
    room: number of tokens available for objects in one window of the prompt.

Returns of every policy:
    Windows: one list of indices per window, in prompt order. Objects that are in no window are left out and counted.
"""

from __future__ import annotations

from detdiffusion.registry import OVERFLOW_POLICIES
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError


@OVERFLOW_POLICIES.register_module("largest")
def keep_largest(layout: Layout, order: list[int], lengths: list[int], room: int) -> list[list[int]]:
    """Fill one window with the largest objects that fit."""
    areas = layout.areas.tolist()
    fitting, used = set(), 0
    for k in sorted(order, key=lambda k: -areas[k]):
        if used + lengths[k] <= room:
            fitting.add(k)
            used += lengths[k]
    return [[k for k in order if k in fitting]]


@OVERFLOW_POLICIES.register_module("error")
def refuse(layout: Layout, order: list[int], lengths: list[int], room: int) -> list[list[int]]:
    """Raise a UserError."""
    raise UserError(
        f"image {layout.image_id}: {len(order)} objects need {sum(lengths)} tokens, but the prompt has room "
        f"for {room}; raise layout_tokenizer.max_length or set overflow='largest' or 'chunk'"
    )


@OVERFLOW_POLICIES.register_module("chunk")
def add_windows(layout: Layout, order: list[int], lengths: list[int], room: int) -> list[list[int]]:
    """Use as many windows as necessary; the network attends to all of them.

    Raises:
        UserError: an object is longer than a window.
    """
    windows, used = [[]], 0
    for k in order:
        if lengths[k] > room:
            raise UserError(
                f"image {layout.image_id}: {layout.names[k]!r} alone needs {lengths[k]} tokens, but a window has "
                f"room for {room}; shorten the class's name"
            )
        if used + lengths[k] > room:
            windows.append([])
            used = 0
        windows[-1].append(k)
        used += lengths[k]
    return windows
