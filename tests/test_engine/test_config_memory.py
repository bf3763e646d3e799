"""Memory of a training, computed without storage: closed forms, and the same model with storage."""

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from detdiffusion.engine.config_memory import _run_detector, kept_bytes, memory_of
from detdiffusion.registry import MODELS
from detdiffusion.utils.config import load_config


@pytest.mark.parametrize("batch", [1, 7])
def test_bytes_kept_by_a_chain_of_layers(batch):
    """Each layer keeps its input, and the input of the second is what the activation keeps: counted once."""
    with FakeTensorMode():
        layers = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        images = torch.empty(batch, 3)
        assert kept_bytes(lambda: layers(images), layers.parameters()) == 4 * batch * (3 + 5)


def test_detector_keeps_as_much_as_with_storage(repo_root):
    path = "configs/detectors/faster-rcnn_miniscenes.py"
    cfg = load_config(str(repo_root / path), ["train_dataloader.batch_size=2"])
    found = memory_of(cfg, 10)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model).train()
    assert found.size == (96, 96) and found.batch == 2 and found.latents == 0
    assert found.activations == kept_bytes(lambda: _run_detector(model, 2, (96, 96)), model.parameters())
    assert found.trained + found.frozen == sum(p.numel() for p in model.parameters())
