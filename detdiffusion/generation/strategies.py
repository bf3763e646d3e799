"""Attribute strategies: which perception-aware attributes the objects of a layout are generated with.

A strategy is a callable ``Layout -> Layout`` with a ``name`` that enters the ids of the images. Register a
new one with ``@TASK_UTILS.register_module()`` and name it in ``build_strategy(dict(type=...))``.
"""

from __future__ import annotations

from collections.abc import Collection

from detdiffusion.registry import TASK_UTILS
from detdiffusion.structures import ATTRIBUTES, Layout
from detdiffusion.utils.errors import UserError

STRATEGIES = ("origin", "easy", "hard")
"""The strategies of the paper (section 4), by the name that tools take."""


@TASK_UTILS.register_module()
class OriginStrategy:
    """Keeps the attributes that the detector gave the source's objects."""

    name = "origin"
    needs_attributes = False

    def __call__(self, layout: Layout) -> Layout:
        return layout


@TASK_UTILS.register_module()
class UniformStrategy:
    """Sets one attribute on every object that the attribute detector can name.

    Objects marked ``background`` keep it, because no stuff object was ever trained as easy or hard.

    Args:
        attribute: 'easy' or 'hard'.
        nameable: class names that the attribute detector can name; used for layouts that carry no attributes
            yet. None: such layouts are an error.
        include_background: rewrite ``background`` too (the literal reading of "all objects").
    """

    needs_attributes = True

    def __init__(
        self, attribute: str, nameable: Collection[str] | None = None, include_background: bool = False
    ) -> None:
        if attribute not in ATTRIBUTES or attribute == "background":
            raise UserError(f"strategy attribute must be 'easy' or 'hard', got {attribute!r}")
        self.attribute = attribute
        self.nameable = None if nameable is None else frozenset(nameable)
        self.include_background = include_background
        self.name = f"{attribute}-all" if include_background else attribute

    def __call__(self, layout: Layout) -> Layout:
        """The layout with this strategy's attributes.

        Raises:
            UserError: the layout has no attributes and ``nameable`` is not given.
        """
        if layout.attributes is not None:
            background = [attribute == "background" for attribute in layout.attributes]
        elif self.nameable is not None:
            background = [name not in self.nameable for name in layout.names]
        elif self.include_background:
            background = [False] * len(layout)
        else:
            raise UserError(
                f"strategy {self.name!r}: the layout of image {layout.image_id} has no attributes, so it is "
                "unknown which objects the attribute detector can name; give the layouts' attributes file "
                "(--attributes; tools/extract_attributes.py writes it)"
            )
        keep = "background" if not self.include_background else self.attribute
        return layout.with_attributes([keep if hidden else self.attribute for hidden in background])


def build_strategy(cfg: str | dict, nameable: Collection[str] | None = None):
    """Builds a strategy.

    Args:
        cfg: one of :data:`STRATEGIES`, or a config dict with ``type`` for a registered one.
        nameable: see :class:`UniformStrategy`; used by the built-in easy and hard.

    Raises:
        UserError: no such strategy.
    """
    if isinstance(cfg, dict):
        if "type" not in cfg or TASK_UTILS.get(cfg["type"]) is None:
            raise UserError(f"unknown strategy {cfg!r}: no such type is registered in TASK_UTILS")
        return TASK_UTILS.build(cfg)
    if cfg == "origin":
        return OriginStrategy()
    if cfg in ("easy", "hard"):
        return UniformStrategy(cfg, nameable=nameable)
    raise UserError(f"unknown strategy {cfg!r}; known: {', '.join(STRATEGIES)}")
