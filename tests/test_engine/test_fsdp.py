"""FSDP by config: which parts it shards, and two sharded ranks that train as two ranks with whole copies."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from detdiffusion.utils.checkpoint import load_checkpoint
from detdiffusion.utils.config import load_config

TESTS = Path(__file__).resolve().parents[1]
CONFIG = TESTS.parent / "configs/detdiffusion_fsdp_coco.py"


def test_the_policy_shards_every_unet_block_and_text_layer():
    import diffusers
    import transformers

    from detdiffusion.engine.sharded import wrap_by_name

    config = load_config(str(CONFIG), ["sd_folder=/models/sd15"])
    assert config.runner_type == "detdiffusion.ShardedRunner" and config.strategy.type == "FSDPStrategy"
    policy = config.strategy.model_wrapper.auto_wrap_policy.to_dict()
    assert policy.pop("type") == f"{wrap_by_name.__module__}.{wrap_by_name.__name__}"
    wraps = partial(wrap_by_name, recurse=False, nonwrapped_numel=0, **policy)
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            block_out_channels=(32, 64, 64, 64), norm_num_groups=8
        )  # SD 1.5's blocks
        text = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                hidden_size=32, intermediate_size=32, num_hidden_layers=12, num_attention_heads=2
            )
        )
    units = [module for module in unet.modules() if wraps(module)]
    assert set(units) == {*unet.down_blocks, unet.mid_block, *unet.up_blocks} and len(units) == 9
    inside = sum(p.numel() for unit in units for p in unit.parameters())
    assert inside > 0.95 * sum(p.numel() for p in unet.parameters())
    assert sum(wraps(module) for module in text.modules()) == 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    if torch.__version__.startswith("2.6."):
        pytest.skip(
            "torch 2.6 crashes where FSDP gathers shards on a CPU: a segmentation fault in its state_dict hook"
        )
    root = tmp_path_factory.mktemp("sharded")
    env = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    command = [sys.executable, TESTS / "forked_runs.py", root, "sharded"]
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    return root


def test_losses_and_clipped_gradients_are_those_of_whole_copies(runs):
    copies, shards = (json.loads((runs / f"{name}.json").read_text()) for name in ("copies", "shards"))
    assert len(copies) == len(shards) == 4
    for one, other in zip(copies, shards):
        assert one["grad_norm"] > 0.05  # above the limit: clipping acts, by the norm over both ranks
        for key, value in one.items():
            assert other[key] == pytest.approx(value, rel=1e-3), key


def test_the_checkpoint_is_the_whole_model(runs):
    copies, shards = (
        load_checkpoint(runs / f"sharded/{name}/iter_4.pth")["state_dict"] for name in ("copies", "shards")
    )
    copies = {name.removeprefix("module."): value for name, value in copies.items()}
    assert copies.keys() == shards.keys() and len(copies) > 200
    for name, value in copies.items():
        torch.testing.assert_close(shards[name], value, rtol=1e-3, atol=1e-4, msg=name)
