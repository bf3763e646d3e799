"""Safe checkpoint loading: a file can bring tensors and plain data, never code.

mmengine's own loader falls back to full unpickling where the safe load fails, and its allow-list holds
``getattr``; both let a prepared file run code. Here nothing falls back.
"""

import os
import pickle
import re
from pathlib import Path
from typing import Any

from ..utils.errors import UserError


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


def load_checkpoint(path: str | os.PathLike, map_location: Any = "cpu") -> dict:
    """Read a checkpoint with ``weights_only=True`` and an allow-list for what mmengine stores.

    Args:
        path: a local file written by ``torch.save``.
        map_location: as for :func:`torch.load`.

    Returns:
        The stored dict (``state_dict``, ``meta``, ``message_hub``, ``optimizer`` ...; or a plain state dict).

    Raises:
        UserError: no such file, a damaged file, a file with other objects than tensors and plain data, or
            one that holds no dict.
    """
    import torch

    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist{_siblings(path)}.")
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
    return checkpoint


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


def use_safe_loader() -> None:
    """Send every local load of mmengine's, ``init_cfg`` too, through :func:`load_checkpoint`. Idempotent."""
    from mmengine.runner import CheckpointLoader

    def load_from_local(filename: str, map_location: Any) -> dict:
        return load_checkpoint(filename, map_location=map_location)

    CheckpointLoader.register_scheme("", load_from_local, force=True)
