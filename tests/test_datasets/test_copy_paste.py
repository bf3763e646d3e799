"""The copy-paste of detectors: sources inside the data set, and samples whose boxes are those of what is visible."""

import itertools
import random

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.datasets.transforms.copy_paste import CopyPaste
from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

compat.setup()


@pytest.mark.parametrize("count", [1, 2])
def test_every_source_is_in_the_data_set_and_each_may_be_drawn(count):
    random.seed(0)
    paste = CopyPaste()
    drawn = {paste.get_indexes(range(count)) for _ in range(200)}
    assert drawn == set(range(count))


@pytest.mark.parametrize("kind", ["copy-paste", "augmented-copy-paste", "copy-paste-more"])
@pytest.mark.parametrize("count", [1, 2])
def test_samples_of_the_smallest_sets(count, kind, tmp_path, repo_root):
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules

    for split in ("train", "more"):
        write_miniscenes(tmp_path, split, count)
    register_all_modules(init_default_scope=False)
    path = repo_root / f"configs/trainability/atss_{kind}_miniscenes.py"
    config = load_config(str(path), [f"data_root={tmp_path}/"])
    init_default_scope("mmdet")
    dataset = DATASETS.build(config.train_dataloader.dataset)
    if kind == "copy-paste-more":
        assert len(dataset) == 2 * count
        (dataset,) = (one for one in dataset.datasets if "more" in one.dataset.ann_file)
    random.seed(0)
    np.random.seed(0)
    pasted = 0
    for index in [*range(count)] * 20:
        before = dataset.dataset[index]
        sample = dataset[index]
        objects = sample["data_samples"].gt_instances
        size = (objects.bboxes.tensor[:, 2:] - objects.bboxes.tensor[:, :2]).amin(dim=1)
        height, width = sample["inputs"].shape[1:]
        assert (size >= 1).all() and (height, width) <= (96, 96)
        assert (height, width) == (96, 96) or kind.startswith("augmented")
        pasted += len(objects) > int((~before["gt_ignore_flags"]).sum())
        in_range = 0 <= sample["inputs"].min() and sample["inputs"].max() <= 255
        assert in_range or kind.startswith("augmented")  # mmdet's photometric distortion does not clip
    assert len(dataset) == count and pasted


@pytest.mark.parametrize("learner", ["atss", "faster-rcnn"])
@pytest.mark.parametrize("arm", ["halves", "both", "schedule"])
def test_generated_images_beside_pasted_ones(learner, arm, tmp_path, repo_root):
    """A part of every batch is pasted real images, the other generated ones as they are."""
    from mmdet.registry import DATA_SAMPLERS, DATASETS
    from mmdet.utils import register_all_modules

    write_miniscenes(tmp_path, "train", 3)
    write_miniscenes(tmp_path / "set", "train", 5, seed=1)  # in place of a set of tools/generate.py
    (tmp_path / "set/train/instances.json").rename(tmp_path / "set/train/gated.json")
    register_all_modules(init_default_scope=False)
    path = repo_root / f"configs/trainability/{learner}_copy-paste-{arm}_miniscenes.py"
    options = [f"data_root={tmp_path}/", f"synthetic_root={tmp_path}/set/train", "synthetic_ann=gated.json"]
    config = load_config(str(path), options)
    init_default_scope("mmdet")
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert [len(part) for part in dataset.datasets] == [3, 5]
    sampler = DATA_SAMPLERS.build(config.train_dataloader.sampler, default_args=dict(dataset=dataset))
    batches = config.train_cfg.max_iters
    drawn = np.fromiter(itertools.islice(sampler, 16 * batches), int).reshape(batches, 16)
    generated = (drawn >= 3).sum(axis=1)
    # of all 16 images at first, of none at the end of the training; a batch has a whole number of them
    expected = 16 * (1 - np.arange(batches) / batches) if arm == "schedule" else 8
    assert (abs(generated - expected) <= (1 if arm == "schedule" else 0)).all()
    assert abs(generated.mean() - 8) < 0.02
    for index in (0, 3):
        assert dataset[index]["inputs"].shape == (3, 96, 96)
    assert dataset[3]["data_samples"].img_path.startswith(str(tmp_path / "set"))


def test_real_objects_in_generated_images(tmp_path, repo_root):
    """Real images are white and generated ones black here, so that every pixel tells where it is from."""
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules

    write_miniscenes(tmp_path, "train", 3)
    write_miniscenes(tmp_path / "set", "train", 5, seed=1)
    (tmp_path / "set/train/instances.json").rename(tmp_path / "set/train/annotations.json")
    for folder, value in ((tmp_path, 255), (tmp_path / "set", 0)):
        for path in (folder / "train/images").iterdir():
            Image.new("RGB", Image.open(path).size, (value,) * 3).save(path)
    register_all_modules(init_default_scope=False)
    path = repo_root / "configs/trainability/atss_copy-paste-both_miniscenes.py"
    config = load_config(str(path), [f"data_root={tmp_path}/", f"synthetic_root={tmp_path}/set/train"])
    init_default_scope("mmdet")
    pasted = DATASETS.build(config.train_dataloader.dataset).datasets[1]
    assert len(pasted) == 5 and "cumulative_sizes" not in pasted.metainfo
    random.seed(0)
    np.random.seed(0)
    shares = []
    for index in [*range(5)] * 8:
        before, sample = pasted.dataset[index], pasted[index]
        assert (before["img"] == 0).all()
        white = (sample["inputs"] == 255).all(dim=0)
        assert (white | (sample["inputs"] == 0).all(dim=0)).all()
        boxes, in_a_box = (
            sample["data_samples"].gt_instances.bboxes.tensor.numpy(),
            np.zeros(white.shape, bool),
        )
        for x1, y1, x2, y2 in boxes:
            in_a_box[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
        assert in_a_box[white.numpy()].all()  # what is pasted has a label
        if white.any():  # the last object lies on top of all others
            x1, y1, x2, y2 = boxes[-1]
            shares.append(white[int(y1) + 1 : int(y2), int(x1) + 1 : int(x2)].float().mean())
    assert 0.3 < min(shares) < 0.85  # cut out by their masks: boxes would be filled
    real, both = config.train_dataloader.dataset.datasets
    with pytest.raises(UserError, match="ConcatDataset of two"):
        DATASETS.build(dict(both, dataset=real.dataset))
    sources = [dict(part, metainfo=dict(classes=("ball", "tent"))) for part in both.dataset.datasets[1:]]
    other = dict(type="ConcatDataset", datasets=[both.dataset.datasets[0], *sources])
    with pytest.raises(UserError, match="the same classes in the same order"):
        DATASETS.build(dict(both, dataset=other))


def test_sources_are_of_all_parts_unless_the_last_is_asked_for():
    class Parts:
        cumulative_sizes = [2, 5]

        def __len__(self):
            return 5

    random.seed(0)
    for from_last, expected in ((False, {0, 1, 2, 3, 4}), (True, {2, 3, 4})):
        paste = CopyPaste(from_last=from_last)
        assert {paste.get_indexes(Parts()) for _ in range(200)} == expected


@pytest.mark.parametrize("learner", ["atss", "faster-rcnn"])
def test_the_share_falls_until_the_end_of_a_shorter_training(learner, repo_root):
    path = repo_root / f"configs/trainability/{learner}_copy-paste-schedule_miniscenes.py"
    config = load_config(str(path), ["max_iters=200"])
    assert config.train_dataloader.sampler.end == config.train_cfg.max_iters == 200
