"""The layouts that a set is generated from, and their attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.perception.attributes_file import AttributesFile
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of

_SAME_BOX = 0.01  # pixels: boxes pass through float32 on the way


def read_layouts(cfg, config: str, split: str, ann, img_dir, attributes: str | None):
    """The data set of layouts, and the attributes file that goes with it.

    Args:
        cfg: the generator's parsed config; ``config`` is its path, for messages.
        split: entry of its ``layout_datasets`` ('train': else the training data).
        ann, img_dir: other COCO json files and their images in place of the split's.
        attributes: the attributes file where the user names one.

    Raises:
        UserError: no such split, or anything wrong with the files.
    """
    from detdiffusion.registry import DATASETS

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
    if attributes is None and not ann:
        # The training data's file serves another split too: easy and hard want only the nameable classes.
        steps = [*steps, *cfg.get("train_dataloader", {}).get("dataset", {}).get("pipeline", [])]
        loaders = [s for s in steps if str(s.get("type", "")).endswith("LoadPerceptionAttributes")]
        attributes = loaders[0]["attributes_file"] if loaders else None
    if ann:
        # Drawing reads no source image: without --img-dir any folder that exists will do.
        spec.pop("data_root", None)
        spec.update(ann_files=list(ann), img_dir=img_dir or str(Path(ann[0]).resolve().parent))
    elif img_dir:
        raise UserError("--img-dir goes with --ann; the config names the images of its own splits")
    return DATASETS.build(spec), attributes


def with_attributes(
    layouts: Sequence[Layout],
    file: AttributesFile,
    strategy,
    config: str,
    ann_files: Sequence[str],
    say: Callable[[str], None] = print,
) -> list[Layout]:
    """Layouts with the attributes of a file, or without any where it is another set's and the strategy needs none.

    The file fits if it was made from one of ``ann_files``, byte for byte, or if ``ann_files`` hold a part of the
    objects of the files it was made from, which must still be where they were then.

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
    ids = [i for layout in layouts for i in layout.ids]
    complete = all(i in file.attributes for i in ids)
    fits = complete and file.made_from(ann_files)
    if complete and not fits and _is_part(layouts, file):
        fits = True
        say(f"{file.path}: was made from a set of which the layouts are a part: its attributes are used")
    nameable = file.info.get("nameable")
    if not fits and nameable and not getattr(strategy, "reads_attributes", True):
        say(
            f"{file.path}: is of another set; {strategy.name!r} takes from it only the {len(nameable)} nameable "
            "classes"
        )
        return [replace(layout, attributes=None) for layout in layouts]
    file.check(ids, config)
    if not fits:
        file.check_files(ann_files)
    return [layout.with_attributes(file.lookup(layout.ids, "")) for layout in layouts]


def _is_part(layouts: Sequence[Layout], file: AttributesFile) -> bool:
    """Whether all objects are the same in the files that the attributes were made from."""
    originals: dict[int, dict] = {}
    sources = file.info.get("annotation_files")
    for source in sources if isinstance(sources, list) else ():
        path = Path(str(source.get("path")))
        path = path if path.is_absolute() or path.is_file() else file.path.parent / path
        if not path.is_file() or sha256_of(path) != source.get("sha256"):
            continue
        originals.update({annotation["id"]: annotation for annotation in read_coco(path).annotations})
    for layout in layouts:
        for key, category, box in zip(layout.ids, layout.category_ids, layout.boxes.tolist()):
            one = originals.get(key)
            if one is None or one["category_id"] != category or one["image_id"] != layout.image_id:
                return False
            x, y, w, h = one["bbox"]
            scale = (layout.width, layout.height) * 2
            if any(abs(a * s - b) > _SAME_BOX for a, s, b in zip(box, scale, (x, y, x + w, y + h))):
                return False
    return True
