"""Child registries of mmengine's, scope ``detdiffusion``.

Configs refer to our components as ``type='DetDiffusion'`` under ``default_scope='detdiffusion'``, or as
``type='detdiffusion.DetDiffusion'`` from any other scope; components of mmdet are named ``mmdet.X``.

The last few registries have no parent, so lookups in them do not depend on the default scope, which building a
detector may have changed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from mmengine import registry as _root
from mmengine.registry import Registry

_SCOPE = "detdiffusion"


class _WithDetectors(Registry):
    """A registry that imports our detectors, and mmdet with them, for the first name that is not found without."""

    _with_detectors = False

    def get(self, key: str) -> type | None:
        """Override of mmengine's method."""
        found = super().get(key)
        if found is None and not self._with_detectors:
            self._with_detectors = True  # before the import, which looks names up itself
            try:
                import_module(f"{_SCOPE}.models.detectors")
            except BaseException:
                self._with_detectors = False  # the next name says again why
                raise
            found = super().get(key)
        return found


def _child(name: str, parent: Registry, *locations: str, kind: type[Registry] = Registry) -> Registry:
    return kind(name, parent=parent, scope=_SCOPE, locations=[f"{_SCOPE}.{loc}" for loc in locations])


class OwnRegistry(Registry):
    """A registry without a parent that always builds in our scope, regardless of the default scope."""

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Override of mmengine's method that ignores ``scope``."""
        yield self


def _own(name: str, *locations: str) -> OwnRegistry:
    return OwnRegistry(name, scope=_SCOPE, locations=[f"{_SCOPE}.{loc}" for loc in locations])


MODELS = _child("model", _root.MODELS, "models", kind=_WithDetectors)
DATASETS = _child("dataset", _root.DATASETS, "datasets.image_patches", "datasets.layout_coco")
TRANSFORMS = _child("transform", _root.TRANSFORMS, "datasets.transforms")
DATA_SAMPLERS = _child("data sampler", _root.DATA_SAMPLERS, "datasets.samplers")
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
TASK_UTILS = _child("task util", _root.TASK_UTILS, "generation", kind=_WithDetectors)
VISUALIZERS = _child("visualizer", _root.VISUALIZERS, "visualization")
VISBACKENDS = _child("vis_backend", _root.VISBACKENDS, "visualization")
FUNCTIONS = _child("function", _root.FUNCTIONS, "datasets")

BACKBONES = _own("backbone", "models")
OVERFLOW_POLICIES = _own("overflow policy", "models")
OUTPUT_LAYOUTS = _own("output layout", "perception.onnx_outputs")
STRATEGIES = _own("strategy", "generation")
EXTRACTORS = _own("feature extractor", "evaluation.extractors")
