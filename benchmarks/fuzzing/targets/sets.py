"""``tools/quality_gate.py`` and ``tools/analysis_tools/browse_dataset.py``."""

from __future__ import annotations

import re
from pathlib import Path

from ..case import Case, Run
from ..reading import corners, iou, picture, read_coco, read_json
from ..verdict import Account, printed_counts
from .attributes import _is_sound
from .target import Target, damage_some
from .worlds import coco, write_json, write_set


class QualityGate(Target):
    """A set's annotations and a detector's results on it."""

    name, tool = "quality_gate", "quality_gate.py"
    imports = ("detdiffusion.apis.quality_gate", "detdiffusion.generation.quality_gate")

    def prepare(self, base: Path) -> None:
        data = coco(5)
        for one in data["annotations"]:
            one["attribute"] = ("easy", "hard")[one["id"] % 2]
        write_json(base / "annotations.json", data)
        found = [
            dict(
                image_id=a["image_id"],
                category_id=a["category_id"],
                bbox=[a["bbox"][0] + 1, *a["bbox"][1:]],
                score=0.8,
            )
            for a in data["annotations"]
            if a["id"] % 4
        ]
        write_json(base / "results.json", found)

    def damage(self, case: Case) -> None:
        damage_some(case, {"json": ["annotations.json", "annotations.json", "results.json"]})

    def arguments(self, case: Case) -> list[str]:
        return [
            str(case.source),
            "--predictions",
            str(case.source / "results.json"),
            "--out",
            str(case.out / "gated.json"),
        ]

    def judge(self, case: Case, run: Run) -> Account:
        account, source = Account(), read_coco(case.source / "annotations.json")
        gated = read_coco(case.out / "gated.json")
        entries = read_json(case.source / "results.json")
        entries = entries if isinstance(entries, list) else []
        found = [one for one in entries if _is_sound(one)]
        sound = found == read_json(
            case.base / "results.json"
        )  # else one detection may stand for another object
        came = {one["id"]: one for one in gated.entries}
        for image_id in source.images:
            if image_id not in gated.images:
                account.lose(f"image id {image_id}", image_id)
        for k, one in enumerate(source.entries):
            new = came.pop(one.get("id"), None) if isinstance(one, dict) else None
            if new is None:
                account.lose(f"annotation {k}")
            elif k not in source.boxes:
                account.wrong.append(f"annotation {k} has no sound box, yet is {new.get('quality')}")
            else:
                best = _best_overlap(one, source.boxes[k], found)
                if (new["quality"] == "kept" and best < 0.499) or (
                    new["quality"] == "missed" and best > 0.501 and sound
                ):
                    account.wrong.append(f"annotation {k} is {new['quality']}, its best overlap {best:.2f}")
        for _ in range(len(entries) - len(found) + sum(p["image_id"] not in source.images for p in found)):
            account.lose("a prediction")
        if came:
            account.wrong.append(f"annotations of ids {list(came)[:3]} are not in the input")
        return account


def _best_overlap(annotation: dict, box: tuple, found: list[dict]) -> float:
    """Return the highest IoU of an object with a confident detection of its class on its image."""
    same = [p for p in found if all(p[key] == annotation[key] for key in ("image_id", "category_id"))]
    return max((iou(box, corners(p["bbox"])) for p in same if p["score"] > 0.3), default=0.0)


class BrowseDataset(Target):
    """Annotations, images and attributes; one column, so the sheet's height tells the number of pictures."""

    name, tool = "browse_dataset", "analysis_tools/browse_dataset.py"
    imports = ("detdiffusion.visualization.browse", "PIL.ImageFont", "pycocotools.mask")

    def prepare(self, base: Path) -> None:
        data = write_set(base, 4)
        attributes = {str(a["id"]): ("easy", "hard", "background")[a["id"] % 3] for a in data["annotations"]}
        write_json(base / "attributes.json", dict(info={}, attributes=attributes))

    def damage(self, case: Case) -> None:
        damage_some(
            case, {"json": ["instances.json", "instances.json", "attributes.json"], "image": ["images/*"] * 2}
        )

    def arguments(self, case: Case) -> list[str]:
        source = case.source
        return [
            "--ann", str(source / "instances.json"), "--img-dir", str(source / "images"), "--out", str(case.out),
            "--attributes", str(source / "attributes.json"), "--columns", "1", "--side", "32",
        ]  # fmt: skip

    def judge(self, case: Case, run: Run) -> Account:
        from PIL import Image

        account, source = Account(), read_coco(case.source / "instances.json")
        with Image.open(case.out / "sheet_001.png") as sheet:
            shown = round((sheet.height - 12) / (32 + 14 + 6))
        for image in source.images.values():
            path = case.source / "images" / str(image.get("file_name"))
            if picture(path) is None:
                account.lose(f"image {path.name}")
        missing = len(source.images) - shown - len(account.lost)
        for _ in range(max(0, missing)):
            account.lose("an image")
        read = re.search(r": (\d+) images, (\d+) annotations", run.output)
        objects = int(read[2]) if read else 0
        for _ in range(len(source.entries) - objects):
            account.lose("an annotation")
        if shown > len(source.images) or objects > len(source.entries):
            account.wrong.append(
                f"{shown} images and {objects} annotations shown of {len(source.images)} and {len(source.entries)}"
            )
        account.counted = printed_counts(run.output)
        return account
