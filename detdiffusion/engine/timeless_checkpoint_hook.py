"""A hook that leaves times out of checkpoints, so that equal trainings write equal files."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class TimelessCheckpointHook(Hook):
    """Removes from checkpoints what differs between two equal trainings on one machine: date, the name of the
    experiment, which has the date, and measured seconds. Digests of a checkpoint, which attributes and synthetic sets
    record, then repeat, also after an interruption. :func:`.launch.build_runner` adds the hook to every training.
    """

    priority = "LOWEST"

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        for name in ("time", "experiment_name"):
            checkpoint["meta"].pop(name, None)
        hub = checkpoint["message_hub"]
        scalars = {name: values for name, values in hub["log_scalars"].items() if not name.endswith("time")}
        information = {
            name: value for name, value in hub["runtime_info"].items() if name != "experiment_name"
        }
        # sorted, since a resumed training meets the names in another order
        checkpoint["message_hub"] = dict(
            log_scalars=OrderedDict(sorted(scalars.items())),
            runtime_info=OrderedDict(sorted(information.items())),
            resumed_keys=OrderedDict(sorted(hub["resumed_keys"].items())),
        )
        for name in ("meta", "message_hub", "optimizer", "param_schedulers"):
            if name in checkpoint:
                checkpoint[name] = _with_shared_texts(checkpoint[name])


def _with_shared_texts(value: Any) -> Any:
    """Return containers in which equal texts are one object: a pickle refers to an object that it has already stored,
    and a resumed training has copies where another has one."""
    if isinstance(value, str):
        return sys.intern(value)
    if type(value) in (dict, OrderedDict):
        return type(value)((_with_shared_texts(key), _with_shared_texts(item)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value)(map(_with_shared_texts, value))
    return value
