"""A generator is scored while it trains: metrics and sample sheets, the same on one process and on two."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from fidelity_world import write_random_detector
from mmengine.structures import BaseDataElement
from PIL import Image
from tiny_folder import write_diffusers_folder

from detdiffusion.evaluation.generation_metrics import GenerationDetectionMetric, GenerationFrechetMetric
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
STEPS = 2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """MiniScenes, attributes, a tiny base and a random detector; the config's overrides."""
    from detdiffusion.datasets.miniscenes import write_miniscenes

    root = tmp_path_factory.mktemp("validation")
    for split, count in (("train", 12), ("val", 8)):
        write_miniscenes(root / "data", split, count, size=64)
        attributes = {}
        for kind, word in (("instances", "hard"), ("stuff", "background")):
            data = json.loads((root / f"data/{split}/{kind}.json").read_text())
            attributes.update({a["id"]: word for a in data["annotations"]})
        (root / f"{split}.json").write_text(json.dumps(dict(info=dict(nameable=[]), attributes=attributes)))
    config, checkpoint = write_random_detector(root, ROOT)
    options = dict(layout_folder=write_diffusers_folder(root / "tiny"), data_root=root / "data")
    options.update(attributes_file=root / "train.json", val_attributes_file=root / "val.json")
    options.update({"detector_config": config, "detector_checkpoint": checkpoint, "max_iters": STEPS})
    options.update({"train_cfg.val_interval": STEPS, "train_cfg.max_iters": STEPS, "param_scheduler": "[]"})
    options.update({"train_dataloader.batch_size": 4, "val_dataloader.batch_size": 1})
    options.update({"train_dataloader.dataset.filter_cfg.min_objects": 1, "optim_wrapper.optimizer.lr": 0.0})
    options.update(
        {"val_dataloader.dataset.filter_cfg.min_objects": 1, "model.test_cfg.num_inference_steps": 2}
    )
    return root, [f"{key}={value}" for key, value in options.items()]


def train(world, ranks):
    """The metrics of the validation after STEPS iterations (at learning rate 0), and the sheet."""
    root, options = world
    out = root / f"work{ranks}"
    config = str(ROOT / "configs/detdiffusion_validated_miniscenes.py")
    command = [sys.executable, "tools/train.py", config]
    if ranks > 1:
        command = ["bash", "tools/dist_train.sh", config, str(ranks)]
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHON=sys.executable, CUDA_VISIBLE_DEVICES="")
    env.update(OMP_NUM_THREADS="1", PORT=str(23000 + os.getpid() % 20000))
    done = subprocess.run(
        [*command, "--work-dir", str(out), "--cfg-options", *options],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(x) for x in next(out.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    metrics = {k: v for line in lines for k, v in line.items() if k.startswith("generation/")}
    sheets = sorted(out.glob("*/vis_data/vis_image/samples_*.png"))
    assert [sheet.name for sheet in sheets] == [f"samples_{STEPS}.png"]
    assert (out / f"best_generation_bbox_mAP_iter_{STEPS}.pth").is_file()
    return metrics, np.array(Image.open(sheets[0])), done.stdout + done.stderr


def test_one_process_and_two(world):
    one, sheet, log = train(world, 1)
    assert {
        "generation/bbox_mAP",
        "generation/real_bbox_mAP",
        "generation/autoencoder_bbox_mAP",
        "generation/found",
        "generation/frechet",
    } <= set(one)
    assert one["generation/mean_score_hard"] == one["generation/mean_score"]  # every object is hard
    assert one["generation/images"] == 8 and one["generation/objects"] > 8 and one["generation/frechet"] > 0
    assert "covariance is singular" in log
    assert one["generation/real_frechet"] > 0 and "real_frechet: one half of the real images" in log
    assert sheet.shape[1] > 2 * 128 and sheet.shape[0] > 8 * 128 and sheet.std() > 20
    two, _, _ = train(world, 2)
    assert two.keys() == one.keys()
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-3, abs=2e-4), name


def batch(count, size=32, asked=None):
    """Layouts with real images, and predictions that equal them; ``asked`` lists the images that are encoded."""
    rng = torch.Generator().manual_seed(0)
    inputs, samples = [], []

    def copied(image, number):
        if asked is not None:
            asked.append(number)
        return image

    for i in range(count):
        image = torch.randint(0, 255, (3, size, size), generator=rng, dtype=torch.uint8)
        layout = Layout([[0.1, 0.1, 0.6, 0.7], [0.5, 0.5, 1.0, 1.0]], ["ball", "sky"], ["easy", "background"])
        layout.image_id = i
        sample = BaseDataElement(metainfo=dict(image_id=i))
        sample.set_data(dict(layout=layout, pred_img=image.float() / 255, prompted=[0]))
        sample.set_data(dict(round_trip=partial(copied, sample.pred_img, i)))
        inputs.append(image)
        samples.append(sample.to_dict())
    return dict(inputs=inputs), samples


def test_a_copy_has_distance_zero_and_the_bounds_ap(world):
    """Batches of any size; the real images' features are kept between validations."""
    root, options = world
    detector = {k[9:]: v for k, v in (o.split("=", 1) for o in options) if k.startswith("detector_")}
    frechet = GenerationFrechetMetric(dict(type="DetectorExtractor", **detector))
    found = GenerationDetectionMetric(**detector, score_thr=0.0)
    asked = []
    for _ in range(2):
        data, samples = batch(6, asked=asked)
        for part in (slice(0, 4), slice(4, 6)):
            for metric in (frechet, found):
                metric.process(dict(inputs=data["inputs"][part]), samples[part])
        assert frechet.evaluate(6)["generation/frechet"] == pytest.approx(0, abs=1e-4)
        values = found.evaluate(6)
        assert values["generation/bbox_mAP"] == values["generation/real_bbox_mAP"]
        assert values["generation/bbox_mAP"] == values["generation/autoencoder_bbox_mAP"]
        assert values["generation/objects"] == 6  # the prompted ball only: sky cannot be named
        assert values["generation/mean_score_easy"] == values["generation/mean_score"]
    assert asked == list(range(6))  # the autoencoder runs in the first validation only
    data, samples = batch(1)
    del samples[0]["pred_img"]
    with pytest.raises(UserError, match="val_step returns no pred_img"):
        frechet.process(data, samples)
