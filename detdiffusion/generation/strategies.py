"""Attribute strategies: which perception-aware attributes the objects of a layout are generated with.

A strategy is a callable ``(Layout, random.Random) -> Layout`` with a ``name`` that enters the ids of the images, so
two strategies that differ need two names. Register a new one with ``@STRATEGIES.register_module()`` (inherit
:class:`Strategy` for the handling of ``background``) and give its class name wherever a strategy is asked for.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import random
from collections.abc import Collection, Mapping, Sequence

from detdiffusion.datasets.class_names import similar
from detdiffusion.registry import STRATEGIES, TASK_UTILS
from detdiffusion.structures import ATTRIBUTES, Layout
from detdiffusion.utils.errors import UserError

BACKGROUND = "background"
LEVELS = ATTRIBUTES[:-1]
NAMED_STRATEGIES = {
    "origin": dict(type="OriginStrategy"),
    "easy": dict(type="UniformStrategy", attribute="easy"),
    "hard": dict(type="UniformStrategy", attribute="hard"),
    "flip": dict(type="FlipStrategy"),
    "mix": dict(type="MixStrategy"),
    "per-class": dict(type="PerClassStrategy"),
}
"""Strategies by the name that tools take: the paper's (section 4) are origin, easy and hard."""


class Strategy:
    """Rewrites the attribute of every object that the attribute detector can name.

    Objects marked ``background`` keep it, because no stuff object was ever trained as easy or hard.

    Args:
        nameable: class names that the attribute detector can name; tells which objects are ``background`` in
            layouts that carry no attributes. None: such layouts are an error.
        levels: the difficulty levels, the easiest first.

    Attributes:
        name: letters, digits, ``_``, ``-`` and ``.``; part of image ids and file names.
        reads_attributes: the result depends on the source's own attributes, so layouts must have them.
    """

    name: str
    reads_attributes = False

    def __init__(self, nameable: Collection[str] | None = None, levels: Sequence[str] = LEVELS) -> None:
        self.nameable = None if nameable is None else frozenset(nameable)
        self.levels = tuple(levels)

    def level(self, word: object, option: str) -> str:
        """``word`` if it is one of the levels, else a UserError that names ``option``."""
        if word not in self.levels:
            raise UserError(
                f"strategy option {option}: must be one of {', '.join(map(repr, self.levels))}, got {word!r}"
            )
        return word

    def attribute_of(self, name: str, attribute: str | None, rng: random.Random) -> str:
        """The new attribute of one object that is not background.

        Args:
            name: its class.
            attribute: of the source; None where the layout carries none.
            rng: a pure function of source image, sample index and seed.
        """
        raise NotImplementedError

    def __call__(self, layout: Layout, rng: random.Random | None = None) -> Layout:
        """The layout with this strategy's attributes.

        Raises:
            UserError: the layout has no attributes, and they or ``nameable`` are needed.
        """
        rng = random.Random(0) if rng is None else rng
        old = layout.attributes
        if old is None:
            self._check_known(layout)
            old = [None if name in self.nameable else BACKGROUND for name in layout.names]
        return layout.with_attributes(
            [
                attribute if attribute == BACKGROUND else self.attribute_of(name, attribute, rng)
                for name, attribute in zip(layout.names, old)
            ]
        )

    def _check_known(self, layout: Layout) -> None:
        if self.nameable is None or self.reads_attributes:
            why = (
                "which of its objects are easy and which are hard"
                if self.reads_attributes
                else "which objects the attribute detector can name"
            )
            raise UserError(
                f"strategy {self.name!r}: the layout of image {layout.image_id} has no attributes, so it is "
                f"unknown {why}; give the layouts' attributes file (`attributes`; tools/extract_attributes.py "
                "writes it)"
            )


@STRATEGIES.register_module()
class OriginStrategy(Strategy):
    """Keeps the attributes that the detector gave the source's objects; layouts without any stay so."""

    name = "origin"
    reads_attributes = True

    def __call__(self, layout: Layout, rng: random.Random | None = None) -> Layout:
        return layout


@STRATEGIES.register_module()
class UniformStrategy(Strategy):
    """Sets one attribute on every object that the attribute detector can name.

    Args:
        attribute: a level, 'easy' or 'hard'.
        include_background: rewrite ``background`` too (the literal reading of "all objects").
        nameable, levels: see :class:`Strategy`.
    """

    def __init__(
        self,
        attribute: str,
        include_background: bool = False,
        nameable: Collection[str] | None = None,
        levels: Sequence[str] = LEVELS,
    ) -> None:
        super().__init__(nameable, levels)
        self.attribute = self.level(attribute, "attribute")
        self.include_background = include_background
        self.name = f"{attribute}-all" if include_background else attribute

    def attribute_of(self, name: str, attribute: str | None, rng: random.Random) -> str:
        return self.attribute

    def __call__(self, layout: Layout, rng: random.Random | None = None) -> Layout:
        if self.include_background:
            return layout.with_attributes([self.attribute] * len(layout))
        return super().__call__(layout, rng)


@STRATEGIES.register_module()
class FlipStrategy(Strategy):
    """What the detector found becomes hard, what it missed becomes easy.

    Of more than two levels the first is exchanged with the last, the second with the last but one, and so on.

    Args:
        nameable, levels: see :class:`Strategy`.
    """

    name = "flip"
    reads_attributes = True

    def __init__(self, nameable: Collection[str] | None = None, levels: Sequence[str] = LEVELS) -> None:
        super().__init__(nameable, levels)
        self._other = dict(zip(self.levels, reversed(self.levels)))

    def attribute_of(self, name: str, attribute: str | None, rng: random.Random) -> str:
        return self._other.get(attribute, attribute)


