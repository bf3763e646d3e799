"""The fidelity protocol on a generator whose quality is known: it copies or spoils the real images."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from detdiffusion.evaluation.fidelity import compare_sets, load_sets, score_set
from detdiffusion.utils.errors import UserError

CLASSES = ("ball", "crate")


@pytest.fixture
def data(tmp_path):
    """12 real images of 64 x 48 with a ball, a crate and an unprompted ball; sets at half the size."""
    rng = np.random.default_rng(0)
    categories = [dict(id=3, name="ball"), dict(id=5, name="crate"), dict(id=9, name="sky")]
    real = dict(images=[], annotations=[], categories=categories)
    (tmp_path / "real").mkdir()
    for i in range(1, 13):
        image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "real" / f"{i}.png"), image)
        real["images"].append(dict(id=i, file_name=f"{i}.png", width=64, height=48))
        for k, (category, box) in enumerate(
            [(3, [4, 4, 20, 16]), (5, [32, 8, 24, 30]), (3, [2, 34, 6, 6]), (9, [0, 0, 64, 20])]
        ):
            real["annotations"].append(
                dict(
                    id=10 * i + k, image_id=i, category_id=category, bbox=box, area=box[2] * box[3], iscrowd=0
                )
            )
    (tmp_path / "real.json").write_text(json.dumps(real))
    for name in ("easy", "hard"):
        folder = tmp_path / name
        (folder / "images").mkdir(parents=True)
        out = dict(images=[], annotations=[], categories=categories)
        for image in real["images"]:
            new = 1000 + image["id"]
            pixels = cv2.imread(str(tmp_path / "real" / image["file_name"]))
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
    return tmp_path


def load(data, **kwargs):
    sets = dict(easy=data / "easy", hard=data / "hard")
    return load_sets(data / "real.json", data / "real", **{"synthetic": sets, "classes": CLASSES, **kwargs})


def as_results(truth, keep=lambda a: True):
    return [
        dict(image_id=a["image_id"], category_id=a["category_id"], bbox=a["bbox"], score=0.9)
        for a in truth["annotations"]
        if keep(a)
    ]


def test_bound_and_sets(data):
    bound, (easy, hard), notes = load(data)
    assert notes == []
    # whoever finds all three things of a real image has full marks by both ground truths
    every = score_set(bound, as_results(bound.full))
    assert every["bbox_mAP"] == every["bbox_mAP_full"] == pytest.approx(1)
    assert (every["objects"], every["images"], every["layouts"]) == (24, 12, 12)
    # a perfect generator shows the prompted two; the full ground truth misses the third
    two = score_set(easy, as_results(easy.prompted))
    assert two["bbox_mAP"] == pytest.approx(1)
    assert 0.6 < two["bbox_mAP_full"] < 0.8
    assert two["bbox_mAP_per_class"] == pytest.approx({"ball": 1, "crate": 1})  # no sky: it cannot be named


def test_paired_bootstrap_of_sets(data):
    _, (easy, hard), _ = load(data)
    worse = as_results(hard.prompted, keep=lambda a: a["image_id"] % 3)
    result = compare_sets(easy, as_results(easy.prompted), hard, worse, resamples=100)
    assert result.layouts == 12
    assert result.difference == pytest.approx(1 / 3, abs=0.02)
    assert 0 < result.low < result.difference < result.high


def test_only_common_layouts_count(data):
    path = data / "hard" / "annotations.json"
    hard = json.loads(path.read_text())
    hard["images"] = hard["images"][:5]
    ids = {image["id"] for image in hard["images"]}
    hard["annotations"] = [a for a in hard["annotations"] if a["image_id"] in ids]
    path.write_text(json.dumps(hard))
    bound, sets, notes = load(data)
    assert [len(s.layouts) for s in (bound, *sets)] == [5, 5, 5]
    assert notes == ["easy: 7 layouts are not in every set and were left out"]


def test_errors(data):
    with pytest.raises(UserError, match="names none"):
        load(data, classes=("zebra",))
    with pytest.raises(UserError, match="annotations.json is missing"):
        load(data, synthetic={"easy": data / "none"})
    path = data / "easy" / "annotations.json"
    path.write_text(
        path.read_text()
        .replace('"source_image_id": 1,', '"source_image_id": 77,')
        .replace('"source_image_id": 1}', '"source_image_id": 77}')
    )
    with pytest.raises(UserError, match="source_image_id 77"):
        load(data)


def test_tool(data, repo_root):
    """Both sets hold the same pixels: whatever an untrained detector says, there is no difference."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from detdiffusion.utils import compat

    compat.setup()
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    config = repo_root / "configs" / "detectors" / "atss_miniscenes.py"
    register_all_modules(init_default_scope=False)
    init_default_scope("mmdet")
    torch.manual_seed(0)
    cfg = Config.fromfile(config)
    model = MODELS.build(cfg.model)
    meta = {"dataset_meta": {"classes": cfg.metainfo["classes"]}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, data / "random.pth")
    command = [
        sys.executable,
        str(repo_root / "tools" / "evaluate_fidelity.py"),
        "--real",
        str(data / "real.json"),
    ]
    command += ["--detector", str(config), str(data / "random.pth"), "--real-images", str(data / "real")]
    command += ["--out", str(data / "out"), "--resamples", "20", "--synthetic", f"easy={data / 'easy'}"]
    environment = {"PYTHONPATH": str(repo_root), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, f"hard={data / 'hard'}"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((data / "out" / "fidelity.json").read_text())
    easy, hard = result["sets"]["easy"], result["sets"]["hard"]
    assert easy == hard and easy["frechet"] > 0
    difference = result["bootstrap"]["easy - hard"]
    assert (difference["low"], difference["high"], difference["layouts"]) == (0, 0, 12)
    assert "last backbone stage" in result["protocol"]["frechet_features"]
    bad = subprocess.run([*command, "hard=none"], capture_output=True, text=True, env=environment)
    assert bad.returncode == 2 and bad.stderr.strip().splitlines()[-1].startswith(
        "error: synthetic set 'hard'"
    )
