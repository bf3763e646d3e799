"""All images of a data set that are missing or unreadable, before any work is done with the others."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from detdiffusion.utils.errors import some
from detdiffusion.utils.findings import Finding

from .image_files import cut_off

_THREADS = 16
_BLOCK = 512


def image_paths(dataset) -> list[str]:
    """Local paths of a data set's images: of layouts, or of mmengine's ``BaseDataset``; [] of another kind."""
    if hasattr(dataset, "layouts") and hasattr(dataset, "img_dir"):
        return [str(dataset.img_dir / name) for name in dataset.layouts.file_names]
    if not hasattr(dataset, "get_data_info") or getattr(dataset, "backend_args", None):
        return []
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    return [info["img_path"] for info in infos if isinstance(info.get("img_path"), str)]


def check_images(paths: Sequence[str], where: str, seconds: float = 20.0) -> list[Finding]:
    """Every image must be there and begin as an image.

    Args:
        paths: of local files.
        where: whose they are, for messages.
        seconds: for reading the beginnings of files, in a random order; presence is looked at for all of them.

    Returns:
        Errors for missing and for unreadable images, each with their number and the first names; a note where the
        time did not suffice.
    """
    paths = list(dict.fromkeys(paths))
    found = []
    with ThreadPoolExecutor(_THREADS) as pool:
        missing = [path for path, there in zip(paths, pool.map(os.path.isfile, paths)) if not there]
        gone = set(missing)
        present = [path for path in paths if path not in gone]
        random.Random(0).shuffle(present)
        broken, done, end = [], 0, time.monotonic() + seconds
        while done < len(present) and (done == 0 or time.monotonic() < end):
            block = present[done : done + _BLOCK]
            broken += [path for path, bad in zip(block, pool.map(_unreadable, block)) if bad]
            done += len(block)
    for wrong, what in ((missing, "images are missing"), (broken, "images cannot be read or are cut off")):
        if wrong:
            folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in wrong])
            names = some(sorted(os.path.relpath(path, folder) for path in wrong), 5)
            problem = f"{len(wrong)} of {len(paths)} {what}: {names}"
            remedy = "fetch them again, correct the image folder, or take them out of the annotation file"
            found.append(Finding(folder, where, problem, None, remedy, "error"))
    if done < len(present):
        problem = (
            f"the beginnings of {done} of {len(present)} images were read in {seconds:g} s, the rest was not"
        )
        found.append(Finding(where, "", problem, None, "", "note"))
    return found


def _unreadable(path: str) -> bool:
    """By the file's beginning, and of JPEG files the end too."""
    import cv2
    from PIL import Image

    try:
        with Image.open(path):
            return cut_off(path)
    except Image.DecompressionBombError:
        return False
    except (OSError, SyntaxError, ValueError):
        return not cv2.haveImageReader(path)
