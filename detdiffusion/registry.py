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
BACKBONES = Registry("backbone", scope=_SCOPE, locations=["detdiffusion.models"])  # families of base models
DATASETS = _child("dataset", _root.DATASETS, "datasets")
TRANSFORMS = _child("transform", _root.TRANSFORMS, "datasets.transforms")
DATA_SAMPLERS = _child("data sampler", _root.DATA_SAMPLERS, "datasets")
METRICS = _child("metric", _root.METRICS, "evaluation")
EVALUATOR = _child("evaluator", _root.EVALUATOR, "evaluation")
HOOKS = _child("hook", _root.HOOKS, "engine")
RUNNERS = _child("runner", _root.RUNNERS, "engine")
LOOPS = _child("loop", _root.LOOPS, "engine")
OPTIMIZERS = _child("optimizer", _root.OPTIMIZERS, "engine")
OPTIM_WRAPPERS = _child("optim_wrapper", _root.OPTIM_WRAPPERS, "engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optimizer wrapper constructor", _root.OPTIM_WRAPPER_CONSTRUCTORS, "engine"
)
PARAM_SCHEDULERS = _child("parameter scheduler", _root.PARAM_SCHEDULERS, "engine")
LOG_PROCESSORS = _child("log_processor", _root.LOG_PROCESSORS, "engine")
MODEL_WRAPPERS = _child("model_wrapper", _root.MODEL_WRAPPERS, "engine")
TASK_UTILS = _child("task util", _root.TASK_UTILS, "generation")
VISUALIZERS = _child("visualizer", _root.VISUALIZERS, "visualization")
VISBACKENDS = _child("vis_backend", _root.VISBACKENDS, "visualization")
FUNCTIONS = _child("function", _root.FUNCTIONS, "datasets")
