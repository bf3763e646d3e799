"""A fidelity comparison whose answer is known: a generator that copies the real images, and a random detector."""

import json

import cv2
import numpy as np

CLASSES = ("ball", "crate")


def write_world(root):
    """12 real images of 64 x 48 with a ball, a crate and an unprompted ball; sets at half the size."""
    rng = np.random.default_rng(0)
    categories = [dict(id=3, name="ball"), dict(id=5, name="crate"), dict(id=9, name="sky")]
    real = dict(images=[], annotations=[], categories=categories)
    (root / "real").mkdir()
    for i in range(1, 13):
        image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "real" / f"{i}.png"), image)
        real["images"].append(dict(id=i, file_name=f"{i}.png", width=64, height=48))
        for k, (category, box) in enumerate(
            [(3, [4, 4, 20, 16]), (5, [32, 8, 24, 30]), (3, [2, 34, 6, 6]), (9, [0, 0, 64, 20])]
        ):
            real["annotations"].append(
                dict(
                    id=10 * i + k, image_id=i, category_id=category, bbox=box, area=box[2] * box[3], iscrowd=0
                )
            )
    (root / "real.json").write_text(json.dumps(real))
    for name in ("easy", "hard"):
        folder = root / name
        (folder / "images").mkdir(parents=True)
        out = dict(images=[], annotations=[], categories=categories)
        for image in real["images"]:
            new = 1000 + image["id"]
            pixels = cv2.imread(str(root / "real" / image["file_name"]))
            cv2.imwrite(str(folder / "images" / f"{new}.png"), cv2.resize(pixels, (32, 24)))
            out["images"].append(
                dict(id=new, file_name=f"{new}.png", width=32, height=24, source_image_id=image["id"])
            )
            for a in real["annotations"]:
                if a["image_id"] == image["id"] and a["id"] % 10 != 2:
                    box = [v / 2 for v in a["bbox"]]
                    out["annotations"].append(
                        dict(
                            id=5000 + a["id"],
                            image_id=new,
                            category_id=a["category_id"],
                            bbox=box,
                            area=box[2] * box[3],
                            iscrowd=0,
                            source_annotation_id=a["id"],
                        )
                    )
        (folder / "annotations.json").write_text(json.dumps(out))
    return root


def write_random_detector(root, repo_root):
    """ATSS of the demo with fresh weights; returns its config and checkpoint."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from detdiffusion.utils import compat

    compat.setup()
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    config = repo_root / "configs" / "detectors" / "atss_miniscenes.py"
    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model)
    meta = {"dataset_meta": {"classes": cfg.metainfo["classes"]}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, root / "random.pth")
    return str(config), str(root / "random.pth")
