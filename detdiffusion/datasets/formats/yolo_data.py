"""The images of a YOLO data set and the locations of their labels: ``data.yaml``, lists of images, folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.utils.errors import UserError, some

from .conversion import Conversion
from .input_files import COMPANIONS, IMAGE_SUFFIXES, InputFiles, fold, stem_of, suffix_of
from .text_files import BY_END, read_lines, read_text, tails
from .yolo_rows import key_point_columns

SPLITS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}
MISSING = "listed image that does not exist: left out"
_NO_PATH = "'path' that is not a folder here: the yaml file's folder is used"


@dataclass
class YoloData:
    """A data set before its labels are read.

    Attributes:
        classes: class names.
        key_points: number of key point columns in a row; None if there are no key points.
        splits: name -> list of (image, its file name in the converted data set).
    """

    classes: list[str]
    key_points: int | None = None
    splits: dict[str, list[tuple[Path, str]]] = field(default_factory=dict)

    def images(self) -> list[Path]:
        """Return all images without duplicates."""
        return list(dict.fromkeys(image for images in self.splits.values() for image, _ in images))


def read_yaml(path: Path, set_of: Conversion) -> YoloData:
    """Read the ``data.yaml`` of a data set and scan all files below its ``path`` (or the yaml's folder).

    Raises:
        UserError: if the file is broken, the names are invalid, or a folder or list does not exist.
    """
    import yaml

    text = read_text(path)
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an invalid value that looks like a date
        raise UserError(f"{path}: broken yaml: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or "names" not in data:
        raise UserError(f"{path}: not a YOLO data file: it lacks 'names'")
    classes = _class_names(data, path)
    found = YoloData(classes, key_point_columns(data.get("kpt_shape"), str(path)))
    files = set_of.files
    root = path.parent / str(data.get("path") or "").replace("\\", "/")
    root = files.find(root) or root
    if not root.is_dir():
        set_of.count(_NO_PATH, f"{path}: {data['path']}")
        root = path.parent
    entries = {}
    for split, keys in SPLITS.items():
        if value := next((data[key] for key in keys if data.get(key)), None):
            entries[split] = value if isinstance(value, list) else [value]
    if not entries:
        raise UserError(f"{path}: no images are given: it lacks 'train', 'val' and 'test'")
    files.scan(root)
    files.use(path, COMPANIONS)
    splits_of: dict[Path, str] = {}
    for split, places in entries.items():
        images: dict[Path, str] = {}
        for entry in places:
            place = _place_of(files, root, str(entry), path)
            listed = files.scan(place) if place.is_dir() else _read_list(set_of, place, root)
            pictures = [files.first(image) for image in listed if suffix_of(image) in IMAGE_SUFFIXES]
            if not pictures:
                raise UserError(f"{path}: split {split!r}: no images found in {place}; correct its entry")
            for image in pictures:
                if image in images:
                    set_of.count("image listed twice: used once", files.name(image))
                elif splits_of.setdefault(image, split) != split:
                    set_of.count("image in two splits", f"{files.name(image)}: {splits_of[image]}, {split}")
                images.setdefault(image, f"{split}/{_name_in(place, image)}")
        found.splits[split] = list(images.items())
    return found


def read_folder(images: Path, labels: Path, names: object, set_of: Conversion) -> YoloData:
    """Read a data set from two folders and the class names; its only split is ``all``.

    Raises:
        UserError: if a folder does not exist or has no images, or the names are invalid.
    """
    for folder in (images, labels):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    if isinstance(names, (str, Path)):
        classes = [name for _, name in read_lines(names)]
        set_of.files.use(Path(names), COMPANIONS)
    else:
        classes = list(names)
    if not classes or len(set(classes)) < len(classes):
        raise UserError(f"{names}: must contain distinct class names, one per line")
    found = [p for p in set_of.files.scan(images) if suffix_of(p) in IMAGE_SUFFIXES]
    if not found:
        raise UserError(f"{images}: no images found in it")
    set_of.files.scan(labels)
    return YoloData(classes, None, {"all": [(p, _name_in(images, p)) for p in found]})


def label_places(image: Path) -> list[Path]:
    """Return the possible paths of an image's label file, without suffix, the most likely first.

    These are Ultralytics' rule (the last folder ``images`` of the path is replaced by ``labels``), next to the image,
    and in a folder ``labels`` next to the image's folder.
    """
    plain = image.with_name(stem_of(image.name))
    places, folders = [], [fold(part) for part in plain.parts[:-1]]
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        places.append(Path(*plain.parts[:last], "labels", *plain.parts[last + 1 :]))
    return list(dict.fromkeys([*places, plain, plain.parent.parent / "labels" / plain.name]))


def _class_names(data: dict, path: Path) -> list[str]:
    names = data["names"]
    if isinstance(names, Mapping):
        if set(names) != set(range(len(names))):
            raise UserError(f"{path}: names must be numbered 0 to {len(names) - 1}, got {list(names)}")
        names = [names[k] for k in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: 'names' must be a list of strings, got {names!r}")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: 'names' has the same name twice: {', '.join(names)}")
    if data.get("nc") not in (None, len(names)):
        raise UserError(
            f"{path}: 'nc' says {data['nc']!r} classes, 'names' has {len(names)}; correct one of them"
        )
    return names


def _place_of(files: InputFiles, root: Path, entry: str, yaml_path: Path) -> Path:
    """Find the folder or list of a split. Roboflow writes ``../train/images`` for folders next to the yaml."""
    entry = entry.replace("\\", "/")
    place = files.find(root / entry)
    if place is None and entry.startswith("../"):
        place = files.find(root / entry.removeprefix("../"))
    if place is None:
        place = next((hit for tail in tails(entry, root.name) if (hit := files.find(root / tail))), None)
    if place is None:
        raise UserError(f"{yaml_path}: no folder or list {root / entry}; correct 'path' or the split's entry")
    return place


def _read_list(set_of: Conversion, place: Path, root: Path) -> list[Path]:
    """Read a list of images, given relative to the list or the data set, or as paths of another machine."""
    set_of.files.use(place, COMPANIONS)
    lines, found = read_lines(place), []
    for number, line in lines:
        image, where = _find(set_of.files, (place.parent, root), line), f"{place.name}, line {number}: {line}"
        if image is None:
            set_of.count(MISSING, where)
            continue
        path, by_end = image
        if by_end:
            set_of.count(BY_END, where)
        found.append(path)
    if not found:
        missing = some((line for _, line in lines), 3) or "it is empty"
        raise UserError(
            f"{place}: none of the {len(lines)} images of this list exists ({missing}); correct the paths"
        )
    return found


def _find(files: InputFiles, bases: tuple[Path, ...], line: str) -> tuple[Path, bool] | None:
    plain = line.replace("\\", "/")
    for tail, by_end in [(plain, False), *((tail, True) for tail in tails(plain, bases[-1].name))]:
        for base in bases:
            found = files.find_images(base / tail)
            if len(found) == 1:
                return found[0], by_end
    return None


def _name_in(place: Path, image: Path) -> str:
    """Return the image's path relative to its folder, or its base name if it is from a list (made unique later)."""
    return image.relative_to(place).as_posix() if image.is_relative_to(place) else image.name
