"""Trainings that cannot end well: they stop with the reason, most of them before the model is built."""

import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from test_train_tool import CONFIG, train

from detdiffusion.registry import MODELS


@MODELS.register_module(force=True)
class DivergingToy(BaseModel):
    """Two losses and a weight that no loss depends on; one of them breaks at a step."""

    def __init__(self, fault="", step=3, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.linear, self.idle = torch.nn.Linear(3, 1), torch.nn.Parameter(torch.zeros(2))
        self.register_buffer("mask", torch.full((2,), float("-inf")))  # infinite by design
        self.fault, self.step, self.calls = fault, step, 0

    def forward(self, inputs, targets, mode="tensor"):
        self.calls += 1
        outputs = self.linear(torch.stack(list(inputs)))[:, 0]
        loss = ((outputs - torch.stack(list(targets))) ** 2).mean()
        other = 0.1 * outputs.abs().mean()
        if self.calls >= self.step:
            if self.fault.startswith("times_"):
                other = other * float(self.fault.partition("_")[2])
            elif self.fault == "gradient":
                other = other + torch.sqrt(outputs.sum() * 0)  # its gradient is NaN, its value 0
            elif self.fault == "weight":
                self.idle.data[0] = float("nan")
        return dict(loss_box=loss, loss_class=other)


def run(folder, *options, code=2, lines=""):
    path = folder / "config.py"
    path.write_text(
        f"_base_ = [{str(CONFIG)!r}]\nmodel = dict(type='DivergingToy')\ncustom_hooks = []\n{lines}"
    )
    return train(path, "--work-dir", folder / "work", "--cfg-options", *options, cwd=folder, code=code)


@pytest.mark.parametrize(
    "fault, options, message",
    [
        ("times_nan", [], r"step 3: the loss is not finite: .*loss_class = nan.*2 gradients.*linear.weight"),
        ("times_inf", [], r"step 3: the loss is not finite: .*loss_class = inf"),
        ("gradient", [], r"step 3: 2 gradients are not finite, of linear.weight"),
        ("gradient", ["optim_wrapper.clip_grad.max_norm=1.0"], r"step 3: 2 gradients are not finite"),
        ("times_nan", ["optim_wrapper.accumulative_counts=4"], r"step 3: the loss is not finite"),
        ("weight", [], r"step 4: 1 weights are not finite and are not saved: idle"),
    ],
)
def test_a_training_stops_where_its_numbers_end(tmp_path, fault, options, message):
    error = run(tmp_path, f"model.fault={fault}", *options)
    assert re.search(message, error, re.S) and "Traceback" not in error
    assert re.search(r"last good checkpoint is .*iter_2.pth", error)
    saved = sorted(path.name for path in (tmp_path / "work").glob("*.pth"))
    assert saved == ["iter_2.pth"]
    state = torch.load(tmp_path / "work/iter_2.pth", weights_only=False)["state_dict"]
    assert all(value.isfinite().all() for name, value in state.items() if name != "mask")


def test_buffers_that_are_infinite_by_design_are_saved(tmp_path):
    run(tmp_path, "model.step=9", code=0)
    assert (tmp_path / "work/iter_4.pth").exists()


def test_a_step_with_a_broken_gradient_is_not_taken():
    from mmengine.optim import build_optim_wrapper

    from detdiffusion.engine import FiniteHook
    from detdiffusion.utils.errors import UserError

    model = DivergingToy("gradient", step=1)
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type="AdamW", lr=0.1)))
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, iter=0, work_dir="nowhere")
    hook = FiniteHook()
    hook.before_train(runner)
    before = model.linear.weight.clone()
    data = dict(inputs=list(torch.randn(4, 3)), targets=list(torch.randn(4)))
    logs = model.train_step(data, wrapper)
    assert torch.equal(model.linear.weight, before)
    with pytest.raises(UserError, match="this step was skipped"):
        hook.after_train_iter(runner, 0, data, logs)


def test_large_gradients_are_finite():
    """Their squares are not."""
    from mmengine.optim import build_optim_wrapper

    from detdiffusion.engine import FiniteHook

    model = DivergingToy(step=9)
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type="SGD", lr=1e-30)))
    hook = FiniteHook()
    hook.before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
    model.linear.weight.grad = torch.tensor([[1e30, -3e38, 0.0]])
    wrapper.step()
    assert model.linear.weight.grad is not None and model.linear.weight.detach()[0, 1] > 1e8


@pytest.mark.parametrize(
    "options, message",
    [
        (["train_dataloader.batch_size=0"], "train_dataloader.batch_size is 0"),
        (["train_dataloader.batch_size=2.5"], "batch_size is 2.5"),
        (["train_dataloader.num_workers=-1"], "num_workers is -1"),
        (["train_cfg.max_iters=0"], "max_iters is 0"),
        (["train_cfg.val_interval=0"], "val_interval is 0"),
        (["optim_wrapper.optimizer.lr=nan"], "optimizer.lr is nan"),
        (["optim_wrapper.accumulative_counts=0"], "accumulative_counts is 0"),
        (["train_dataloader.sampler.type=DefaultSampler", "train_dataloader.batch_size=17",
          "train_dataloader.drop_last=True"], "0 steps: 16 images are fewer than one batch of 17"),
        (["custom_hooks=[]"], "InfiniteSampler is infinite"),
    ],
)  # fmt: skip
def test_settings_are_refused_before_the_model_is_built(tmp_path, options, message):
    epochs = (
        "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2)\n"
        if "is infinite" in message
        else ""
    )
    error = run(tmp_path, *options, lines="model = dict(type='ToyModel', fail=True)\n" + epochs)
    assert re.search(message, error) and "Traceback" not in error and "told to fail" not in error
