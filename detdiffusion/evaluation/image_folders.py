"""Folders of generated images of any method: assignment of files to layouts.

A file is assigned to a COCO image by its stem: the stem of the image's ``file_name``, or its id, zero-padded or not,
with suffix ``_k`` for the k-th sample of the layout. For a folder written by ``tools/generate.py``, the layouts are
read from its ``annotations.json`` (``source_image_id``); other files of that name are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.datasets.coco_json import load_json
from detdiffusion.datasets.image_survey import inspect_images
from detdiffusion.evaluation.generated_sets import ANNOTATIONS, read_generated_set
from detdiffusion.generation.manifest import MANIFEST
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.file_names import ids_by_stem

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_SAMPLE = re.compile(r"(.+)_(\d+)")


@dataclass
class ImageFolder:
    """Images of one method.

    Attributes:
        name: name of the method.
        path: the folder.
        files: files of the samples in ascending order, by COCO image id.
        notes: lines that tell the user what was left out or converted.
    """

    name: str
    path: Path
    files: dict[int, list[Path]]
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self.files.values()))

    def keep(self, ids: Iterable[int], samples: int | None = None) -> ImageFolder:
        """Return a folder with only the given layouts and at most the first ``samples`` files of each."""
        files = {i: self.files[i][:samples] for i in ids}
        return ImageFolder(self.name, self.path, files, list(self.notes))


def read_folder(
    name: str,
    folder: str | Path,
    images: Sequence[dict],
    categories: Sequence[dict],
    source: str | Path,
) -> ImageFolder:
    """Find the images of a method.

    Args:
        name: name of the method, for messages.
        folder: folder of its images, or a folder written by ``tools/generate.py``.
        images, categories: COCO dicts of the layouts.
        source: their annotation file, for messages.

    Raises:
        UserError: the folder does not exist or has no images; no file belongs to a layout; a sample has two files; or
            a file name matches two layouts.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{name}: {folder}: no such image folder; check the path")
    if _is_generated(folder):
        return _read_generated(name, folder, images, categories, source)
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise UserError(
            f"{name}: {folder}: no images in this folder (searched for {', '.join(SUFFIXES)}; subfolders "
            "are not searched)"
        )
    by_name, shared = ids_by_stem(images)
    ids = {image["id"] for image in images}
    found: dict[int, dict[int, Path]] = {}
    unknown = []
    for path in paths:
        names = shared.get(path.stem) or (path.stem not in by_name and shared.get(_base(path.stem)))
        if names:
            raise UserError(
                f"{name}: {folder}: {path.name} may belong to {some(names)} of {source}, which have the same base "
                "name; name the folder's files by image ids"
            )
        image_id, sample = _layout_of(path.stem, by_name, ids)
        if image_id is None:
            unknown.append(path.name)
            continue
        samples = found.setdefault(image_id, {})
        if sample in samples:
            raise UserError(
                f"{name}: {folder}: {samples[sample].name} and {path.name} are both sample {sample} of image id "
                f"{image_id}; remove one of them"
            )
        samples[sample] = path
    if not found:
        raise UserError(
            f"{name}: {folder}: none of its {len(paths)} images belongs to {source}: files are named "
            f"{some(unknown)}, layouts {some(by_name)}; a name must be a layout's file stem or id, with suffix _k "
            "for the k-th sample"
        )
    result = ImageFolder(name, folder, {i: [s[k] for k in sorted(s)] for i, s in sorted(found.items())})
    if (folder / ANNOTATIONS).is_file():
        result.notes.append(
            f"{name}: its {ANNOTATIONS} names no layouts; the images were read by their file names"
        )
    below = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.parent != folder]
    if below:
        result.notes.append(
            f"{name}: {len(below)} images in subfolders of {folder} were left out ({some(p.name for p in below)}): "
            "subfolders are not searched"
        )
    if unknown:
        result.notes.append(
            f"{name}: {len(unknown)} files belong to no layout and were left out ({some(unknown)})"
        )
    return result


def note_images(folder: ImageFolder) -> None:
    """Read the headers of all files, and add notes about conversions and differing sizes.

    Raises:
        UserError: a file is not an image.
    """
    facts = inspect_images(path for files in folder.files.values() for path in files)
    folder.notes += facts.notes(folder.name)
    if len(facts.sizes) > 1:
        (width, height), files = max(facts.sizes.items(), key=lambda item: len(item[1]))
        folder.notes.append(
            f"{folder.name}: {folder.count - len(files)} of {folder.count} images have another size than the "
            f"{width} x {height} of most"
        )


def _layout_of(stem: str, by_name: dict[str, int], ids: set[int]) -> tuple[int | None, int]:
    """Return ``(image id, sample)`` of a file's stem; a full match takes precedence over a suffix ``_k``."""
    match = _SAMPLE.fullmatch(stem)
    for base, sample in [(stem, 0)] + ([(match[1], int(match[2]))] if match else []):
        if base in by_name:
            return by_name[base], sample
        if base.isascii() and base.isdigit() and int(base) in ids:
            return int(base), sample
    return None, 0


def _base(stem: str) -> str:
    match = _SAMPLE.fullmatch(stem)
    return match[1] if match else stem


def _is_generated(folder: Path) -> bool:
    """Return whether ``tools/generate.py`` wrote the folder; others may contain an annotation file too."""
    if (folder / MANIFEST).is_file():
        return True
    path = folder / ANNOTATIONS
    content = load_json(path, "annotation file") if path.is_file() else None
    images = content.get("images") if isinstance(content, dict) else None
    return isinstance(images, list) and any(isinstance(i, dict) and "source_image_id" in i for i in images)


def _read_generated(name: str, folder: Path, images, categories, source: str | Path) -> ImageFolder:
    found = read_generated_set(name, folder, images, categories, source)
    files: dict[int, list[Path]] = {}
    for image in sorted(found.file.images, key=lambda image: found.samples[image["id"]]):
        files.setdefault(found.layouts[image["id"]], []).append(found.img_dir / image["file_name"])
    return ImageFolder(name, folder, dict(sorted(files.items())), found.notes)
