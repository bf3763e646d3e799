"""Folders of generated images by any method: which file shows which layout, and pixels as RGB.

A file belongs to a COCO image by its stem: the stem of the image's ``file_name``, or its id, zero-padded or
not; ``_k`` behind it is the k-th sample of the layout. A folder of ``tools/generate.py`` is read by its
``annotations.json``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.utils.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_SAMPLE = re.compile(r"(.+)_(\d+)")


@dataclass
class ImageFolder:
    """Images of one method.

    Attributes:
        name: of the method.
        path: the folder.
        files: COCO image id -> its samples' files, by rising sample number.
        notes: lines for the user about what was left out or converted.
    """

    name: str
    path: Path
    files: dict[int, list[Path]]
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self.files.values()))

    def keep(self, ids: Iterable[int], samples: int | None = None) -> ImageFolder:
        """Only some layouts, of each at most the first ``samples`` files."""
        files = {i: self.files[i][:samples] for i in ids}
        return ImageFolder(self.name, self.path, files, list(self.notes))


def read_folder(name: str, folder: str | Path, images: Sequence[dict]) -> ImageFolder:
    """Finds the images of a method.

    Args:
        name: of the method, for messages.
        folder: its images, or a folder that ``tools/generate.py`` wrote.
        images: COCO image dicts of the layouts.

    Raises:
        UserError: no such folder, no images in it, none of a layout, or two files for one sample.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{name}: {folder}: no such image folder; check the path")
    if (folder / "annotations.json").is_file():
        return _read_generated(name, folder, images)
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise UserError(
            f"{name}: {folder}: no images in this folder (their names end in {', '.join(SUFFIXES)}; folders in it "
            "are not searched)"
        )
    by_name = {Path(image["file_name"]).stem: image["id"] for image in images}
    ids = {image["id"] for image in images}
    found: dict[int, dict[int, Path]] = {}
    unknown = []
    for path in paths:
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
            f"{name}: {folder}: none of its {len(paths)} images belongs to the annotation file: files are named "
            f"{_some(unknown)}, layouts {_some(list(by_name))}; a name is a layout's file stem or id, with _k "
            "behind it for the k-th sample"
        )
    result = ImageFolder(name, folder, {i: [s[k] for k in sorted(s)] for i, s in sorted(found.items())})
    if unknown:
        result.notes.append(
            f"{name}: {len(unknown)} files belong to no layout and were left out ({_some(unknown)})"
        )
    return result


def inspect_images(folder: ImageFolder) -> None:
    """Opens every file's header; adds notes about what is converted or of another size.

    Raises:
        UserError: files that are no images, or have more than 8 bits a channel.
    """
    from PIL import Image

    modes, sizes = Counter(), Counter()
    for path in (p for files in folder.files.values() for p in files):
        try:
            with Image.open(path) as image:
                modes[_mode(image)] += 1
                sizes[image.size] += 1
                mode = image.mode
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{folder.name}: {path}: cannot be read as an image ({error})") from None
        if mode.startswith("I") or mode == "F":
            raise UserError(
                f"{folder.name}: {path}: has more than 8 bits a channel ({mode}); save it as 8-bit RGB"
            )
    for mode, count in sorted(modes.items()):
        if mode != "RGB":
            folder.notes.append(f"{folder.name}: {count} images are {mode} and were converted to RGB")
    if len(sizes) > 1 and folder.name != "real":
        (width, height), count = sizes.most_common(1)[0]
        folder.notes.append(
            f"{folder.name}: {folder.count - count} of {folder.count} images have another size than the "
            f"{width} x {height} of most"
        )


def read_square(path: str | Path, size: int) -> np.ndarray:
    """An image at ``size`` x ``size`` by PIL's bicubic ``resize``.

    Grey and CMYK images are converted, transparent ones laid on white.

    Returns:
        (size, size, 3) uint8, BGR as OpenCV and mmdet have it.

    Raises:
        UserError: not an image, or a damaged one.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if _mode(image) == "transparent":
                rgba = image.convert("RGBA")
                image = Image.new("RGBA", rgba.size, "white")
                image.alpha_composite(rgba)
            image = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
            return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); write it again") from None


def _mode(image) -> str:
    if "A" in image.mode or "transparency" in image.info:
        return "transparent"
    return {"L": "grayscale", "1": "grayscale", "P": "palette"}.get(image.mode, image.mode)


def _layout_of(stem: str, by_name: dict[str, int], ids: set[int]) -> tuple[int | None, int]:
    """``(image id, sample)`` of a file's stem; a layout's own name goes before a number behind ``_``."""
    match = _SAMPLE.fullmatch(stem)
    for base, sample in [(stem, 0)] + ([(match[1], int(match[2]))] if match else []):
        if base in by_name:
            return by_name[base], sample
        if base.isascii() and base.isdigit() and int(base) in ids:
            return int(base), sample
    return None, 0


def _read_generated(name: str, folder: Path, images: Sequence[dict]) -> ImageFolder:
    data = read_coco(folder / "annotations.json")
    ids = {image["id"] for image in images}
    files: dict[int, list[Path]] = {}
    foreign = 0
    samples: dict[tuple, str] = {}
    for image in data.images:
        if image.get("edits"):
            raise UserError(
                f"{name}: {data.path}: its layouts were edited ({image['edits']}), so the annotation file is no ground "
                "truth for its images; generate without --edit to score"
            )
        source = image.get("source_image_id")
        if source not in ids:
            foreign += 1
            continue
        sample = source, image.get("strategy"), image.get("seed"), image.get("sample_index", image["id"])
        if sample in samples:
            raise UserError(
                f"{name}: {data.path}: {samples[sample]} and {image['file_name']} are the same sample of image id "
                f"{source}; remove one of them"
            )
        samples[sample] = image["file_name"]
        files.setdefault(source, []).append(folder / "images" / image["file_name"])
    if not files:
        raise UserError(
            f"{name}: {data.path}: none of its {len(data.images)} images has a source_image_id of the annotation "
            "file; the set was generated from another data set"
        )
    missing = [p for paths in files.values() for p in paths if not p.is_file()]
    if missing:
        raise UserError(f"{name}: {len(missing)} images of {data.path} are missing, the first {missing[0]}")
    result = ImageFolder(name, folder, dict(sorted(files.items())))
    if foreign:
        result.notes.append(f"{name}: {foreign} images of other data sets were left out")
    return result


def _some(names: Sequence[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
