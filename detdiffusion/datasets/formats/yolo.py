"""YOLO (one text file an image: class and box in shares of the image) to COCO."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.utils.errors import UserError

from .conversion import IMAGE_SUFFIXES, UNREADABLE, Conversion, image_size

SPLITS = ("train", "val", "test")
# Sums of rounded shares leave [0, 1] by a few parts in a million.
_TOLERANCE = 1e-4
# Lie beside the images and are not missed.
_NOT_IMAGES = (".txt", ".yaml", ".json", ".xml", ".cache", ".npy", ".md", "")


def read_yolo(
    data: str | Path | None = None,
    *,
    images: str | Path | None = None,
    labels: str | Path | None = None,
    names: str | Path | Sequence[str] | None = None,
    decode: bool = True,
    progress: bool = True,
) -> Conversion:
    """Reads a YOLO set by its ``data.yaml``, or by folders.

    Label files lie where Ultralytics looks for them: the last ``images`` of an image's path replaced by ``labels``,
    the suffix by ``.txt``. A line is ``class cx cy w h``, or ``class x1 y1 x2 y2 ...`` with a polygon of three
    points or more, all in shares of the image.

    Args:
        data: yaml with ``names``, ``path`` and ``train``, ``val``, ``test``: folders or lists of image files.
        images, labels, names: in place of ``data``: two folders, and the class names or a text file with one a line;
            all images are one split, ``all``.
        decode: read every image to its end.
        progress: print a bar on stderr.

    Raises:
        UserError: no such file or folder, a broken yaml, no images, or a class number without a name.
    """
    from tqdm import tqdm

    if data is not None:
        classes, files, folders = _read_yaml(Path(data))
        of_label = _label_path
    else:
        if images is None or labels is None or names is None:
            raise UserError("a YOLO set is read by data.yaml, or by images, labels and names together")
        images, labels = Path(images), Path(labels)
        for folder in (images, labels):
            if not folder.is_dir():
                raise UserError(f"{folder}: no such folder")
        classes = _read_names(names) if isinstance(names, (str, Path)) else list(names)
        files = {"all": [(path, path.relative_to(images).as_posix()) for path in _images_in(images)]}
        folders = [images]

        def of_label(path: Path) -> Path:
            return (labels / path.relative_to(images)).with_suffix(".txt")

    set_of = Conversion(classes)
    for folder in dict.fromkeys(folders):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix.lower() not in (*IMAGE_SUFFIXES, *_NOT_IMAGES):
                set_of.count("file whose suffix is not that of an image: left out", path)
    taken: set[str] = set()
    for split, found in files.items():
        if not found:
            raise UserError(f"split {split!r}: no images found; correct its path in the yaml")
        set_of.splits[split] = ids = []
        seen: set[Path] = set()
        for path, file_name in tqdm(found, desc=f"{split} images", unit="img", disable=not progress):
            if path in seen:
                set_of.count("image listed twice: taken once", path)
                continue
            seen.add(path)
            while file_name in taken:  # lists may name files of several folders
                file_name = f"{split}/{len(taken)}_{path.name}"
            taken.add(file_name)
            size = image_size(path, decode)
            if isinstance(size, str):
                set_of.count(UNREADABLE, f"{path}: {size}")
                continue
            ids.append(set_of.add_image(path, file_name, size))
            _read_labels(set_of, ids[-1], of_label(path))
    return set_of


def _read_labels(set_of: Conversion, image_id: int, path: Path) -> None:
    if not path.is_file():
        set_of.count("image without a label file: taken as an image without objects", path)
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        set_of.count("label file that is no text: its image has no objects", f"{path.name}: {error}")
        return
    width, height = set_of.images[image_id - 1]["width"], set_of.images[image_id - 1]["height"]
    seen: set[tuple] = set()
    for number, line in enumerate(lines, 1):
        where = f"{path.name}, line {number}"
        if not line.strip():
            continue
        values = _numbers(line)
        if values is None or not (len(values) == 5 or (len(values) >= 7 and len(values) % 2)):
            set_of.count(
                "line that is not 'class cx cy w h' or a class and a polygon: left out",
                f"{where}: {line[:40]}",
            )
            continue
        label, *shares = values
        if label != int(label) or not 0 <= label < len(set_of.classes):
            raise UserError(
                f"{path}, line {number}: class {label:g}, but there are {len(set_of.classes)} names (0 to "
                f"{len(set_of.classes) - 1}); correct the names, or the file"
            )
        if min(shares) < -_TOLERANCE or max(shares) > 1 + _TOLERANCE:
            set_of.count("line with a value outside [0, 1]: left out", f"{where}: {line[:40]}")
            continue
        if tuple(values) in seen:
            set_of.count("line that is there twice: taken once", where)
            continue
        seen.add(tuple(values))
        if len(shares) == 4:
            cx, cy, w, h = shares
            box = ((cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height)
            set_of.add_object(image_id, int(label), box, where)
            continue
        xs, ys = [v * width for v in shares[::2]], [v * height for v in shares[1::2]]
        polygon = [round(v, 2) for point in zip(xs, ys) for v in point]
        box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
        set_of.add_object(image_id, int(label), box, where, segmentation=[polygon])


def _numbers(line: str) -> list[float] | None:
    try:
        values = [float(part) for part in line.split()]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _read_yaml(path: Path) -> tuple[list[str], dict[str, list[tuple[Path, str]]], list[Path]]:
    """Class names, (image, name in the new set) of each split, and the folders that were searched."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: broken yaml: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or "names" not in data:
        raise UserError(f"{path}: not a YOLO data file: it lacks 'names'")
    names = data["names"]
    if isinstance(names, Mapping):
        if set(names) != set(range(len(names))):
            raise UserError(f"{path}: names must be numbered 0 to {len(names) - 1}, they are {list(names)}")
        names = [names[k] for k in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: 'names' must be a list of texts, it is {names!r}")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: 'names' has the same name twice: {', '.join(names)}")
    root = path.parent / str(data.get("path") or "")
    splits = {split: data[split] for split in SPLITS if data.get(split)}
    if not splits:
        raise UserError(f"{path}: names no images: it lacks 'train', 'val' and 'test'")
    files: dict[str, list[tuple[Path, str]]] = {}
    folders: list[Path] = []
    for split, entries in splits.items():
        files[split] = []
        for entry in entries if isinstance(entries, list) else [entries]:
            place = _place_of(root, str(entry), path)
            folders += [place] * place.is_dir()
            files[split] += [(image, f"{split}/{name}") for image, name in _split_images(place)]
    return names, files, folders


def _place_of(root: Path, entry: str, yaml_path: Path) -> Path:
    """The folder or list that a split names. Roboflow's files say ``../train/images`` for what lies beside the yaml."""
    place = root / entry
    if not place.exists() and entry.startswith("../"):
        place = root / entry.removeprefix("../")
    if not place.exists():
        raise UserError(f"{yaml_path}: no folder or list {place}; correct 'path' or the split's entry")
    return place


def _split_images(place: Path) -> list[tuple[Path, str]]:
    """Images of a folder or of a list of files, with names that are unique in a folder."""
    if place.is_dir():
        return [(image, image.relative_to(place).as_posix()) for image in _images_in(place)]
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: cannot read this list of images: {error}") from None
    listed = [place.parent / line.strip() for line in lines if line.strip()]
    return [(image, image.name) for image in listed]


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _label_path(image: Path) -> Path:
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def _read_names(path: str | Path) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the class names: {error}") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names or len(set(names)) < len(names):
        raise UserError(f"{path}: wants different class names, one a line")
    return names
