"""Cutting validation images from a data set, without dividing images of the same scene between the two parts."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.files import check_not_input, write_atomic

from .coco_json import CocoFile, read_coco
from .formats.conversion import place_file
from .image_files import image_folder
from .image_groups import groups_by_pattern, sequences_of, source_of

_TRIES = 16  # candidates, of which the one with the most even classes is taken
_FEW = 5  # groups; fewer cannot be divided by a share
_TOLERANCE = 0.6  # a cut by groups may have this share to its inverse of the images that were asked for


@dataclass(frozen=True)
class Cut:
    """A part that is cut from a data set.

    Attributes:
        chosen: indices of its images.
        rule: how images were kept together, for a report.
    """

    chosen: frozenset[int]
    rule: str


def cut(
    file_names: Sequence[str],
    classes: Sequence[Collection[int]],
    share: float,
    groups: str = "auto",
    seed: int = 0,
) -> Cut:
    """Choose images for a validation or test part.

    Args:
        file_names: names of N images.
        classes: the classes in each image.
        share: share of the images to choose, between 0 and 1.
        groups: ``auto`` keeps copies of one photograph and numbered sequences together where that leaves every class
            something to train on, and otherwise takes the end of each sequence; ``sequences`` always takes the ends;
            ``none`` chooses single images; anything else is a regular expression, see
            :func:`~detdiffusion.datasets.image_groups.groups_by_pattern`.
        seed: seed of the choice.

    Raises:
        UserError: if there are fewer than two images or groups, or the expression is invalid.
    """
    count = len(file_names)
    if count < 2:
        raise UserError(
            f"{count} image cannot be divided: at least two images are needed, better a few hundred"
        )
    names = [str(index) for index in range(count)]
    if groups == "none":
        return Cut(_by_groups(names, classes, share, seed), "single images")
    if groups == "sequences":
        return Cut(_by_ends(file_names, share, seed), "the end of every numbered sequence")
    if groups != "auto":
        names = groups_by_pattern(file_names, groups)
        return Cut(_by_groups(names, classes, share, seed), f"{len(set(names))} groups by {groups!r}")
    sources = [source_of(name) for name in file_names]
    frames = sequences_of(file_names)
    sequences = [f"sequence {frame[0]}" if frame else f"image {name}" for frame, name in zip(frames, sources)]
    if len(set(sequences)) == len(set(sources)):
        copies = len(set(sources)) < count
        names = sources if len(set(sources)) > 1 else names
        rule = f"{len(set(sources))} photographs with their copies" if copies else "single images"
        return Cut(_by_groups(names, classes, share, seed), rule)
    if len(set(sequences)) >= _FEW:
        chosen = _by_groups(sequences, classes, share, seed)
        near = _TOLERANCE <= len(chosen) / (share * count) <= 1 / _TOLERANCE
        if near and not _lost(classes, chosen):
            return Cut(
                chosen,
                f"{len(set(sequences))} numbered sequences, such as {sequences[0].partition(' ')[2]!r}",
            )
    rule = (
        "the end of every numbered sequence, in case they are frames of a video; if they are independent photographs, "
        "`groups` none chooses at random"
    )
    return Cut(_by_ends(file_names, share, seed), rule)


def split_coco(
    ann: str | Path,
    out: str | Path,
    *,
    val_share: float = 0.2,
    test_share: float = 0.0,
    groups: str = "auto",
    seed: int = 0,
    img_dir: str | Path | None = None,
    images: str = "link",
) -> dict[str, Path]:
    """Cut a validation part, and a test part if asked for, from a COCO json; prints what each part holds.

    Writes ``OUT/annotations/{train,val,test}.json``, with the ids of ``ann``, and puts the images under ``OUT/images``.

    Args:
        ann: the COCO json.
        out: output folder.
        val_share, test_share: shares of all images.
        groups, seed: see :func:`cut`.
        img_dir: folder of the images (default: found beside ``ann``).
        images: 'link' creates symbolic links, 'copy' copies, 'none' does not place the images.

    Returns:
        Split -> path of its json.

    Raises:
        UserError: if the json or images are missing or broken, a share is not between 0 and 1, the set cannot be
            divided, or a file cannot be written.
    """
    for name, value in (("val_share", val_share), ("test_share", test_share)):
        if not 0 <= value < 1:
            raise UserError(f"`{name}` must be at least 0 and below 1, it is {value:g}")
    if not 0 < val_share + test_share < 1:
        raise UserError(
            f"`val_share` and `test_share` must add up to more than 0 and less than 1, got {val_share:g} "
            f"and {test_share:g}"
        )
    targets = {name: Path(out) / "annotations" / f"{name}.json" for name in ("train", "val", "test")}
    for path in targets.values():
        check_not_input(path, [ann], "`out`")
    file = read_coco(ann)
    folder = None if images == "none" else image_folder(img_dir, ann)
    parts, rules = _parts(file, {"test": test_share, "val": val_share}, groups, seed)
    if folder is not None:
        _check_images(file, folder)
        for image in file.images:
            place_file(
                folder / image["file_name"], Path(out) / "images" / image["file_name"], images == "copy"
            )
    print(file.summary())
    for name, rule in rules.items():
        print(f"{name}: cut by {rule}")
    print(_table(file, parts))
    for name, part in parts.items():
        ids = {image["id"] for image in part}
        data = dict(
            info=file.info,
            images=part,
            annotations=[a for a in file.annotations if a["image_id"] in ids],
            categories=file.categories,
        )
        write_atomic(targets[name], json.dumps(data).encode())
        print(f"written: {targets[name]} ({len(part)} images, {len(data['annotations'])} objects)")
    return {name: targets[name] for name in parts}


def _parts(
    file: CocoFile, shares: Mapping[str, float], groups: str, seed: int
) -> tuple[dict[str, list[dict]], dict[str, str]]:
    """Return the images of every part, train first, and how each part was cut."""
    classes: dict[int, set[int]] = {image["id"]: set() for image in file.images}
    for annotation in file.annotations:
        classes[annotation["image_id"]].add(annotation["category_id"])
    rest, parts, rules, left = list(file.images), {}, {}, 1.0
    for name, share in shares.items():
        if not share:
            continue
        found = cut(
            [i["file_name"] for i in rest], [classes[i["id"]] for i in rest], share / left, groups, seed
        )
        parts[name], rules[name] = [image for k, image in enumerate(rest) if k in found.chosen], found.rule
        rest = [image for k, image in enumerate(rest) if k not in found.chosen]
        left -= share
    return {"train": rest, **dict(reversed(parts.items()))}, rules


def _by_groups(
    names: Sequence[str], classes: Sequence[Collection[int]], share: float, seed: int
) -> frozenset[int]:
    """Choose whole groups whose images add up to the share; of several choices the one with the most even classes."""
    members: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    if len(members) < 2:
        raise UserError(
            "`groups`: all images are in one group, so none can be cut off; use other groups, or none"
        )
    target = max(1, round(share * len(names)))
    total = Counter(label for labels in classes for label in labels)
    best, least = frozenset(), float("inf")
    for attempt in range(_TRIES):
        order = sorted(members)
        random.Random(f"{seed}/{attempt}").shuffle(order)
        chosen: list[int] = []
        for name in order:
            if abs(len(chosen) + len(members[name]) - target) < abs(len(chosen) - target):
                chosen += members[name]
        if not chosen:  # every group is larger than twice the target
            chosen = min(members.values(), key=len)
        part = Counter(label for index in chosen for label in classes[index])
        uneven = sum(abs(part[label] / count - share) for label, count in total.items())
        uneven += sum(part[label] == count > 1 for label, count in total.items()) * len(total)
        if uneven < least:
            best, least = frozenset(chosen), uneven
    return best


def _by_ends(file_names: Sequence[str], share: float, seed: int) -> frozenset[int]:
    """Choose the end of every numbered sequence, and single images at random."""
    sequences: dict[tuple[bool, str], dict[object, list[int]]] = {}
    for index, frame in enumerate(sequences_of(file_names)):
        key, number = frame if frame else ("", source_of(file_names[index]))
        sequences.setdefault((frame is None, key), {}).setdefault(number, []).append(index)
    chosen: list[int] = []
    done = 0
    for (single, _), frames in sorted(sequences.items()):
        order = sorted(frames)
        if single:
            random.Random(seed).shuffle(order)
        done += sum(map(len, frames.values()))
        while order and len(chosen) + 0.5 <= share * done:
            chosen += frames[order.pop()]
    if not chosen:
        chosen = [len(file_names) - 1]
    return frozenset(chosen)


def _lost(classes: Sequence[Collection[int]], chosen: Collection[int]) -> bool:
    """Return whether a class of two images or more is left with none to train on."""
    total = Counter(label for labels in classes for label in labels)
    part = Counter(label for index in chosen for label in classes[index])
    return any(part[label] == count > 1 for label, count in total.items())


def _check_images(file: CocoFile, folder: Path) -> None:
    missing = [image["file_name"] for image in file.images if not (folder / image["file_name"]).is_file()]
    if missing:
        raise UserError(
            f"{file.path}: {len(missing)} of {len(file.images)} images do not exist in {folder} ({some(missing)}); "
            "give their folder by `img_dir`, or convert the set with to_coco.py first, which leaves them out"
        )


def _table(file: CocoFile, parts: Mapping[str, Sequence[dict]]) -> str:
    from detdiffusion.utils.tables import format_table

    part_of = {image["id"]: name for name, images in parts.items() for image in images}
    counts = Counter((a["category_id"], part_of[a["image_id"]]) for a in file.annotations)
    rows = [["class", *parts]]
    rows += [[c["name"], *(counts[c["id"], name] for name in parts)] for c in file.categories]
    return format_table([*rows, ["images", *map(len, parts.values())]])
