"""Small labelled sets in three forms, and tools/augment.py on them in this process."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from detdiffusion.datasets.formats.exports import read_for_export, write_yolo
from detdiffusion.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
VOC_BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
TOOL = runpy.run_path(str(ROOT / "tools/augment.py"))


def write_set(root, split="train", images=6, names=("cat", "dog"), size=30, **changes):
    """Noise with two boxes an image."""
    rng = np.random.default_rng(len(split))  # splits share no image
    (root / "images").mkdir(parents=True, exist_ok=True)
    coco = dict(images=[], annotations=[], categories=[dict(id=k, name=n) for k, n in enumerate(names, 1)])
    for key in range(1, images + 1):
        pixels = rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"images/{split}{key}.png")
        coco["images"].append(dict(id=key, file_name=f"{split}{key}.png", width=128, height=96))
        for k in range(2):
            box = dict(bbox=[5 + 40 * k, 10, size, size], area=size * size, iscrowd=0)
            category = (key + k) % len(names) + 1
            coco["annotations"].append(dict(id=2 * key + k, image_id=key, category_id=category, **box))
    coco.update(changes)
    (root / f"{split}.json").write_text(json.dumps(coco))
    return root / f"{split}.json"


def write_yolo_set(root, split="train", **changes):
    """The same as a YOLO set."""
    export = read_for_export([f"{split}={write_set(root, split, **changes)}"], crowds=False)
    return write_yolo(export, root / f"yolo_{split}").parent


def write_voc_set(root, split="train", **changes):
    """The same as a Pascal VOC set."""
    coco = json.loads(write_set(root, split, **changes).read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    out = root / f"voc_{split}"
    for folder in ("Annotations", "JPEGImages"):
        (out / folder).mkdir(parents=True)
    for image in coco["images"]:
        rows = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        objects = "".join(voc_object(names[row["category_id"]], *row["bbox"]) for row in rows)
        name = image["file_name"]
        (out / f"Annotations/{Path(name).stem}.xml").write_text(
            f"<annotation><filename>{name}</filename><size><width>{image['width']}</width>"
            f"<height>{image['height']}</height></size>{objects}</annotation>"
        )
        shutil.copy(root / "images" / name, out / "JPEGImages")
    return out


def voc_object(name, x, y, width, height):
    return f"<object><name>{name}</name>{VOC_BOX.format(x, y, x + width, y + height)}</object>"


FORMS = dict(voc=write_voc_set, yolo=write_yolo_set)


def write_world(folder):
    """Two sets, and files that look like TAESD's."""
    write_set(folder)
    write_set(folder, "val")
    for part in ("encoder", "decoder"):
        save_file({"0.weight": np.zeros(1, np.float32)}, folder / f"taesd_{part}.safetensors")
    return folder


def augment(world, **changes):
    values = dict(
        train=world / "train.json",
        val=world / "val.json",
        out=world / "out",
        vae=[world / "taesd_encoder.safetensors", world / "taesd_decoder.safetensors"],
    )
    words = []
    for name, value in {**values, **changes}.items():
        if value is not None:
            given = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, given)]
    TOOL["main"](TOOL["build_parser"]().parse_args([*words, "--smoke"]))


def refused(world, message, **changes):
    with pytest.raises(UserError, match=message):
        augment(world, **changes)
    assert not (world / "out/sources").exists() and not (world / "out/stamps").exists()
