"""Safe checkpoint loading: a file can bring tensors and plain data, never code.

mmengine's own loader falls back to full unpickling where the safe load fails, and its allow-list holds
``getattr``; both let a prepared file run code. Here nothing falls back.
"""

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError, some

if TYPE_CHECKING:
    import torch


def _history_method(owner: type, name: str) -> Any:
    """Stand-in for ``getattr`` in a checkpoint: mmengine's log buffers refer to their own four statistics."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise pickle.UnpicklingError(f"getattr({owner!r}, {name!r}) is not allowed")
    return getattr(owner, name)


def _safe_globals() -> list:
    """What a checkpoint of mmengine holds beside tensors: log buffers and numpy arrays of numbers."""
    import numpy as np
    from mmengine.logging import HistoryBuffer

    core = np._core if hasattr(np, "_core") else np.core
    dtypes = {type(np.dtype(name)) for name in ("bool", "f2", "f4", "f8", "U1", "S1")}
    dtypes |= {type(np.dtype(f"{sign}{size}")) for sign in "iu" for size in (1, 2, 4, 8)}
    safe = [HistoryBuffer, (_history_method, "builtins.getattr"), slice, np.ndarray, np.dtype, *dtypes]
    for name in ("_reconstruct", "scalar"):
        function = getattr(core.multiarray, name)
        # Files of numpy 1 and numpy 2 name the same function differently.
        safe += [(function, f"{module}.multiarray.{name}") for module in ("numpy.core", "numpy._core")]
    return safe


def find_checkpoint(path: str | os.PathLike) -> Path:
    """The path, ``~`` expanded, of a file that is there.

    Raises:
        UserError: no such file, with the checkpoints beside it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist{_siblings(path)}.")
    if path.suffix in (".py", ".json", ".yaml", ".yml"):
        raise UserError(
            f"checkpoint {path} is a config, no file of weights: the config comes first and the checkpoint after it; "
            "were the two swapped?"
        )
    return path


def load_checkpoint(path: str | os.PathLike, map_location: Any = "cpu") -> dict:
    """Read a checkpoint with ``weights_only=True`` and an allow-list for what mmengine stores.

    Args:
        path: a local file written by ``torch.save``.
        map_location: as for :func:`torch.load`.

    Returns:
        The stored dict (``state_dict``, ``meta``, ``message_hub``, ``optimizer`` ...; or a plain state dict).

    Raises:
        UserError: no such file, a damaged file, a file with other objects than tensors and plain data, one that
            holds no dict, or weights that are not finite.
    """
    import torch

    path = find_checkpoint(path)
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        if isinstance(error, pickle.UnpicklingError) and re.search("global|not allowed", str(error), re.I):
            raise UserError(
                f"checkpoint {path} holds objects that may run code and is not loaded: {_first_line(error)} "
                "Save its state_dict alone, on a machine that trusts the file, and load that."
            ) from error
        raise UserError(f"checkpoint {path} is damaged or no checkpoint: {_first_line(error)}") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"checkpoint {path} holds a {type(checkpoint).__name__}, not a dict of tensors.")
    parts = [checkpoint[key] for key in ("state_dict", "ema_state_dict") if key in checkpoint] or [checkpoint]
    for part in parts:
        if isinstance(part, Mapping):
            check_finite(part, f"checkpoint {path}")
    return checkpoint


def check_finite(
    state: Mapping[str, Any],
    where: str,
    hint: str = "A training that diverged or a damaged file gives such weights: take an earlier checkpoint.",
) -> None:
    """Refuses weights that are NaN or infinite: what they compute is black images, or no detections at all.

    Args:
        state: tensors by name; other values are passed over.
        where: what the error begins with, e.g. ``'checkpoint a.pth'``.
        hint: what to do, the error's end.

    Raises:
        UserError: such tensors, with their number, the first names and how many of their values are concerned.
    """
    spoilt = [f"{name} ({fault})" for name, value in state.items() if (fault := _not_finite(value))]
    if spoilt:
        raise UserError(
            f"{where}: {len(spoilt)} of {len(state)} tensors are not finite: {some(spoilt)}. {hint}"
        )


