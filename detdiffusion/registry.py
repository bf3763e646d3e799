"""Child registries of mmengine's, scope ``detdiffusion``.

Configs name our parts as ``type='DetDiffusion'`` under ``default_scope='detdiffusion'`` or as
``type='detdiffusion.DetDiffusion'`` from any other scope; parts of mmdet are named ``mmdet.X``.
"""

from mmengine import registry as _root
from mmengine.registry import Registry

_SCOPE = "detdiffusion"


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope=_SCOPE, locations=[f"{_SCOPE}.{loc}" for loc in locations])


MODELS = _child("model", _root.MODELS, "models")
DATASETS = _child("dataset", _root.DATASETS, "datasets")
TRANSFORMS = _child("transform", _root.TRANSFORMS, "datasets.transforms")
DATA_SAMPLERS = _child("data sampler", _root.DATA_SAMPLERS, "datasets")
METRICS = _child("metric", _root.METRICS, "evaluation")
HOOKS = _child("hook", _root.HOOKS, "engine")
TASK_UTILS = _child("task util", _root.TASK_UTILS, "generation")
RUNNERS = _child("runner", _root.RUNNERS, "engine")
