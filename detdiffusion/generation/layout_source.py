"""Reading of the layouts that a set is generated from, with their attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.datasets.layout_index import LayoutIndex
from detdiffusion.generation.compose import LayoutComposer
from detdiffusion.generation.edits import LayoutEdits
from detdiffusion.generation.options import EDIT, ContentOptions, LayoutOptions
from detdiffusion.generation.oversampling import repeat_factors, samples_of, samples_of_file
from detdiffusion.generation.real_images import RealSource
from detdiffusion.generation.strategies import Strategy, build_strategy
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config


@dataclass
class LayoutSource:
    """All layouts of a set with their attributes.

    Class frequencies, for ``swap`` and oversampling, are those of all layouts, even if only a part is used.

    Attributes:
        layouts: layouts of all images that pass the data set's filter.
        categories: COCO category dicts.
        classes: class names.
        ann_files: COCO jsons of the layouts.
        file: their attributes; None for a model without attributes.
        config: path of the generator's config, for messages.
        digest: SHA-256 of the ids of images and objects, which changes with the data set's filter.
        dataset: the data set of the layouts.
        nameable: names of the classes that are objects: those that the attribute detector knows, or without attributes
            those that are not stuff, see :func:`_things`; None: all.
        nameable_file: the attributes file that lists them, or None.
    """

    layouts: Sequence[Layout]
    categories: list[dict]
    classes: list[str]
    ann_files: list[str]
    file: AttributesFile | None
    config: str
    digest: str
    dataset: Any = None
    nameable: list[str] | None = None
    nameable_file: Path | str | None = None

    @classmethod
    def read(
        cls,
        cfg: Config,
        config: str,
        options: LayoutOptions,
        with_attributes: bool,
        say: Callable[[str], None] = print,
    ) -> LayoutSource:
        """Read the layouts of a config, see :func:`read_layouts`.

        A custom data set needs ``layouts`` (a sequence), ``categories`` and ``classes``; ``ann_files`` is optional.

        Args:
            cfg, config, options: as for :func:`read_layouts`.
            with_attributes: whether the model's prompts have attributes.
            say: prints a line for the user.

        Raises:
            UserError: as :func:`read_layouts`; or an attributes file is needed but not given, or the data set lacks
                one of these attributes.
        """
        dataset, attributes = read_layouts(cfg, config, options)
        if with_attributes and attributes is None:
            raise UserError(
                f"the model of {config} needs attributes, but no attributes file is given: set `attributes` "
                "(a file written by tools/extract_attributes.py)"
            )
        lacking = [name for name in ("layouts", "categories", "classes") if not hasattr(dataset, name)]
        if lacking:
            raise UserError(
                f"{config}: its data set {type(dataset).__name__} has no {' and no '.join(lacking)}; see "
                "LayoutCocoDataset"
            )
        file = AttributesFile.read(attributes) if with_attributes else None
        listed = file
        if options.attributes is not None and not with_attributes:
            listed = AttributesFile.read(options.attributes)
            say(
                f"note: the model of {config} does not use attributes; of {options.attributes}, only the list of "
                "nameable classes is used, by edits, new layouts and real images"
            )
        nameable = listed.info.get("nameable") if listed else None
        if nameable is None and not with_attributes:
            nameable = _things(dataset, say)
        return cls(
            layouts=dataset.layouts,
            categories=dataset.categories,
            classes=dataset.classes,
            ann_files=list(getattr(dataset, "ann_files", ())),
            file=file,
            config=config,
            digest=_digest(dataset.layouts),
            dataset=dataset,
            nameable=nameable,
            nameable_file=listed.path if listed and "nameable" in listed.info else None,
        )

    def strategy(self, strategy: str | dict, options: Mapping | None, say: Callable[[str], None]):
        """Build the strategy, and set the attributes that it needs on the layouts."""
        levels = dict(levels=self.file.words[:-1]) if self.file else {}
        chosen = build_strategy(strategy, self.nameable, **levels, **(options or {}))
        if self.file is None:
            if chosen.name != "origin":
                raise UserError(
                    f"strategy {strategy!r}: the model of {self.config} does not use attributes; use 'origin'"
                )
            return chosen
        if hasattr(chosen, "check_classes"):
            chosen.check_classes(self.classes)
        self.layouts = with_attributes(self.layouts, self.file, chosen, self.config, self.ann_files, say)
        return chosen

    def editor(self, content: ContentOptions) -> LayoutEdits | LayoutComposer | None:
        """Build what makes new layouts of these, or return None if they stay as they are."""
        kind, context = content.layouts, dict(nameable=self.nameable, layouts=self.layouts)
        if kind == EDIT:
            return LayoutEdits.defaults(categories=self.categories, **context)
        if kind is not None:
            return LayoutComposer(kind, oversample_thr=content.oversample_thr, **context)
        if not content.edits:
            return None
        return LayoutEdits.from_options(content.edits, categories=self.categories, **context)

    def real_images(
        self,
        layouts: Sequence[Layout],
        strength: float | None,
        keep: str | None,
        say: Callable[[str], None] = print,
    ) -> RealSource | None:
        """Return the reader of the layouts' real images, or None if ``strength`` is None."""
        if strength is None:
            return None
        real = RealSource(self.dataset, layouts, strength, keep, self.nameable)
        if real.unlabelled:
            say(
                f"note: {sum(map(len, real.unlabelled.values()))} objects of {len(real.unlabelled)} of the "
                f"{len(layouts)} real images are not in the layouts (crowds, small objects, other classes): where "
                "they stay visible, they are annotated as ignored regions (iscrowd 1)"
            )
        return real

    def samples(self, content: ContentOptions, say: Callable[[str], None]) -> list[int]:
        """Return the number of images for each of the first ``content.limit`` layouts.

        Raises:
            UserError: see :mod:`.oversampling`.
        """
        layouts, samples = self.layouts[: content.limit], content.samples_per_image
        if content.samples_file is not None:
            counts = samples_of_file(content.samples_file, self.layouts, samples, say)[: content.limit]
            say(f"{content.samples_file}: {sum(counts)} images of {len(counts)} layouts")
            return counts
        if content.oversample_thr is None:
            return [samples] * len(layouts)
        factors = repeat_factors(self.layouts, content.oversample_thr)
        counts = samples_of(layouts, factors, samples, content.seed)
        more = sum(count > samples for count in counts)
        say(
            f"oversampling classes in less than {content.oversample_thr:.3g} of the layouts: {more} of {len(counts)} "
            f"layouts get additional images, {sum(counts)} images in total instead of {samples * len(counts)}"
        )
        return counts


