"""Damage to whole files and images: missing, renamed, truncated, of another type."""

from __future__ import annotations

import random
import shutil
from pathlib import Path


def damage_file(path: Path, rng: random.Random) -> str:
    """Remove, move, rename or empty a file; return a description."""
    name = rng.choice(sorted(_FILES))
    return f"{path.name}: {_FILES[name](path, rng) or name}"


def damage_image(path: Path, rng: random.Random) -> str:
    """Replace an image by another of its kind, or damage it; return a description."""
    name = rng.choice(sorted(_IMAGES))
    try:
        return f"{path.name}: {_IMAGES[name](path, rng) or name}"
    except (OSError, ValueError):  # the image was damaged before, or its format lacks the mode
        return f"{path.name}: left as it is"


def _remove(path: Path, rng) -> None:
    path.unlink()


def _folder(path: Path, rng) -> None:
    path.unlink()
    path.mkdir()


def _rename(path: Path, rng) -> str:
    new = rng.choice(
        [
            path.with_suffix(path.suffix.upper()),
            path.with_name(path.name.upper()),
            path.with_name("copy of " + path.name),
            path.with_name(path.stem),
            path.with_name(path.name + ".bak"),
            path.with_name(f"{path.stem}.v2{path.suffix}"),
        ]
    )
    path.rename(new)
    return f"renamed {new.name!r}"


def _move(path: Path, rng) -> str:
    folder = path.parent / rng.choice(["sub", "Sub Folder", "a"])
    folder.mkdir(exist_ok=True)
    path.rename(folder / path.name)
    return f"moved to {folder.name!r}"


def _double(path: Path, rng) -> str:
    folder = path.parent / "sub"
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / path.name)
    return "a copy in 'sub'"


def _broken_link(path: Path, rng) -> None:
    path.unlink()
    path.symlink_to(path.parent / "is not there")


_FILES = {
    "missing": _remove,
    "a folder in its place": _folder,
    "renamed": _rename,
    "moved": _move,
    "doubled": _double,
    "a link to nothing": _broken_link,
    "empty": lambda path, rng: path.write_bytes(b"") and None,
}


def _cut(path: Path, rng) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(1, max(2, len(data)))])


def _flip(path: Path, rng) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(5):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(bytes(data))


def _text(path: Path, rng) -> None:
    path.write_text("<html>404 Not Found</html>")


def _saved(path: Path, image, **options) -> None:
    kind = {".jpg": "jpeg", ".jpeg": "jpeg"}.get(path.suffix.lower(), "png")
    image.save(path, format=kind, **options)


def _open(path: Path):
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def _mode(path: Path, rng) -> str:
    image = _open(path)
    mode = rng.choice(
        ["L", "CMYK"] if path.suffix.lower() in (".jpg", ".jpeg") else ["L", "P", "RGBA", "LA", "1"]
    )
    _saved(path, image.convert(mode))
    return f"mode {mode}"


def _sixteen_bits(path: Path, rng) -> str:
    import numpy as np
    from PIL import Image

    grey = np.asarray(_open(path).convert("L"), np.uint16)
    factor = rng.choice([1, 16, 257])
    Image.fromarray(grey * factor).save(path, format="png")
    return f"16 bits, grey x {factor}, as png"


def _turned(path: Path, rng) -> str:
    from PIL import Image

    image, exif = _open(path), Image.Exif()
    exif[0x0112] = rng.choice([2, 3, 6, 8])
    _saved(path, image, exif=exif.tobytes())
    return f"EXIF orientation {exif[0x0112]}"


def _resized(path: Path, rng) -> str:
    image = _open(path)
    size = rng.choice(
        [(image.height, image.width), (image.width // 2, image.height // 2), (image.width + 1, 7)]
    )
    _saved(path, image.resize(size))
    return f"of {size[0]} x {size[1]} pixels"


def _format(path: Path, rng) -> str:
    kind = rng.choice(["png", "jpeg", "bmp", "webp", "tiff", "gif"])
    _open(path).save(path, format=kind)
    return f"a {kind} under its name"


def _suffix(path: Path, rng) -> str:
    new = path.with_suffix(rng.choice([".jpg", ".png", ".JPG", ".jpeg", ".bmp", ".webp", ".heic"]))
    path.rename(new)
    return f"renamed {new.name!r}"


_IMAGES = {
    "cut off": _cut,
    "bytes flipped": _flip,
    "text in its place": _text,
    "another mode": _mode,
    "sixteen bits": _sixteen_bits,
    "turned by EXIF": _turned,
    "another size": _resized,
    "another format": _format,
    "another suffix": _suffix,
    "a file": damage_file,
}
