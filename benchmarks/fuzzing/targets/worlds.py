"""Intact inputs: small COCO sets in which every image shows the same three objects."""

from __future__ import annotations

import json
import random
from pathlib import Path

SIZE = (64, 48)
CLASSES = {1: "ball", 2: "crate", 5: "pine tree"}
# (category id, x, y, w, h): on every image; a detector that always says the same can be right
OBJECTS = ((1, 4, 4, 20, 16), (2, 30, 8, 24, 30), (5, 2, 26, 20, 18))


def write_image(path: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    """Write an image of noise blocks in the format of its suffix."""
    from PIL import Image

    rng = random.Random(seed)
    small = Image.new("RGB", (8, 6))
    small.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(48)])
    path.parent.mkdir(parents=True, exist_ok=True)
    small.resize(size).save(path)


def coco(images: int = 6, first: int = 1, suffix: str = ".png", segmentation: bool = True) -> dict:
    """Return a COCO dict; image ``k`` has the objects of :data:`OBJECTS`."""
    data = dict(
        info=dict(year=2026),
        images=[
            dict(id=k, file_name=f"photo_{k:03d}{suffix}", width=SIZE[0], height=SIZE[1])
            for k in range(first, first + images)
        ],
        annotations=[],
        categories=[dict(id=key, name=name, supercategory="thing") for key, name in CLASSES.items()],
    )
    for image in data["images"]:
        for category, x, y, w, h in OBJECTS:
            polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            data["annotations"].append(
                dict(
                    id=len(data["annotations"]) + 1,
                    image_id=image["id"],
                    category_id=category,
                    bbox=[float(v) for v in (x, y, w, h)],
                    area=float(w * h),
                    iscrowd=0,
                    **(dict(segmentation=polygon) if segmentation else {}),
                )
            )
    return data


def write_json(path: Path, data) -> None:
    """Write a json with indentation, so that lines can be lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1))


def write_set(folder: Path, images: int = 6, ann: str = "instances.json", image_dir: str = "images") -> dict:
    """Write a COCO json and its images."""
    data = coco(images)
    write_json(folder / ann, data)
    for image in data["images"]:
        write_image(folder / image_dir / image["file_name"], image["id"])
    return data
