"""Deprecated config names from before the scheme ``{model}_{variant}_{dataset}.py``, and their replacements.

The loader (:func:`.config.load_config`) accepts an old name as a config's path and as a ``_base_``, and prints the new
one. The old names will be removed in the next version.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_STRATEGIES = ("easy", "origin", "hard")
_DETECTORS = ("atss", "fcos", "faster-rcnn")


@dataclass(frozen=True)
class NewName:
    """The replacement of an old name.

    Attributes:
        path: the config's new path, in the form of the old one: relative, absolute or ``package::file.py``.
        options: values of its variables that reproduce the old config.
    """

    path: str
    options: Mapping[str, str | int] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = [f"{key}={value}" for key, value in self.options.items()]
        return " ".join([self.path, *(["with --cfg-options"] if pairs else []), *pairs])


def _mixed(old: str, new: str, sets: str) -> dict[str, NewName]:
    """Map the old configs, one per detector and strategy, to the new ones, one per detector."""
    return {
        f"trainability/{detector}_{old.format(strategy)}.py": NewName(
            f"trainability/{detector}_{new}.py", {"synthetic_root": f"{sets}/{strategy}"}
        )
        for detector in _DETECTORS
        for strategy in _STRATEGIES
    }


OLD_NAMES: dict[str, NewName] = {
    **{
        f"{old}.py": NewName(f"{new}.py")
        for old, new in {
            "detdiffusion_coco-800x456": "detdiffusion_800x456_coco",
            "detdiffusion_coco-fsdp": "detdiffusion_fsdp_coco",
            "detdiffusion_coco_lora": "detdiffusion_lora_coco",
            "detdiffusion_coco_sd21": "detdiffusion_sd21_coco",
            "detdiffusion_coco_small-memory": "detdiffusion_small-memory_coco",
            "detdiffusion_miniscenes_validated": "detdiffusion_validated_miniscenes",
            "ablations/geodiffusion_coco": "geodiffusion_coco",
            "ablations/attr-only_coco": "ablations/detdiffusion_attr-only_coco",
            "ablations/attr-only_miniscenes": "ablations/detdiffusion_attr-only_miniscenes",
            "ablations/without-dice_coco": "ablations/detdiffusion_without-dice_coco",
            "ablations/without-dice_miniscenes": "ablations/detdiffusion_without-dice_miniscenes",
            "ablations/without-foreground-weights_coco": "ablations/detdiffusion_without-foreground-weights_coco",
            "ablations/without-sqrt-alpha-bar_coco": "ablations/detdiffusion_without-sqrt-alpha-bar_coco",
            "ablations/without-sqrt-alpha-bar_miniscenes": "ablations/detdiffusion_without-sqrt-alpha-bar_miniscenes",
            "bccd/atss_synthetic_bccd": "bccd/atss_mixed_bccd",
            "onnx/coco_classes": "_base_/datasets/coco_classes",
            "onnx/fastestdet": "onnx/fastestdet_coco",
            "onnx/yolov8": "onnx/yolov8_coco",
            "onnx/yolox_nano": "onnx/yolox_nano_coco",
            "zoo/base-looks_miniscenes": "zoo/base_miniscenes",
            "zoo/base_looks_miniscenes": "zoo/base_miniscenes",
            "zoo/layout-looks_miniscenes": "zoo/layout_looks_miniscenes",
            "zoo/vae-looks_miniscenes": "zoo/vae_miniscenes",
            "zoo/vae_looks_miniscenes": "zoo/vae_miniscenes",
        }.items()
    },
    "detdiffusion_blueprint_miniscenes.py": NewName("detdiffusion_miniscenes.py", {"max_iters": 400}),
    **_mixed("{}_miniscenes", "mixed_miniscenes", "work_dirs/synthetic"),
    **_mixed("r50_fpn_{}_coco", "r50_fpn_mixed_coco", "work_dirs/synthetic_coco"),
}
"""Old name -> replacement, both relative to ``configs/``."""


def new_name(path: str) -> NewName | None:
    """Return the replacement for a deprecated config name; None if the file exists or the name is unknown.

    Args:
        path: path of a file, or ``detdiffusion::file.py``.
    """
    package, separator, name = path.rpartition("::")
    if separator:
        found = OLD_NAMES.get(name) if package == "detdiffusion" else None
        return found and NewName(f"{package}::{found.path}", found.options)
    file = Path(os.path.abspath(path))
    if file.is_file():
        return None
    for configs in file.parents[:2]:  # the file is in configs/ itself or in a direct subfolder
        found = OLD_NAMES.get(file.relative_to(configs).as_posix())
        if found and (configs / found.path).is_file():
            new = configs / found.path
            return NewName(str(new) if os.path.isabs(path) else os.path.relpath(new), found.options)
    return None
