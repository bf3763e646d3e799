"""Two gloo ranks train the demo's generator: equal weights, and the gradients of one rank with both batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_folder import write_diffusers_folder

from detdiffusion.utils.config import load_config

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
STEPS, RANKS, PER_RANK = 3, 2, 2

CONFIG = f"""
_base_ = [{str(ROOT / "configs/detdiffusion_miniscenes.py")!r}]
custom_imports = dict(
    imports=["detdiffusion.models", "detdiffusion.datasets", "detdiffusion.engine", "rank_dump"])
model = dict(layout_tokenizer=dict(shuffle=False), null_text_prob=0.5)
train_dataloader = dict(batch_size={PER_RANK}, dataset=dict(filter_cfg=dict(min_objects=1)))
max_iters = {STEPS}
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(clip_grad=None)
param_scheduler = []
custom_hooks = [dict(type="EMAHook"), dict(type="DumpRanks")]
randomness = dict(diff_rank_seed=True)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The dumps of a training on two ranks, [step][rank], and the config."""
    from detdiffusion.datasets.miniscenes import write_miniscenes

    root = tmp_path_factory.mktemp("ranks")
    write_miniscenes(root / "data", "train", 10, size=64)
    attributes = {}
    for kind, word in (("instances", "hard"), ("stuff", "background")):
        data = json.loads((root / f"data/train/{kind}.json").read_text())
        attributes.update({a["id"]: word for a in data["annotations"]})
    file = dict(info=dict(nameable=[]), attributes=attributes)
    (root / "attributes.json").write_text(json.dumps(file))
    (root / "config.py").write_text(CONFIG)
    options = [f"layout_folder={write_diffusers_folder(root / 'tiny')}", f"data_root={root / 'data'}"]
    options += [f"attributes_file={root / 'attributes.json'}"]
    command = ["bash", str(ROOT / "tools/dist_train.sh"), str(root / "config.py"), str(RANKS)]
    env = dict(PYTHONPATH=f"{TESTS}:{ROOT}", PYTHON=sys.executable, PORT=str(22000 + os.getpid() % 20000))
    result = subprocess.run(
        [*command, "--work-dir", str(root / "work"), "--cfg-options", *options],
        env=dict(os.environ, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", **env),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    files = [[root / f"work/rank{r}_step{i}.pt" for r in range(RANKS)] for i in range(STEPS)]
    dumps = [[torch.load(file, weights_only=False) for file in step] for step in files]
    assert (root / f"work/iter_{STEPS}.pth").exists()
    return dumps, load_config(str(root / "config.py"), options)


def build(config):
    from mmengine.registry import init_default_scope

    import detdiffusion.models  # noqa: F401
    from detdiffusion.registry import MODELS

    init_default_scope("detdiffusion")
    return MODELS.build(config.model).train()


def test_ranks_agree_and_learn(run):
    dumps, _ = run
    for step in dumps:
        first, second = step
        for kind in ("weights", "gradients"):
            assert first[kind].keys() == second[kind].keys()
            assert all(torch.equal(first[kind][name], second[kind][name]) for name in first[kind])
    start, end = dumps[0][0]["weights"], dumps[-1][0]["weights"]
    moved = [name for name in dumps[0][0]["gradients"] if not torch.equal(start[name], end[name])]
    assert len(moved) > 0.9 * len(dumps[0][0]["gradients"])
    assert not any(name.startswith("vae.") for name in moved)


def test_ranks_see_other_images_and_other_noise(run):
    dumps, _ = run
    for first, second in dumps:
        ids = [{sample.image_id for sample in dump["batch"]["data_samples"]} for dump in (first, second)]
        assert not ids[0] & ids[1]
        assert not torch.equal(first["random_state"], second["random_state"])


class RankDraws:
    """torch's random functions as the ranks drew them, side by side along the batch."""

    def __init__(self, states, monkeypatch):
        self.generators = [torch.Generator() for _ in states]
        for generator, state in zip(self.generators, states):
            generator.set_state(state)
        for name in ("randn", "rand", "randint"):
            monkeypatch.setattr(torch, name, self._side_by_side(getattr(torch, name)))
        monkeypatch.setattr(torch, "randn_like", lambda tensor: torch.randn(tensor.shape))

    def _side_by_side(self, function):
        def draw(*args, device=None):
            *bounds, shape = args
            shape = (shape,) if isinstance(shape, int) else tuple(shape)
            if shape[0] == 1:  # one number for the whole batch
                return [function(*bounds, shape, generator=g) for g in self.generators][0]
            share = (shape[0] // len(self.generators), *shape[1:])
            return torch.cat([function(*bounds, share, generator=g) for g in self.generators])

        return draw


@pytest.mark.parametrize("step", [0, STEPS - 1])
def test_two_ranks_have_the_gradients_of_one_with_both_batches(run, step, monkeypatch):
    """One process, one forward over both ranks' images with the noise and time steps that the ranks drew."""
    dumps, config = run
    editor = build(config)
    editor.load_state_dict(dumps[step][0]["weights"])
    batch = dict(inputs=[], data_samples=[])
    for dump in dumps[step]:
        for key in batch:
            batch[key] += dump["batch"][key]
    assert len(batch["inputs"]) == RANKS * PER_RANK
    with monkeypatch.context() as patched:
        RankDraws([dump["random_state"] for dump in dumps[step]], patched)
        losses = editor(**editor.data_preprocessor(batch, True), mode="loss")
    sum(losses.values()).backward()
    expected = {name: p.grad for name, p in editor.named_parameters() if p.grad is not None}
    averaged = dumps[step][0]["gradients"]
    assert expected.keys() == averaged.keys()
    scale = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(averaged[name], gradient, atol=1e-5 * float(scale), rtol=1e-3, msg=name)


@pytest.mark.parametrize("null", [0.0, 1.0])
def test_every_trained_parameter_is_in_the_loss(run, null):
    """What DDP asks for, also of a batch whose samples bring no mask at all."""
    dumps, config = run
    config = config.copy()
    config.model.update(null_text_prob=null, perception_on_null_text=False)
    editor = build(config)
    losses = editor(**editor.data_preprocessor(dumps[0][0]["batch"], True), mode="loss")
    assert (losses["loss_pa"] == 0) == (null == 1.0)
    sum(losses.values()).backward()
    without = [name for name, p in editor.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
