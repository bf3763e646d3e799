"""A least-squares model and its data, small enough to train in milliseconds."""

import os

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch.utils.data import Dataset

from detdiffusion.registry import DATASETS, HOOKS, METRICS, MODELS
from detdiffusion.utils.errors import UserError


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self, width=3, fail=False, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.linear = torch.nn.Linear(width, 1)
        if fail:
            raise UserError("the toy model was told to fail")
        torch.nn.init.constant_(self.linear.weight, 0.5)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, inputs, targets, mode="tensor"):
        outputs = self.linear(torch.stack(list(inputs)))[:, 0]
        return dict(loss=((outputs - torch.stack(list(targets))) ** 2).mean()) if mode == "loss" else outputs


@DATASETS.register_module()
class ToyData(Dataset):
    metainfo = dict(classes=("a", "b"), palette=[(1, 2, 3)])

    def __init__(self, fail=False):
        generator = torch.Generator().manual_seed(0)
        self.inputs, self.fail = torch.randn(16, 3, generator=generator), fail

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):
        if self.fail:
            raise UserError(f"toy item {i} is broken")
        return dict(inputs=self.inputs[i], targets=self.inputs[i].sum())


@HOOKS.register_module()
class SaveRankWeights(Hook):
    """Writes each rank's weights after each step, to compare ranks."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = getattr(runner.model, "module", runner.model)
        path = os.path.join(runner.work_dir, f"rank{runner.rank}_iter{runner.iter}.pt")
        torch.save(model.linear.weight.data, path)


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """Counts the predictions."""

    default_prefix = "toy"

    def process(self, data_batch, data_samples):
        self.results.extend(float(sample) for sample in data_samples)

    def compute_metrics(self, results):
        return dict(count=len(results))
