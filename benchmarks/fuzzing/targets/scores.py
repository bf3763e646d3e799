"""``tools/evaluate_fidelity.py`` and ``tools/evaluate_yolo_score.py`` with a detector with constant results."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..case import Case, Run
from ..reading import IMAGE_SUFFIXES, average_precision, corners, picture, read_coco, read_json
from ..verdict import Account, printed_counts
from .attributes import sound_outputs, write_onnx_detector
from .target import Target, damage_some
from .worlds import CLASSES, OBJECTS, write_image, write_json, write_set

_IMPORTS = (
    "detdiffusion.apis.fidelity", "detdiffusion.visualization.reports.fidelity", "detdiffusion.apis.yolo_score",
    "detdiffusion.visualization.reports.yolo_score", "faster_coco_eval", "onnxruntime", "cv2", "matplotlib.pyplot",
)  # fmt: skip
FOUND = OBJECTS[:2]  # detections on every image; the third object is never found


def found_on(image_ids) -> list[tuple]:
    """Return the detections, for :func:`average_precision`."""
    return [(i, CLASSES[c], corners(box), 0.9) for i in image_ids for c, *box in FOUND]


def compare_ap(account: Account, where: str, came: float, right: float | None) -> None:
    """Add a wrong result if a printed AP is not correct."""
    if right is not None and not abs(came - right) < 2e-3:
        account.wrong.append(f"{where}: AP {came:.3f}, pycocotools has {right:.3f}")


class Fidelity(Target):
    """Real images and a synthetic set with the same content."""

    name, tool, imports = "evaluate_fidelity", "evaluate_fidelity.py", _IMPORTS

    def prepare(self, base: Path) -> None:
        data = write_set(base, 4)
        write_onnx_detector(base, *sound_outputs(FOUND))
        for image in data["images"]:
            image.update(source_image_id=image["id"], sample_index=0)
            write_image(base / "set/images" / image["file_name"], image["id"])
        for one in data["annotations"]:
            one["source_annotation_id"] = one["id"]
        write_json(base / "set/annotations.json", data)

    def damage(self, case: Case) -> None:
        damage_some(
            case,
            {"json": ["instances.json", "set/annotations.json"], "image": ["images/*", "set/images/*"]},
            2,
        )

    def arguments(self, case: Case) -> list[str]:
        s = case.source
        return [
            "--detector", str(s / "model.py"), str(s / "model.onnx"), "--ann", str(s / "instances.json"),
            "--img-dir", str(s / "images"), "--synthetic", f"set={s / 'set'}", "--out", str(case.out),
            "--resamples", "2", "--device", "cpu",
        ]  # fmt: skip

    def judge(self, case: Case, run: Run) -> Account:
        account = Account(counted=printed_counts(run.output) + _noted(run.output))
        rows = read_json(case.out / "fidelity.json")["sets"]
        real = read_coco(case.source / "instances.json")
        drawn = read_coco(case.source / "set/annotations.json")
        known = [i for i, image in drawn.images.items() if image.get("source_image_id") in real.images]
        for image_id in set(drawn.images) - set(known):
            account.lose(f"image id {image_id} of the set")
        names = set(CLASSES.values()) & set(real.names.values())
        compare_ap(
            account, "set", rows["set"]["bbox_mAP"], average_precision(drawn, known, found_on(known), names)
        )
        layouts = list(dict.fromkeys(drawn.images[i]["source_image_id"] for i in known))
        right = average_precision(real, layouts, found_on(layouts), names)
        compare_ap(account, "real", rows["real"]["bbox_mAP_full"], right)
        for coco, folder in ((real, case.source / "images"), (drawn, case.source / "set/images")):
            for k in range(len(coco.entries) - len(coco.boxes)):
                account.lose(f"unsound annotation {k}")
            for image_id in known if coco is drawn else layouts:
                if picture(folder / str(coco.images[image_id].get("file_name"))) is None:
                    account.wrong.append(
                        f"image id {image_id} of {folder.name} is scored, but cannot be read"
                    )
        return account


class YoloScore(Target):
    """Real images, a method's folder and a list of ids."""

    name, tool, imports = "evaluate_yolo_score", "evaluate_yolo_score.py", _IMPORTS

    def prepare(self, base: Path) -> None:
        data = write_set(base, 4)
        write_onnx_detector(
            base, *sound_outputs([(c, x, y * 64 / 48, w, h * 64 / 48) for c, x, y, w, h in FOUND])
        )
        for image in data["images"]:
            write_image(base / "ours" / image["file_name"], image["id"])
        (base / "ids.txt").write_text("\n".join(str(image["id"]) for image in data["images"]) + "\n")

    def damage(self, case: Case) -> None:
        kinds = {"json": ["instances.json"] * 2, "image": ["images/*", "ours/*", "ours/*"]}
        if self._with_ids(case):
            kinds["lines"] = ["ids.txt"]
        damage_some(case, kinds, 2)

    def _with_ids(self, case: Case) -> bool:
        return case.number % 3 == 1

    def arguments(self, case: Case) -> list[str]:
        s = case.source
        return [
            "--detector", str(s / "model.py"), str(s / "model.onnx"), "--ann", str(s / "instances.json"),
            "--img-dir", str(s / "images"), "--synthetic", f"ours={s / 'ours'}", "--out", str(case.out),
            "--size", "64", "--device", "cpu", *(["--ids", str(s / "ids.txt")] if self._with_ids(case) else []),
        ]  # fmt: skip

    def judge(self, case: Case, run: Run) -> Account:
        account = Account(counted=printed_counts(run.output) + _noted(run.output))
        result = json.loads((case.out / "yolo_score.json").read_text())
        source = read_coco(case.source / "instances.json")
        stems = {Path(str(image.get("file_name"))).stem: i for i, image in source.images.items()}
        files = [p for p in sorted((case.source / "ours").rglob("*")) if p.is_file()]
        shown = {}
        for path in files:
            key = stems.get(path.stem)
            if key is None or path.parent.name != "ours" or path.suffix.lower() not in IMAGE_SUFFIXES:
                account.lose(f"image {path.name}")
            else:
                shown[key] = path
        if self._with_ids(case):
            ids = (case.source / "ids.txt").read_text(errors="replace").split()
            shown = {key: path for key, path in shown.items() if str(key) in ids}
        for k in range(len(source.entries) - len(source.boxes)):
            account.lose(f"unsound annotation {k}")
        for key, path in shown.items():
            if (
                picture(path) is None
                or picture(case.source / "images" / str(source.images[key]["file_name"])) is None
            ):
                account.wrong.append(f"{path.name} is scored, but cannot be read")
        for name in ("real", "ours"):
            row = _row(result, name)
            if row["layouts"] != len(shown):
                account.wrong.append(f"{name}: {row['layouts']} layouts of {len(shown)}")
            else:
                compare_ap(
                    account,
                    name,
                    row["bbox_mAP"],
                    average_precision(source, list(shown), found_on(shown), set(CLASSES.values())),
                )
        return account


def _row(result: dict, name: str) -> dict:
    if "sets" in result:
        return result["sets"][name]
    row = next(one for one in result["methods"] if one["method"] == name)
    return {**row["metrics"], **row["counts"]}


def _noted(output: str) -> int:
    """Return the counts of the notes: left out, without a layout, or not scored."""
    found = re.findall(r"(\d+)[^.\n]*?(?:left out|belong|not in every|of other|lack)", output)
    scored = re.search(r"(\d+) of the annotation file's (\d+) images are scored", output)
    return sum(map(int, found)) + (int(scored[2]) - int(scored[1]) if scored else 0)
