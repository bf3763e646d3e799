"""Child registries of mmengine's, scope ``detdiffusion``.

Configs name our parts as ``type='DetDiffusion'`` under ``default_scope='detdiffusion'`` or as
``type='detdiffusion.DetDiffusion'`` from any other scope; parts of mmdet are named ``mmdet.X``.

The last few are ours alone: what is named in them is found whichever default scope a detector left behind.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine import registry as _root
from mmengine.registry import Registry

_SCOPE = "detdiffusion"


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope=_SCOPE, locations=[f"{_SCOPE}.{loc}" for loc in locations])


class OwnRegistry(Registry):
    """A registry without a parent that builds in our scope, whatever the default scope is."""

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """As mmengine's; the scope does not matter."""
        yield self


def _own(name: str, *locations: str) -> OwnRegistry:
    return OwnRegistry(name, scope=_SCOPE, locations=[f"{_SCOPE}.{loc}" for loc in locations])


MODELS = _child("model", _root.MODELS, "models")
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

BACKBONES = _own("backbone", "models")
OVERFLOW_POLICIES = _own("overflow policy", "models")
OUTPUT_LAYOUTS = _own("output layout", "perception.onnx_outputs")
STRATEGIES = _own("strategy", "generation")
EXTRACTORS = _own("feature extractor", "evaluation.extractors")
