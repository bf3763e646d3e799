"""The layouts that a set is generated from, and their attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.datasets.layout_index import LayoutIndex
from detdiffusion.generation.edits import LayoutEdits
from detdiffusion.generation.options import LayoutOptions
from detdiffusion.generation.oversampling import repeat_factors, samples_of
from detdiffusion.generation.strategies import Strategy, build_strategy
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config


@dataclass
class LayoutSource:
    """All layouts of a set with their attributes, and what may be said about them.

    Class frequencies, for ``swap`` and for oversampling, are those of all layouts, however few of them are drawn.

    Attributes:
        layouts: of all images that the data set's filter leaves.
        categories: COCO category dicts.
        classes: class names.
        ann_files: COCO jsons of the layouts.
        file: their attributes; None for a model that writes none.
        config: path of the generator's config, for messages.
        digest: SHA-256 of which objects the layouts hold: it tells another filter.
    """

    layouts: Sequence[Layout]
    categories: list[dict]
    classes: list[str]
    ann_files: list[str]
    file: AttributesFile | None
    config: str
    digest: str

    @classmethod
    def read(
        cls,
        cfg: Config,
        config: str,
        options: LayoutOptions,
        with_attributes: bool,
        say: Callable[[str], None] = print,
    ) -> LayoutSource:
        """See :func:`read_layouts`; ``with_attributes`` says whether the model writes attributes.

        A data set of the user's own needs ``layouts`` (a sequence), ``categories`` and ``classes``, and ``ann_files``
        where it has any.

        Raises:
            UserError: as there, no attributes file where one is needed, or a data set without what drawing needs.
        """
        if options.attributes is not None and not with_attributes:
            if not Path(options.attributes).is_file():
                raise UserError(f"{options.attributes}: no such attributes file")
            say(f"note: the model of {config} writes no attributes; {options.attributes} is not used")
        dataset, attributes = read_layouts(cfg, config, options)
        if with_attributes and attributes is None:
            raise UserError(
                f"the model of {config} wants attributes, but no file is named: give `attributes` "
                "(tools/extract_attributes.py writes it)"
            )
        lacking = [name for name in ("layouts", "categories", "classes") if not hasattr(dataset, name)]
        if lacking:
            raise UserError(
                f"{config}: its data set {type(dataset).__name__} has no {' and no '.join(lacking)}; see "
                "LayoutCocoDataset"
            )
        return cls(
            layouts=dataset.layouts,
            categories=dataset.categories,
            classes=dataset.classes,
            ann_files=list(getattr(dataset, "ann_files", ())),
            file=AttributesFile.read(attributes) if with_attributes else None,
            config=config,
            digest=_digest(dataset.layouts),
        )

    @property
    def nameable(self) -> list[str] | None:
        """Class names that the attribute detector can name, where the file says."""
        return self.file.info.get("nameable") if self.file else None

    def strategy(self, strategy: str | dict, options: Mapping | None, say: Callable[[str], None]):
        """The strategy; the layouts get the attributes that it works on."""
        levels = dict(levels=self.file.words[:-1]) if self.file else {}
        chosen = build_strategy(strategy, self.nameable, **levels, **(options or {}))
        if self.file is None:
            if chosen.name != "origin":
                raise UserError(
                    f"strategy {strategy!r}: the model of {self.config} writes no attributes; use 'origin'"
                )
            return chosen
        if hasattr(chosen, "check_classes"):
            chosen.check_classes(self.classes)
        self.layouts = with_attributes(self.layouts, self.file, chosen, self.config, self.ann_files, say)
        return chosen

    def editor(self, edits: Mapping[str, float] | None) -> LayoutEdits | None:
        """The edits, if there are any."""
        if not edits:
            return None
        return LayoutEdits.from_options(
            edits, nameable=self.nameable, categories=self.categories, layouts=self.layouts
        )

    def samples(
        self, threshold: float | None, samples: int, seed: int, limit: int | None, say: Callable[[str], None]
    ) -> list[int]:
        """Images of each of the first ``limit`` layouts."""
        if threshold is None:
            return [samples] * len(self.layouts[:limit])
        factors = repeat_factors(self.layouts, threshold)
        counts = samples_of(self.layouts[:limit], factors, samples, seed)
        more = sum(count > samples for count in counts)
        say(
            f"oversampling classes in less than {threshold:.3g} of the layouts: {more} of {len(counts)} layouts get "
            f"more images, {sum(counts)} images in all instead of {samples * len(counts)}"
        )
        return counts


def _digest(layouts: Sequence[Layout]) -> str:
    """Of the images' ids, where each one's objects begin and end, and the objects' ids."""
    if isinstance(layouts, LayoutIndex):
        columns = (layouts.image_ids, layouts.first, layouts.ids)
    else:
        counts = [len(layout) for layout in layouts]
        columns = (
            [layout.image_id for layout in layouts],
            np.cumsum([0, *counts]),
            [i for layout in layouts for i in layout.ids],
        )
    digest = hashlib.sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column, "<i8").tobytes())
    return digest.hexdigest()


