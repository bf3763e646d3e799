"""Attribute strategies: which perception-aware attributes the objects of a layout are generated with.

A strategy is a callable ``(Layout, random.Random) -> Layout`` with a ``name``, which is part of the images' ids: two
instances with different options need different names. To add one, register its class with
``@STRATEGIES.register_module()`` (subclass :class:`Strategy` for the handling of ``background``) and select it by its
class name.
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
"""Strategies by their name on the command line; those of the paper (section 4) are origin, easy and hard."""


class Strategy:
    """Base class: sets the attribute of every object whose class the attribute detector knows.

    ``background`` objects keep their attribute, as the generator is never trained with easy or hard stuff.

    Args:
        nameable: names of the classes that the attribute detector knows. In a layout without attributes, objects of
            all other classes become ``background``. None: layouts without attributes are an error.
        levels: the difficulty levels, easiest first.

    Attributes:
        name: letters, digits, ``_``, ``-`` and ``.``; part of image ids and file names.
        reads_attributes: whether the result depends on the source's attributes, so that layouts must have them.
    """

    name: str
    reads_attributes = False

    def __init__(self, nameable: Collection[str] | None = None, levels: Sequence[str] = LEVELS) -> None:
        self.nameable = None if nameable is None else frozenset(nameable)
        self.levels = tuple(levels)

    def level(self, word: object, option: str) -> str:
        """Return ``word`` if it is one of the levels, else raise a UserError that names ``option``."""
        if word not in self.levels:
            raise UserError(
                f"strategy option {option}: must be one of {', '.join(map(repr, self.levels))}, got {word!r}"
            )
        return word

    def attribute_of(self, name: str, attribute: str | None, rng: random.Random) -> str:
        """Return the new attribute of an object that is not background.

        Args:
            name: class name of the object.
            attribute: its attribute in the source; None if the layout has no attributes.
            rng: random generator, seeded by source image, sample index and seed.
        """
        raise NotImplementedError

    def __call__(self, layout: Layout, rng: random.Random | None = None) -> Layout:
        """Return the layout with this strategy's attributes.

        Raises:
            UserError: the layout has no attributes, and the strategy reads them or ``nameable`` is None.
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
            unknown = "which objects the attribute detector can name"
            if self.reads_attributes:
                unknown = "which of its objects are easy and which are hard"
            raise UserError(
                f"strategy {self.name!r}: the layout of image {layout.image_id} has no attributes, so it is "
                f"unknown {unknown}; give the layouts' attributes file (`attributes`; tools/extract_attributes.py "
                "writes it)"
            )


@STRATEGIES.register_module()
class OriginStrategy(Strategy):
    """Keeps the attributes of the source; layouts without attributes are not changed."""

    name = "origin"
    reads_attributes = True

    def __call__(self, layout: Layout, rng: random.Random | None = None) -> Layout:
        return layout


@STRATEGIES.register_module()
class UniformStrategy(Strategy):
    """Sets the same attribute on every object whose class the attribute detector knows.

    Args:
        attribute: a level, by default 'easy' or 'hard'.
        include_background: replace ``background`` too (the literal reading of "all objects").
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
    """Exchanges easy and hard: objects that the detector found become hard, missed objects become easy.

    With more than two levels, the first is exchanged with the last, the second with the last but one, and so on.

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
    """Samples the attribute of every object at random, reproducibly for a given seed.

    Args:
        ratio: probability of ``attribute``, in [0, 1].
        attribute, other: the two attributes; default: the hardest and the easiest level.
        by: 'object' samples for each object, 'image' once for all objects of an image.
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
        self.name = f"mix-{self.ratio:.6g}-{self.attribute}-{self.other}"
        if by == "image":
            self.name += "-image"

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
    """Sets the attribute by class.

    Args:
        attributes: attributes by class name.
        default: attribute of the other classes, or 'origin' to keep that of the source.
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
                "strategy 'per-class': no classes given; e.g. `strategy_options` attributes.person=hard default=easy"
            )
        self.attributes = {name: self.level(a, f"attributes.{name}") for name, a in attributes.items()}
        self.default = default if default == "origin" else self.level(default, "default")
        self.reads_attributes = default == "origin"
        facts = json.dumps([sorted(self.attributes.items()), default]).encode()
        self.name = f"per-class-{hashlib.sha256(facts).hexdigest()[:8]}"

    def check_classes(self, classes: Collection[str]) -> None:
        """Raise a UserError if a class of ``attributes`` is not among ``classes``."""
        for name in self.attributes:
            if name not in classes:
                raise UserError(
                    f"strategy 'per-class': {name!r} is not one of the layouts' {len(classes)} classes; "
                    f"{similar(name, classes)}"
                )

    def attribute_of(self, name: str, attribute: str | None, rng: random.Random) -> str:
        chosen = self.attributes.get(name, self.default)
        return attribute if chosen == "origin" else chosen


def build_strategy(
    cfg: str | dict, nameable: Collection[str] | None = None, levels: Sequence[str] = LEVELS, **options
):
    """Build a strategy.

    Args:
        cfg: one of :data:`NAMED_STRATEGIES`, one of ``levels`` for all objects, the class name of a registered
            strategy, or a config dict with ``type``.
        nameable, levels: see :class:`Strategy`; defaults for strategies that accept these arguments.
        options: arguments of the strategy, which override those of ``cfg``.

    Raises:
        UserError: the strategy does not exist, or does not accept an argument.
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
    cls = cfg.get("type")
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
    """Return a strategy's class by name; custom strategies for earlier versions are registered in TASK_UTILS."""
    return STRATEGIES.get(name) or TASK_UTILS.module_dict.get(name)  # a lookup there would import mmdet
