"""COCO-Thing-Stuff json files as layouts, every drop counted."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch.utils.data import Dataset

from detdiffusion.registry import DATASETS, TRANSFORMS
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from .coco_json import merge_checked, read_coco

LAMA_FILTER = dict(min_area_ratio=0.02, min_objects=3, max_objects=8, drop_classes=("other",))


@DATASETS.register_module()
class LayoutCocoDataset(Dataset):
    """Images with layouts from one or more COCO json files of the same images (instances, stuff).

    The filter is LAMA's: no crowds and nothing marked ``ignore``, boxes above a share of the image's area (strict),
    images with a minimum to a maximum number of objects. Every drop is counted in :attr:`report` and printed.

    Args:
        ann_files: COCO json paths; annotation ids must be unique over them.
        img_dir: folder of the images.
        data_root: prefix of relative ``ann_files`` and ``img_dir``.
        pipeline: transform configs; each gets ``img_path``, ``layout`` and ``segmentations``.
        classes: class names to keep, default all; a name that no json has is an error.
        filter_cfg: overrides of :data:`LAMA_FILTER`.
        test_mode: unused by the data set itself, kept for mmengine.

    Raises:
        UserError: a missing or broken json, an unknown class, ids that occur twice, or no image left.
    """

    def __init__(
        self,
        ann_files: str | Sequence[str],
        img_dir: str,
        data_root: str = "",
        pipeline: Sequence[dict | Callable] = (),
        classes: Sequence[str] | None = None,
        filter_cfg: dict | None = None,
        test_mode: bool = False,
    ) -> None:
        ann_files = [ann_files] if isinstance(ann_files, (str, Path)) else ann_files
        self.ann_files = [str(Path(data_root, path)) for path in ann_files]
        self.img_dir, self.test_mode = Path(data_root, img_dir), test_mode
        if not self.img_dir.is_dir():
            raise UserError(
                f"no image folder {str(self.img_dir)!r}: set data_root (now {data_root!r}) to the folder of your "
                "data set"
            )
        self.filter_cfg = {**LAMA_FILTER, **(filter_cfg or {})}
        self.report: Counter = Counter()
        files = [read_coco(path) for path in self.ann_files]
        for file in files:
            if file.report:
                print_log(file.summary(), logger="current")
        images, categories, annotations = merge_checked(files)
        self.categories = [categories[key] for key in sorted(categories)]
        self.classes = self._check_classes(classes, [category["name"] for category in self.categories])
        self.metainfo = dict(classes=tuple(self.classes))
        self.layouts, self._segmentations = self._build(images, annotations)
        self.pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        for step in self.pipeline:  # a file that belongs to another data set is found before the first epoch
            if hasattr(step, "check"):
                step.check(
                    [i for layout in self.layouts for i in layout.ids],
                    ", ".join(self.ann_files),
                    self.ann_files,
                )
        print_log(self.summary(), logger="current")

    def _check_classes(self, classes, names: list[str]) -> list[str]:
        if classes is None:
            return [name for name in names if name not in self.filter_cfg["drop_classes"]]
        for name in classes:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=3)
                raise UserError(
                    f"class {name!r} of the config is in none of {', '.join(map(str, self.ann_files))}"
                    + (f"; near matches: {', '.join(near)}" if near else f"; it has: {', '.join(names)}")
                )
        return list(classes)

    def _build(self, images: dict[int, dict], annotations: list[dict]) -> tuple[list[Layout], list[list]]:
        names = {category["id"]: category["name"] for category in self.categories}
        label_of = {name: label for label, name in enumerate(self.classes)}
        objects: dict[int, list[dict]] = {}
        for annotation in annotations:
            objects.setdefault(annotation["image_id"], []).append(annotation)
        layouts, segmentations = [], []
        for image_id, image in images.items():
            kept = [a for a in objects.get(image_id, ()) if self._keep(a, image, names, label_of)]
            if not self.filter_cfg["min_objects"] <= len(kept) <= self.filter_cfg["max_objects"]:
                few = len(kept) < self.filter_cfg["min_objects"]
                self.report["images with too few objects" if few else "images with too many objects"] += 1
                continue
            layouts.append(self._layout(image, kept, names, label_of))
            segmentations.append([annotation.get("segmentation") for annotation in kept])
        self.report.update({"images": len(images), "images kept": len(layouts)})
        self.report["objects kept"] = sum(map(len, layouts))
        if not layouts:
            raise UserError(
                f"no image is left after the filter: {self.summary()}; loosen filter_cfg or check the paths"
            )
        return layouts, segmentations

    def _keep(self, annotation: dict, image: dict, names: dict, label_of: dict) -> bool:
        _, _, w, h = annotation["bbox"]
        if annotation.get("iscrowd"):
            reason = "crowds"
        elif annotation.get("ignore"):
            reason = "marked 'ignore'"
        elif names[annotation["category_id"]] not in label_of:
            reason = "objects of other classes"
        elif w * h <= self.filter_cfg["min_area_ratio"] * image["width"] * image["height"]:
            reason = f"objects up to {self.filter_cfg['min_area_ratio']:.0%} of the image"
        else:
            return True
        self.report[reason] += 1
        return False

    @staticmethod
    def _layout(image: dict, kept: list[dict], names: dict, label_of: dict) -> Layout:
        boxes = torch.tensor([a["bbox"] for a in kept], dtype=torch.float64)
        boxes[:, 2:] += boxes[:, :2]
        boxes /= torch.tensor([image["width"], image["height"]] * 2, dtype=torch.float64)
        classes = [names[a["category_id"]] for a in kept]
        return Layout(
            boxes=boxes.clamp(0, 1).float(),
            names=classes,
            labels=torch.tensor([label_of[name] for name in classes]),
            ids=[a["id"] for a in kept],
            category_ids=[a["category_id"] for a in kept],
            image_id=image["id"],
            file_name=image["file_name"],
            width=image["width"],
            height=image["height"],
        )

    def summary(self) -> str:
        """One line of counts: what was kept and what was dropped, with the reasons."""
        counts = ", ".join(f"{reason}: {count}" for reason, count in self.report.items())
        return f"layouts of {', '.join(map(str, self.ann_files))}: {counts}"

    def __len__(self) -> int:
        return len(self.layouts)

    def __getitem__(self, index: int) -> dict:
        layout = self.layouts[index]
        results = dict(
            img_path=str(self.img_dir / layout.file_name),
            layout=layout,
            segmentations=self._segmentations[index],
        )
        for step in self.pipeline:
            results = step(results)
        return results
