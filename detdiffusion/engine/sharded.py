"""Extensions of mmengine's FSDP support: an auto-wrap policy by class names, gradient clipping by the norm over all
ranks, and data checks before the model is loaded."""

from __future__ import annotations

from collections.abc import Collection

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, FlexibleRunner

from ..registry import OPTIM_WRAPPERS, RUNNERS
from .data_checks import ChecksData


def wrap_by_name(
    module: torch.nn.Module, recurse: bool, nonwrapped_numel: int, names: Collection[str]
) -> bool:
    """FSDP ``auto_wrap_policy`` that wraps every module whose class has one of the given names.

    Example:
        >>> auto_wrap_policy = dict(type='detdiffusion.engine.sharded.wrap_by_name', names=['CLIPEncoderLayer'])
    """
    return recurse or type(module).__name__ in names


@OPTIM_WRAPPERS.register_module()
class ShardedOptimWrapper(OptimWrapper):
    """``OptimWrapper`` for FSDP that clips by the gradient norm over all ranks.

    With FSDP each rank has a part of every gradient; mmengine's wrapper would clip each rank by the norm of its part,
    i.e. by a different factor.
    """

    def _clip_grad(self) -> None:
        params = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if (
            self.clip_grad_kwargs.get("norm_type", 2) != 2
            or self.clip_func is not torch.nn.utils.clip_grad_norm_
        ):
            raise NotImplementedError(
                "ShardedOptimWrapper clips by the 2-norm only: clip_grad=dict(max_norm=...)"
            )
        device = self.optimizer.param_groups[0]["params"][0].device
        square = torch.zeros((), device=device)
        for norm in torch._foreach_norm([p.grad for p in params]):
            square += norm.float() ** 2
        all_reduce(square)
        norm = square.sqrt()
        factor = (self.clip_grad_kwargs["max_norm"] / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([p.grad for p in params], factor)
        self.message_hub.update_scalar(f"train/{self.grad_name}", float(norm))


@RUNNERS.register_module()
class ShardedRunner(ChecksData, FlexibleRunner):
    """``FlexibleRunner`` with data checks before it builds its loops and, after them, its model."""

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Check the data, then build the loop as mmengine does."""
        self.check_data()
        return super().build_train_loop(loop)