def _not_finite(value: Any) -> str | None:
    """How many values of a tensor are NaN or infinite, as a text; None where all are finite."""
    import torch

    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.is_meta:
        return None
    value = value.detach().float() if value.element_size() < 4 else value.detach()
    # A sum takes a hundredth of the time of looking at each value; it may overflow, so it does not condemn.
    if value.sum().isfinite():
        return None
    nan, infinite = int(value.isnan().sum()), int(value.isinf().sum())
    found = [f"{count} {what}" for count, what in ((nan, "NaN"), (infinite, "infinite")) if count]
    return f"{' and '.join(found)} of {value.numel()} values" if found else None


def load_strictly(
    model: "torch.nn.Module",
    state: Mapping[str, Any],
    where: str,
    ignore: Sequence[str] = (),
    hint: str = "Use the config it was trained with.",
) -> None:
    """Loads weights that must be the model's own, tensor for tensor; the same error on every rank.

    Args:
        model: changed in place (where there is an error, partly).
        state: a state dict, or a checkpoint with one under ``state_dict``; 'module.' in front of names is
            taken off.
        where: what the error begins with, e.g. ``'checkpoint a.pth'``.
        ignore: name prefixes of tensors that may be missing and are not loaded.
        hint: what to do, the error's end.

    Raises:
        UserError: tensors missing, unknown or of another shape, with their number and the first names.
    """
    state = state.get("state_dict", state)
    if not isinstance(state, Mapping):
        raise UserError(f"{where}: its 'state_dict' is a {type(state).__name__}, not a dict of tensors.")
    ignore, own = tuple(ignore), model.state_dict()
    names = {name: name if name in own else str(name).removeprefix("module.") for name in state}
    chosen = OrderedDict((names[k], v) for k, v in state.items() if not names[k].startswith(ignore))
    shape_of = {name: getattr(value, "shape", None) for name, value in chosen.items()}
    wrong = [name for name in own if name in chosen and own[name].shape != shape_of[name]]
    fitting = OrderedDict((name, value) for name, value in chosen.items() if name not in wrong)
    if hasattr(state, "_metadata"):
        fitting._metadata = state._metadata  # versions of modules, for those that convert old files
    try:
        result = model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        raise UserError(f"{where} does not fit the model: {' '.join(str(error).split())} {hint}") from error
    counted = (*ignore, *wrong)
    missing = [
        name
        for name in result.missing_keys
        if not name.startswith(counted) and not name.endswith("num_batches_tracked")
    ]
    shapes = [f"{name} {_shape(shape_of[name])} for {tuple(own[name].shape)}" for name in wrong]
    kinds = ((missing, "tensors missing"), (result.unexpected_keys, "unknown"), (shapes, "of another shape"))
    faults = [f"{len(found)} {what} ({some(found)})" for found, what in kinds if found]
    if faults:
        raise UserError(f"{where} does not fit the model: {'; '.join(faults)}. {hint}")


def _shape(shape: Any) -> Any:
    return "no tensor" if shape is None else tuple(shape)


def _first_line(error: Exception) -> str:
    """The sentence of torch's message that says what is wrong, without its advice to load unsafely."""
    for line in str(error).splitlines():
        line = line.strip().removeprefix("WeightsUnpickler error:").strip()
        if line and "weights_only" not in line and "Weights only load failed" not in line:
            return line.split(" Please use")[0].rstrip(".") + "."
    return type(error).__name__ + "."


def _siblings(path: Path) -> str:
    """Names of the checkpoints that do lie in the folder, for a message."""
    names = sorted((p.name for p in path.parent.glob("*.pth")), reverse=True) if path.parent.is_dir() else []
    return f"; {path.parent} holds {', '.join(names[:5])}" if names else ""
