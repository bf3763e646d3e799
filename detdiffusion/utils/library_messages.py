"""What libraries print although nobody who runs a tool can do anything about it: left out, here and nowhere else.

An entry names the exact beginning of a message, where it comes from, why nothing can be done and when the entry can
go. What comes of our own calls is not listed but mended where the call is made. What a runner tells about itself by
the screen goes into its log file alone.
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
    """One message that is left out.

    Attributes:
        source: the logger's name; ``"mmengine"`` for its ``print_log``; the category of a Python warning.
        start: how the text begins, exactly.
        why: why nothing can be done, and when the entry can go.
    """

    source: str | type[Warning]
    start: str
    why: str


MESSAGES = (
    Message(
        "mmengine",
        '"FileClient" will be deprecated in future.',
        "mmengine's own CheckpointHook makes one; goes when it uses file backends alone",
    ),
    Message(
        "mmengine",
        '"HardDiskBackend" is the alias of "LocalBackend"',
        "as above: made within mmengine's FileClient",
    ),
    Message(
        "mmengine",
        "Could not import OneDL.",
        "mmdet tells at debug level, and on the terminal, that a data set of its vendor is not installed; goes when "
        "mmengine's print_log minds the level where it has no logger",
    ),
    Message(
        UserWarning,
        "DeprecationWarning: `num_anchors` is deprecated",
        "mmdet's ATSS head asks its own base class; goes when mmdet asks for num_base_priors",
    ),
    Message(
        UserWarning,
        "Detected call of `scheduler.step()` before `optimizer.step()`.",
        "mmengine's schedules count batches, so under gradient accumulation they come first; goes when mmengine's "
        "copy of torch's check minds accumulation",
    ),
    Message(
        "diffusers.configuration_utils",
        "The config attributes {'block_out_channels': ",
        "AutoencoderTiny saves this entry beside those that it takes; goes when diffusers loads what it saves",
    ),
    Message(
        "diffusers.pipelines.pipeline_utils",
        "The StableDiffusionGLIGENPipeline has been deprecated",
        "a baseline is compared as it is; goes with the baseline",
    ),
)

FILE_ONLY = (
    "\n" + "-" * 60 + "\nSystem environment:",
    "Config:\n",
    "Hooks will be executed in the following order:",
    "Distributed training is not used, all SyncBatchNorm",
)
"""How mmengine's messages begin that go into a run's log file, not to the terminal (unless at level DEBUG)."""


def silence() -> None:
    """Leaves out :data:`MESSAGES` in this process, :data:`FILE_ONLY` on the terminal, and transformers' progress bar
    for a loading that takes no time. Idempotent.
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
    """Whether a message is none of :data:`MESSAGES`."""
    return not any(m.source == source and text.startswith(m.start) for m in MESSAGES)


def _wanted_record(record: logging.LogRecord) -> bool:
    return wanted(record.name, record.getMessage())


def _quiet_mmengine(module: ModuleType) -> None:
    """In mmengine.logging, from where mmengine, mmcv and mmdet import both."""
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
    """In transformers.utils.logging; those of the hub's downloads, which it takes along, stay."""
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

    downloads = not are_progress_bars_disabled()
    module.disable_progress_bar()
    if downloads:
        enable_progress_bars()
