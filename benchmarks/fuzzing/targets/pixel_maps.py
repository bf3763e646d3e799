"""``tools/dataset_converters/stuff_maps.py``."""

from __future__ import annotations

import re
from pathlib import Path

from ..case import Case, Run
from ..reading import read_coco
from ..verdict import Account
from .target import Target, damage_some
from .worlds import CLASSES, SIZE, coco, write_json

_FIRST, _LAST = 92, 182


class StuffMaps(Target):
    """PNG files of class numbers, and the json of their images."""

    name, tool = "stuff_maps", "dataset_converters/stuff_maps.py"
    imports = ("detdiffusion.datasets.formats.stuff_maps", "PIL.Image")

    def prepare(self, base: Path) -> None:
        import numpy as np
        from PIL import Image

        data = coco(5)
        write_json(base / "instances.json", data)
        (base / "maps").mkdir()
        for k, image in enumerate(data["images"]):
            labels = np.full((SIZE[1], SIZE[0]), 0, np.uint8)
            labels[:20], labels[30:] = 100 + k, 150
            Image.fromarray(labels).save(base / "maps" / f"{Path(image['file_name']).stem}.png")

    def damage(self, case: Case) -> None:
        damage_some(case, {"json": ["instances.json"], "image": ["maps/*"]})

    def arguments(self, case: Case) -> list[str]:
        return [
            str(case.source / "maps"),
            "--instances",
            str(case.source / "instances.json"),
            "--out",
            str(case.out / "stuff.json"),
        ]

    def judge(self, case: Case, run: Run) -> Account:
        account = Account(counted=sum(map(int, re.findall(r"(?:without|no)[\w ]*: (\d+)", run.output))))
        source, written = read_coco(case.source / "instances.json"), read_coco(case.out / "stuff.json")
        maps = sorted((case.source / "maps").rglob("*"))
        used = set()
        for image_id, image in source.images.items():
            if image_id not in written.images:
                account.lose(f"image id {image_id}")
                continue
            stem = Path(str(image.get("file_name")).replace("\\", "/")).stem
            path = next((p for p in maps if p.stem == stem and p.suffix.lower() == ".png"), None)
            came = {one["category_id"]: one["area"] for one, _ in written.objects_of(image_id)}
            classes = _areas(path) if path and path.is_file() else None
            if path is None or (classes is None and not came):
                account.lose(f"the map of image id {image_id}")
                continue
            used.add(path)
            for category, area in (classes or {}).items():
                if came.pop(category, None) != area:
                    account.wrong.append(f"{path.name}: {area} pixels of {category} are not in the output")
            if came:
                account.wrong.append(f"{path.name}: {came} are not in it")
        for path in maps:
            if path.is_file() and path not in used:
                account.lose(f"map {path.name}")
        if set(written.names) & set(CLASSES):
            account.wrong.append("thing categories in the stuff json")
        return account


def _areas(path: Path) -> dict[int, int] | None:
    """Count the pixels of each stuff class; None if the map is not an image of class numbers."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except (OSError, SyntaxError, ValueError):
        return None
    if labels.ndim != 2 or labels.dtype == bool:
        return None
    values, counts = np.unique(labels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts) if _FIRST <= v <= _LAST}