@STRATEGIES.register_module()
class MixStrategy(Strategy):
    """Draws every object's attribute at random; the same seed draws the same again.

    Args:
        ratio: share of the objects that become ``attribute``, in [0, 1].
        attribute, other: the two attributes; default: the hardest and the easiest level.
        by: 'object' draws for each object, 'image' once for all objects of an image.
        nameable, levels: see :class:`Strategy`.
    """

    def __init__(
        self,
        ratio: float = 0.5,
        attribute: str | None = None,
        other: str | None = None,
        by: str = "object",
        nameable: Collection[str] | None = None,
        levels: Sequence[str] = LEVELS,
    ) -> None:
        super().__init__(nameable, levels)
        if not isinstance(ratio, (int, float)) or not 0 <= ratio <= 1:
            raise UserError(f"strategy 'mix': ratio must be in [0, 1], got {ratio!r}")
        if by not in ("object", "image"):
            raise UserError(f"strategy 'mix': by must be 'object' or 'image', got {by!r}")
        self.ratio, self.by = float(ratio), by
        self.attribute = self.level(attribute or self.levels[-1], "attribute")
        self.other = self.level(other or self.levels[0], "other")
        self.name = f"mix-{self.ratio:.6g}-{self.attribute}-{self.other}" + (
            "-image" if by == "image" else ""
        )

    def attribute_of(self, name: str, attribute: str | None, rng: random.Random) -> str:
        return self.attribute if rng.random() < self.ratio else self.other

    def __call__(self, layout: Layout, rng: random.Random | None = None) -> Layout:
        if self.by == "image":
            first = random.Random(0).random() if rng is None else rng.random()
            chosen = self.attribute if first < self.ratio else self.other
            return UniformStrategy(chosen, nameable=self.nameable, levels=self.levels)(layout)
        return super().__call__(layout, rng)


@STRATEGIES.register_module()
class PerClassStrategy(Strategy):
    """An attribute for each class.

    Args:
        attributes: class name -> attribute.
        default: of the other classes: an attribute, or 'origin' to keep the source's.
        nameable, levels: see :class:`Strategy`.
    """

    def __init__(
        self,
        attributes: Mapping[str, str] | None = None,
        default: str = "origin",
        nameable: Collection[str] | None = None,
        levels: Sequence[str] = LEVELS,
    ) -> None:
        super().__init__(nameable, levels)
        if not attributes:
            raise UserError(
                "strategy 'per-class': name the classes, e.g. `strategy_options` attributes.person=hard default=easy"
            )
        self.attributes = {name: self.level(a, f"attributes.{name}") for name, a in attributes.items()}
        self.default = default if default == "origin" else self.level(default, "default")
        self.reads_attributes = default == "origin"
        facts = json.dumps([sorted(self.attributes.items()), default]).encode()
        self.name = f"per-class-{hashlib.sha256(facts).hexdigest()[:8]}"

    def check_classes(self, classes: Collection[str]) -> None:
        """Raises UserError if a class of ``attributes`` is not among ``classes``."""
        for name in self.attributes:
            if name not in classes:
                raise UserError(
                    f"strategy 'per-class': {name!r} is none of the layouts' {len(classes)} classes; "
                    f"{similar(name, classes)}"
                )

    def attribute_of(self, name: str, attribute: str | None, rng: random.Random) -> str:
        chosen = self.attributes.get(name, self.default)
        return attribute if chosen == "origin" else chosen


def build_strategy(
    cfg: str | dict, nameable: Collection[str] | None = None, levels: Sequence[str] = LEVELS, **options
):
    """Builds a strategy.

    Args:
        cfg: one of :data:`NAMED_STRATEGIES`, one of ``levels`` for all objects, the class name of a registered
            strategy, or a config dict with ``type``.
        nameable, levels: see :class:`Strategy`; for strategies that take them and are not given them.
        options: arguments of the strategy, over those of ``cfg``.

    Raises:
        UserError: no such strategy, or arguments that it does not take.
    """
    if isinstance(cfg, str):
        if cfg in levels:
            cfg = dict(type="UniformStrategy", attribute=cfg)
        elif cfg not in NAMED_STRATEGIES and _registered(cfg) is None:
            near = difflib.get_close_matches(cfg, NAMED_STRATEGIES, n=2)
            raise UserError(
                f"unknown strategy {cfg!r}{', did you mean ' + ' or '.join(near) if near else ''}; known: "
                f"{', '.join(NAMED_STRATEGIES)}, or a class registered in STRATEGIES (custom_imports of the config)"
            )
        else:
            cfg = NAMED_STRATEGIES.get(cfg, dict(type=cfg))
    cls = cfg["type"] if "type" in cfg else None
    cls = _registered(cls) if isinstance(cls, str) else cls
    if cls is None:
        raise UserError(f"unknown strategy {cfg!r}: no such type is registered in STRATEGIES")
    cfg = {**cfg, **options}
    parameters = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [key for key in cfg if key not in ("type", *parameters)]
    if unknown and not takes_any:
        known = [key for key in parameters if key not in ("nameable", "levels")]
        raise UserError(
            f"strategy {cls.__name__}: unknown option(s) {', '.join(unknown)}; it takes {', '.join(known) or 'none'}"
        )
    for key, value in (("nameable", nameable), ("levels", levels)):
        if key in parameters:
            cfg.setdefault(key, value)
    del cfg["type"]
    try:
        return cls(**cfg)
    except UserError:
        raise
    except (TypeError, AttributeError) as error:
        raise UserError(f"strategy {cls.__name__}: {error}") from error


def _registered(name: str) -> type | None:
    """A strategy's class by name; a user's own of an earlier version is registered in TASK_UTILS."""
    return STRATEGIES.get(name) or TASK_UTILS.get(name)
