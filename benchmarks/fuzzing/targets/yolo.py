"""``tools/dataset_converters/yolo_to_coco.py``."""

from __future__ import annotations

from pathlib import Path

from ..case import Case, Run
from ..reading import find_files, is_number, read_text
from ..verdict import Account
from .target import Target, damage_some
from .voc import compare_objects, converted, lose_images, nothing_left
from .worlds import CLASSES, OBJECTS, SIZE, write_image


class YoloToCoco(Target):
    """data.yaml, lists, images and label files with boxes and polygons."""

    name, tool = "yolo_to_coco", "dataset_converters/yolo_to_coco.py"
    imports = (
        "detdiffusion.apis.conversion",
        "detdiffusion.datasets.formats.yolo",
        "PIL.Image",
        "yaml",
    )

    def prepare(self, base: Path) -> None:
        order = list(CLASSES)
        for k in range(1, 7):
            split = "train" if k < 5 else "val"
            write_image(base / "images" / split / f"IMG_{k}{('.jpg', '.png')[k % 2]}", k)
            rows = []
            for category, x, y, w, h in OBJECTS:
                label = order.index(category)
                if k == 2:
                    points = (x, y, x + w, y, x + w, y + h, x, y + h)
                    numbers = [v / SIZE[i % 2] for i, v in enumerate(points)]
                else:
                    numbers = [(x + w / 2) / SIZE[0], (y + h / 2) / SIZE[1], w / SIZE[0], h / SIZE[1]]
                rows.append(f"{label} " + " ".join(f"{v:.6f}" for v in numbers))
            labels = base / "labels" / split / f"IMG_{k}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("\n".join(rows) + "\n")
        (base / "val.txt").write_text("./images/val/IMG_5.png\n./images/val/IMG_6.jpg\n")
        names = "\n".join(f"  {k}: {name}" for k, name in enumerate(CLASSES.values()))
        (base / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: val.txt\nnames:\n{names}\n")

    def damage(self, case: Case) -> None:
        damage_some(
            case,
            {
                "lines": ["labels/*/*.txt"] * 4 + ["val.txt"],
                "image": ["images/*/*"] * 2,
                "text": ["data.yaml"],
            },
        )

    def arguments(self, case: Case) -> list[str]:
        return [str(case.source / "data.yaml"), "--out", str(case.out)]

    def judge(self, case: Case, run: Run) -> Account:
        account, written = Account(), converted(case.out)
        names = _names(case.source / "data.yaml")
        labels = find_files(case.source / "labels", ".txt")
        held = 0
        for path in labels:
            rows = read_rows(path, names)
            held += len(rows)
            images = [image for name, image in written.items() if Path(name).stem == path.stem]
            if images:
                scale = (*images[0].size, *images[0].size)
                pixels = [
                    (name, box and tuple(v * side for v, side in zip(box, scale))) for name, box in rows
                ]
                compare_objects(account, path.name, pixels, images)
            else:
                account.lose(path.name, path.name, path.stem)
        lose_images(account, case.source / "images", written, labels)
        nothing_left(account, written, held)
        return account


def read_rows(path: Path, names: dict[int, str]) -> list[tuple[str, tuple | None]]:
    """Return (class, relative corners or None) of every non-empty row; duplicates count once."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError):
        return []
    rows = []
    for line in dict.fromkeys(" ".join(line.split()) for line in text.splitlines() if line.strip()):
        try:
            label, *values = (float(part) for part in line.split())
        except ValueError:
            rows.append(("", None))
            continue
        box = _box(values) if all(map(is_number, (label, *values))) else None
        rows.append((names.get(label, ""), box))
    return rows


def _box(values: list[float]) -> tuple | None:
    if len(values) == 4:
        cx, cy, w, h = values
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    elif len(values) >= 6 and len(values) % 2 == 0:
        x1, y1, x2, y2 = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    else:
        return None
    return x1, y1, x2, y2


def _names(path: Path) -> dict[int, str]:
    import yaml

    try:
        names = yaml.safe_load(read_text(path))["names"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}
    return (
        dict(names) if isinstance(names, dict) else dict(enumerate(names)) if isinstance(names, list) else {}
    )