def read_layouts(cfg: Config, config: str, options: LayoutOptions) -> tuple[Any, str | Path | None]:
    """The data set of layouts, and the attributes file that goes with it.

    Args:
        cfg: the generator's parsed config; ``config`` is its path, for messages.
        options: where the layouts and their attributes come from.

    Raises:
        UserError: no such split, or anything wrong with the files.
    """
    from detdiffusion.registry import DATASETS

    split, attributes = options.split, options.attributes
    splits = cfg.get("layout_datasets", {})
    spec = splits.get(split)
    if spec is None and split == "train":
        spec = cfg.get("train_dataloader", {}).get("dataset")
    if spec is None:
        known = sorted({*splits, *(["train"] if "train_dataloader" in cfg else [])})
        raise UserError(
            f"{config}: has no layouts for split {split!r} (it has: {', '.join(known) or 'none'}); "
            "name a set in layout_datasets"
        )
    spec = spec.to_dict() if hasattr(spec, "to_dict") else dict(spec)
    steps = spec.pop("pipeline", [])
    if attributes is None and not options.ann:
        # The training data's file serves another split too: easy and hard want only the nameable classes.
        steps = [*steps, *cfg.get("train_dataloader", {}).get("dataset", {}).get("pipeline", [])]
        loaders = [s for s in steps if str(s.get("type", "")).endswith("LoadPerceptionAttributes")]
        attributes = loaders[0]["attributes_file"] if loaders else None
    if options.ann:
        # Drawing reads no source image: without its folder any that exists will do.
        folder = options.img_dir or Path(options.ann[0]).resolve().parent
        spec.pop("data_root", None)
        spec.update(ann_files=[str(path) for path in options.ann], img_dir=str(folder))
    return DATASETS.build(spec), attributes


def with_attributes(
    layouts: Sequence[Layout],
    file: AttributesFile,
    strategy: Strategy,
    config: str,
    ann_files: Sequence[str],
    say: Callable[[str], None] = print,
) -> list[Layout]:
    """Layouts with the attributes of a file, or without any where it is another set's and the strategy needs none.

    An object gets an attribute only if it is the one that the attribute was made for, see
    :meth:`~detdiffusion.datasets.attributes_file.AttributesFile.misfit`.

    Args:
        layouts: of ``ann_files``.
        file: the attributes.
        strategy: a strategy that was built with the file's nameable classes.
        config: of the generator, for messages.
        ann_files: the layouts' COCO jsons.
        say: prints a line for the user.

    Raises:
        UserError: the file is of another set, and the strategy needs the objects' own attributes.
    """
    indexed = isinstance(layouts, LayoutIndex)
    ids = layouts.ids.tolist() if indexed else [i for layout in layouts for i in layout.ids]
    complete = all(i in file.attributes for i in ids)
    misfit = file.misfit(ids, ann_files, layouts.digests if indexed else None)
    nameable = file.info.get("nameable")
    if (misfit or not complete) and nameable and not getattr(strategy, "reads_attributes", True):
        say(
            f"{file.path}: is of another set; {strategy.name!r} takes from it only the {len(nameable)} nameable "
            "classes"
        )
        return [replace(layout, attributes=None) for layout in layouts]
    file.check(ids, config)
    if misfit:
        raise UserError(
            f"{file.path}: {misfit}; make it anew by tools/extract_attributes.py from the files in use"
        )
    return [layout.with_attributes(file.lookup(layout.ids, "")) for layout in layouts]
