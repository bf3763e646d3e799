"""Suppression of library messages that users of the tools can do nothing about.

An entry gives the exact beginning of a message, its source, why nothing can be done and when the entry can be removed.
Messages caused by our own calls are not listed here; the calls are fixed instead. A runner's long reports about itself
go only to its log file.
"""

import functools
import logging
import re
import sys
import warnings
from dataclasses import dataclass
from types import ModuleType

from .compat import after_import


@dataclass(frozen=True)
class Message:
    """A message to suppress.

    Attributes:
        source: the logger's name; ``"mmengine"`` for its ``print_log``; the category of a Python warning.
        start: the exact beginning of the text.
        why: why nothing can be done, and when the entry can be removed.
    """

    source: str | type[Warning]
    start: str
    why: str


MESSAGES = (
    Message(
        "mmengine",
        '"FileClient" will be deprecated in future.',
        "mmengine's own CheckpointHook creates one; remove when it uses file backends only",
    ),
    Message(
        "mmengine",
        '"HardDiskBackend" is the alias of "LocalBackend"',
        "as above: created inside mmengine's FileClient",
    ),
    Message(
        "mmengine",
        "Could not import OneDL.",
        "mmdet logs at debug level, and on the terminal, that a data set of its vendor is not installed; remove when "
        "mmengine's print_log respects the level if it has no logger",
    ),
    Message(
        UserWarning,
        "DeprecationWarning: `num_anchors` is deprecated",
        "mmdet's ATSS head reads it from its own base class; remove when mmdet uses num_base_priors",
    ),
    Message(
        UserWarning,
        "Detected call of `scheduler.step()` before `optimizer.step()`.",
        "mmengine's schedulers step per batch, so they step first under gradient accumulation; remove when mmengine's "
        "copy of torch's check handles accumulation",
    ),
    Message(
        "diffusers.configuration_utils",
        "The config attributes {'block_out_channels': ",
        "AutoencoderTiny saves this entry although it does not accept it; remove when diffusers can load what it saves",
    ),
    Message(
        "diffusers.pipelines.pipeline_utils",
        "The StableDiffusionGLIGENPipeline has been deprecated",
        "a baseline is compared unchanged; remove together with the baseline",
    ),
)

FILE_ONLY = (
    "\n" + "-" * 60 + "\nSystem environment:",
    "Config:\n",
    "Hooks will be executed in the following order:",
    "Distributed training is not used, all SyncBatchNorm",
)
"""Beginnings of mmengine's messages that go only to a run's log file, not to the terminal (unless at level DEBUG)."""


def silence() -> None:
    """Suppresses :data:`MESSAGES` in this process, :data:`FILE_ONLY` on the terminal, and transformers' progress bars
    for loading weights. Idempotent.
    """
    for message in MESSAGES:
        if isinstance(message.source, type):
            warnings.filterwarnings("ignore", re.escape(message.start), message.source)
        elif message.source != "mmengine":
            logging.getLogger(message.source).addFilter(_wanted_record)
    _once("mmengine.logging", _quiet_mmengine)
    _once("transformers.utils.logging", _no_progress_bars)


def _once(name: str, then) -> None:
    module = sys.modules.get(name)
    if module is None:
        after_import(name, then)
    else:
        then(module)


def wanted(source: str, text: str) -> bool:
    """Return whether a message is to be shown, i.e. is not one of :data:`MESSAGES`."""
    return not any(m.source == source and text.startswith(m.start) for m in MESSAGES)


def _wanted_record(record: logging.LogRecord) -> bool:
    return wanted(record.name, record.getMessage())


def _quiet_mmengine(module: ModuleType) -> None:
    """Patch ``print_log`` and ``MMLogger`` in mmengine.logging, where mmengine, mmcv and mmdet import them from."""
    original, logger_class = module.print_log, module.MMLogger
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def print_log(msg, *args, **kwargs):
        if wanted("mmengine", str(msg)):
            original(msg, *args, **kwargs)

    def call_handlers(self, record: logging.LogRecord) -> None:
        detail = record.getMessage().startswith(FILE_ONLY)
        for handler in self.handlers:
            if detail and not isinstance(handler, logging.FileHandler) and handler.level > logging.DEBUG:
                continue
            if record.levelno >= handler.level:
                handler.handle(record)

    module.print_log, logger_class.callHandlers = print_log, call_handlers


def _no_progress_bars(module: ModuleType) -> None:
    """Disable progress bars in transformers.utils.logging, which would also disable those of hub downloads."""
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

    downloads = not are_progress_bars_disabled()
    module.disable_progress_bar()
    if downloads:
        enable_progress_bars()
