"""Extensions of mmengine: safe checkpoints, a runner that resumes exactly, CPU ranks, caches and reports.

Importing the package registers them.
"""

from .checkpoint import latest_checkpoint, use_safe_loader
from .epoch_length_hook import EpochLengthHook
from .finite_hook import FiniteHook
from .latent_cache_hook import LatentCacheHook
from .launch import build_runner, prepare_ranks
from .loops import ResumableEpochLoop
from .mixing_hook import MixingRatioHook
from .prompt_report import PromptReportHook
from .runner import SafeRunner
from .sample_grid_hook import SampleGridHook
from .sharded import ShardedOptimWrapper, ShardedRunner
from .start_report import StartReportHook
from .synthetic_weight_hook import SyntheticWeightHook
from .timeless_checkpoint_hook import TimelessCheckpointHook

__all__ = [
    "EpochLengthHook",
    "FiniteHook",
    "LatentCacheHook",
    "MixingRatioHook",
    "PromptReportHook",
    "ResumableEpochLoop",
    "SafeRunner",
    "SampleGridHook",
    "ShardedOptimWrapper",
    "ShardedRunner",
    "StartReportHook",
    "SyntheticWeightHook",
    "TimelessCheckpointHook",
    "build_runner",
    "latest_checkpoint",
    "prepare_ranks",
    "use_safe_loader",
]