def _things(dataset: Any, say: Callable[[str], None]) -> list[str] | None:
    """Return the names of classes other than stuff, or None if there is no stuff.

    As COCO keeps things and stuff in two files, a class is stuff if its objects are in the second and later annotation
    files only.
    """
    layouts = dataset.layouts
    if not isinstance(layouts, LayoutIndex) or not (layouts.owner > 0).any():
        return None
    later = set(layouts.category_ids.tolist()) - set(layouts.category_ids[layouts.owner == 0].tolist())
    stuff = sorted(layouts.names[key] for key in later)
    if not stuff:
        return None
    say(
        f"note: classes of the second annotation file count as stuff, which edits only mirror: {', '.join(stuff)}"
    )
    return [name for name in dataset.classes if name not in stuff]


def _digest(layouts: Sequence[Layout]) -> str:
    """Return the SHA-256 of the images' ids, the offsets of their objects, and the objects' ids."""
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
    """Build the data set of layouts, and find its attributes file.

    Args:
        cfg: the generator's parsed config.
        config: path of the config, for messages.
        options: where the layouts and their attributes come from.

    Returns:
        The data set, and the path of the attributes file or None.

    Raises:
        UserError: the split does not exist, or a file is missing or damaged.
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
        # Other splits use the training data's file too, as easy and hard only need its nameable classes.
        steps = [*steps, *cfg.get("train_dataloader", {}).get("dataset", {}).get("pipeline", [])]
        loaders = [s for s in steps if str(s.get("type", "")).endswith("LoadPerceptionAttributes")]
        attributes = loaders[0]["attributes_file"] if loaders else None
    if options.ann:
        # Only from_real reads the source images; without it any existing folder will do.
        folder = options.img_dir or _likely_folder(Path(options.ann[0]).resolve().parent)
        spec.pop("data_root", None)
        spec.update(ann_files=[str(path) for path in options.ann], img_dir=str(folder))
    return DATASETS.build(spec), attributes


def _likely_folder(parent: Path) -> Path:
    """Return ``images`` in the annotations' folder or next to it, or the annotations' folder if there is none."""
    return next((f for f in (parent / "images", parent.parent / "images") if f.is_dir()), parent)


def with_attributes(
    layouts: Sequence[Layout],
    file: AttributesFile,
    strategy: Strategy,
    config: str,
    ann_files: Sequence[str],
    say: Callable[[str], None] = print,
) -> list[Layout]:
    """Return the layouts with the attributes of a file.

    If the file belongs to another data set, the layouts get no attributes, provided that the strategy needs only the
    file's nameable classes. See :meth:`~detdiffusion.datasets.attributes_file.AttributesFile.misfit` for how objects
    are matched to the file.

    Args:
        layouts: layouts of ``ann_files``.
        file: the attributes file.
        strategy: a strategy that was built with the file's nameable classes.
        config: path of the generator's config, for messages.
        ann_files: COCO jsons of the layouts.
        say: prints a line for the user.

    Raises:
        UserError: the file belongs to another data set, and the strategy needs the attributes of the objects.
    """
    indexed = isinstance(layouts, LayoutIndex)
    ids = layouts.ids.tolist() if indexed else [i for layout in layouts for i in layout.ids]
    complete = all(i in file.attributes for i in ids)
    misfit = file.misfit(ids, ann_files, layouts.digests if indexed else None)
    nameable = file.info.get("nameable")
    if (misfit or not complete) and nameable and not getattr(strategy, "reads_attributes", True):
        say(
            f"{file.path}: is of another set; {strategy.name!r} uses only its list of {len(nameable)} nameable "
            "classes"
        )
        return [replace(layout, attributes=None) for layout in layouts]
    file.check(ids, config)
    if misfit:
        raise UserError(
            f"{file.path}: {misfit}; create it again from these annotations with tools/extract_attributes.py"
        )
    return [layout.with_attributes([file.attributes[i] for i in layout.ids]) for layout in layouts]
