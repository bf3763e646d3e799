"""A hook for runs on several ranks: what every rank saw and did, on disk."""

import os

import torch
from mmengine.hooks import Hook

from detdiffusion.registry import HOOKS


@HOOKS.register_module()
class DumpRanks(Hook):
    """Writes ``rank<r>_step<i>.pt``: the weights before the step, the batch, torch's random state, the gradients.

    The gradients are those that the optimizer is handed, after the ranks have averaged them.
    """

    def before_train(self, runner):
        self.step, self.model = {}, getattr(runner.model, "module", runner.model)
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._keep_gradients)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.step = dict(weights=weights, batch=data_batch, random_state=torch.get_rng_state())

    def _keep_gradients(self, optimizer, args, kwargs):
        parameters = self.model.named_parameters()
        self.step["gradients"] = {name: p.grad.clone() for name, p in parameters if p.grad is not None}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        torch.save(self.step, os.path.join(runner.work_dir, f"rank{runner.rank}_step{runner.iter}.pt"))
