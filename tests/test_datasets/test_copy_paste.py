"""The copy-paste of detectors: sources inside the data set, and samples whose boxes are those of what is visible."""

import random

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.datasets.transforms.copy_paste import CopyPaste
from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config

compat.setup()


@pytest.mark.parametrize("count", [1, 2])
def test_every_source_is_in_the_data_set_and_each_may_be_drawn(count):
    random.seed(0)
    drawn = {CopyPaste().get_indexes(range(count)) for _ in range(200)}
    assert drawn == set(range(count))


@pytest.mark.parametrize("count", [1, 2])
def test_samples_of_the_smallest_sets(count, tmp_path, repo_root):
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules

    write_miniscenes(tmp_path, "train", count)
    register_all_modules(init_default_scope=False)
    path = repo_root / "configs/trainability/atss_copy-paste_miniscenes.py"
    config = load_config(str(path), [f"data_root={tmp_path}/"])
    init_default_scope("mmdet")
    dataset = DATASETS.build(config.train_dataloader.dataset)
    random.seed(0)
    np.random.seed(0)
    pasted = 0
    for index in [*range(count)] * 20:
        before = dataset.dataset[index]
        sample = dataset[index]
        objects = sample["data_samples"].gt_instances
        size = (objects.bboxes.tensor[:, 2:] - objects.bboxes.tensor[:, :2]).amin(dim=1)
        assert sample["inputs"].shape == (3, 96, 96) and (size >= 1).all()
        pasted += len(objects) > int((~before["gt_ignore_flags"]).sum())
        assert 0 <= sample["inputs"].min() and sample["inputs"].max() <= 255
    assert len(dataset) == count and pasted
