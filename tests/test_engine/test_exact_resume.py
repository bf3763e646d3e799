"""A training that is killed by SIGKILL at a random moment and resumed is, bit for bit, the undisturbed one."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detdiffusion.engine.random_state import random_state, seed_all, set_random_state
from detdiffusion.utils.checkpoint import load_checkpoint

CASES = ("iterations", "epochs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed")
    script = Path(__file__).parents[1] / "forked_runs.py"
    env = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    result = subprocess.run([sys.executable, script, root, *CASES], capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    return root


@pytest.mark.parametrize("case", CASES)
def test_the_loss_curve_is_the_undisturbed_one(runs, case):
    result = json.loads((runs / f"{case}.json").read_text())
    assert len(result["whole"]) >= 10 and 4 <= result["at"] < len(result["whole"])
    assert result["killed"] == result["whole"]  # every loss, learning rate and gradient norm, all digits
    assert len({step["loss"] for step in result["whole"]}) == len(result["whole"])


@pytest.mark.parametrize("case", CASES)
def test_weights_averages_and_optimizer_are_equal_to_the_bit(runs, case):
    ends = []
    for name in ("whole", "killed"):
        folder = runs / case / name
        last = max(folder.glob("iter_*.pth"), key=lambda p: int(p.stem[5:]))
        ends.append(load_checkpoint(last))
    whole, killed = ends
    assert whole["meta"]["iter"] == killed["meta"]["iter"]
    for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        left, right = (dict(_flat(end[part])) for end in ends)
        assert left.keys() == right.keys() and len(left) > 3
        for key, value in left.items():
            assert torch.equal(value, right[key]) if torch.is_tensor(value) else value == right[key], (
                part,
                key,
            )


@pytest.mark.parametrize("case", CASES)
def test_checkpoints_differ_only_in_the_folders_of_their_configs(runs, case):
    """Without the config's text and the path of the last checkpoint the files have the same bytes."""
    stored = []
    for name in ("whole", "killed"):
        last = max((runs / case / name).glob("iter_*.pth"), key=lambda p: int(p.stem[5:]))
        checkpoint = torch.load(last, map_location="cpu", weights_only=False)
        assert not {"time", "experiment_name"} & checkpoint["meta"].keys()
        hub = checkpoint["message_hub"]
        del checkpoint["meta"]["cfg"], hub["runtime_info"]["cfg"], hub["runtime_info"]["last_ckpt"]
        assert "train/loss" in hub["log_scalars"] and "train/time" not in hub["log_scalars"]
        torch.save(checkpoint, runs / case / name / "again.pt")
        stored.append((runs / case / name / "again.pt").read_bytes())
    assert stored[0] == stored[1]


def _flat(value, name=""):
    items = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if items is None:
        yield name, value
    else:
        for key, entry in items:
            yield from _flat(entry, f"{name}.{key}")


def test_the_log_says_what_was_resumed(runs):
    log = (runs / "iterations.log").read_text()
    assert "Resuming from" in log and "other noise" not in log


def test_random_state_goes_through_a_safe_checkpoint(tmp_path):
    seed_all(5)
    random.gauss(0, 1)  # leaves a half-used pair behind
    np.random.randn()
    torch.save(dict(meta=random_state()), tmp_path / "a.pth")

    def draw():
        return (
            random.gauss(0, 1),
            random.random(),
            np.random.randn(),
            np.random.rand(),
            torch.randn(3).tolist(),
        )

    first = draw()
    draw()
    set_random_state(load_checkpoint(tmp_path / "a.pth")["meta"])
    assert draw() == first
