"""Safe checkpoint loading: a file may contain tensors and plain data, but never code.

mmengine's loader falls back to full unpickling when the safe load fails, and its allow-list contains ``getattr``; both
let a crafted file run code. This loader has no fallback.
"""

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError, some
from .zoo import ZOO

if TYPE_CHECKING:
    import torch


_SAVE_AGAIN = "save the file again without them, or with the class names in label order"


def _history_method(owner: type, name: str) -> Any:
    """Stand-in for ``getattr`` in a checkpoint: mmengine's log buffers refer to their own four statistics."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise pickle.UnpicklingError(f"getattr({owner!r}, {name!r}) is not allowed")
    return getattr(owner, name)


def _safe_globals() -> list:
    """Types that mmengine stores in a checkpoint besides tensors: log buffers and numeric numpy arrays."""
    import numpy as np
    from mmengine.logging import HistoryBuffer

    core = np._core if hasattr(np, "_core") else np.core
    dtypes = {type(np.dtype(name)) for name in ("bool", "f2", "f4", "f8", "U1", "S1")}
    dtypes |= {type(np.dtype(f"{sign}{size}")) for sign in "iu" for size in (1, 2, 4, 8)}
    safe = [HistoryBuffer, (_history_method, "builtins.getattr"), slice, np.ndarray, np.dtype, *dtypes]
    for name in ("_reconstruct", "scalar"):
        function = getattr(core.multiarray, name)
        # numpy 1 and numpy 2 store the same function under different module names.
        safe += [(function, f"{module}.multiarray.{name}") for module in ("numpy.core", "numpy._core")]
    return safe


def find_checkpoint(path: str | os.PathLike) -> Path:
    """Expand ``~`` in the path of a checkpoint and check that the file exists.

    Raises:
        UserError: if there is no such file (the message lists the checkpoints in its folder), or it is a config.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist{_siblings(path)}.")
    if path.suffix in (".py", ".json", ".yaml", ".yml"):
        raise UserError(
            f"checkpoint {path} is a config, not a weights file: the config comes first and the checkpoint second; "
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
        UserError: if the file does not exist, is damaged, contains objects other than tensors and plain data, is not
            a dict, or has weights that are not finite.
    """
    import torch

    path = find_checkpoint(path)
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # a damaged pickle can raise any exception
        if isinstance(error, pickle.UnpicklingError) and re.search("global|not allowed", str(error), re.I):
            raise UserError(
                f"checkpoint {path} contains objects that may run code and was not loaded: {_first_line(error)} "
                "Save only its state_dict, on a machine that trusts the file, and load that."
            ) from error
        raise UserError(
            f"checkpoint {path} is damaged or is not a checkpoint: {_first_line(error)}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"checkpoint {path} contains a {type(checkpoint).__name__}, not a dict of tensors.")
    parts = [checkpoint[key] for key in ("state_dict", "ema_state_dict") if key in checkpoint] or [checkpoint]
    for part in parts:
        if isinstance(part, Mapping):
            check_finite(part, f"checkpoint {path}")
    return checkpoint


def stored_classes(checkpoint: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the class names stored in a checkpoint of mmengine or mmdet; an empty tuple if it has none.

    Args:
        checkpoint: as returned by :func:`load_checkpoint`.
        where: prefix of the error message, e.g. ``'checkpoint a.pth'``.

    Raises:
        UserError: if its ``meta`` has an unexpected form.
    """
    meta = _dict_of(checkpoint, "meta", where)
    for held in (_dict_of(meta, "dataset_meta", where), meta):
        names = held.get("classes") or held.get("CLASSES")
        if not names:
            continue
        names = (names,) if isinstance(names, str) else names
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise UserError(
                f"{where}: the classes in its 'meta' must be strings, got {names!r}; {_SAVE_AGAIN}"
            )
        return tuple(names)
    return ()


def trained_from(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the pretrained weights, e.g. ``zoo://NAME``, that the config in a checkpoint of mmengine names, sorted.

    The config is text, and is searched as such.
    """
    meta = checkpoint.get("meta")
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    return (
        sorted({*re.findall(r"""from_pretrained=\s*['"]([^'"]+)""", text)}) if isinstance(text, str) else []
    )


def _dict_of(holder: Mapping, key: str, where: str) -> Mapping:
    held = holder.get(key)
    if held is not None and not isinstance(held, Mapping):
        raise UserError(f"{where}: its {key!r} is a {type(held).__name__}, not a dict; {_SAVE_AGAIN}")
    return held or {}


def check_finite(
    state: Mapping[str, Any],
    where: str,
    hint: str = "The training diverged or the file is damaged: use an earlier checkpoint.",
) -> None:
    """Raises if any weights are NaN or infinite; such a model produces black images or no detections at all.

    Args:
        state: tensors by name; other values are ignored.
        where: prefix of the error message, e.g. ``'checkpoint a.pth'``.
        hint: what to do; the end of the error message.

    Raises:
        UserError: if there are such tensors; gives their number, the first names and the number of affected values.
    """
    spoilt = [f"{name} ({fault})" for name, value in state.items() if (fault := not_finite(value))]
    if spoilt:
        raise UserError(
            f"{where}: {len(spoilt)} of {len(state)} tensors are not finite: {some(spoilt)}. {hint}"
        )


def not_finite(value: Any) -> str | None:
    """Describe how many values of a tensor are NaN or infinite; None if all are finite."""
    import torch

    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.is_meta:
        return None
    value = value.detach().float() if value.element_size() < 4 else value.detach()
    # A sum is about 100 times faster than testing each value. It may overflow, so a non-finite sum proves nothing.
    if value.sum().isfinite():
        return None
    nan, infinite = int(value.isnan().sum()), int(value.isinf().sum())
    found = [f"{count} {fault}" for count, fault in ((nan, "NaN"), (infinite, "infinite")) if count]
    return f"{' and '.join(found)} of {value.numel()} values" if found else None


def load_strictly(
    model: "torch.nn.Module",
    state: Mapping[str, Any],
    where: str,
    ignore: Sequence[str] = (),
    hint: str = "Use the config it was trained with.",
) -> None:
    """Loads weights that must match the model's tensors exactly; the error is the same on every rank.

    Args:
        model: changed in place (partly, if there is an error).
        state: a state dict, or a checkpoint with one under ``state_dict`` (and maybe ``meta``, whose config is named in
            the error); the prefix 'module.' is removed from names.
        where: prefix of the error message, e.g. ``'checkpoint a.pth'``.
        ignore: name prefixes of tensors that may be missing and are not loaded.
        hint: what to do; the end of the error message.

    Raises:
        UserError: if tensors are missing, unknown or of a different shape; gives their number and the first names, and
            the pretrained weights that the checkpoint's config names.
    """
    if sources := trained_from(state):
        of_zoo = any(source.startswith(ZOO) for source in sources)
        update = (
            " If that was an older version of the package, with other weights: train it again."
            if of_zoo
            else ""
        )
        hint = f"It was trained from {', '.join(sources)}.{update} {hint}"
    state = state.get("state_dict", state)
    if not isinstance(state, Mapping):
        raise UserError(f"{where}: its 'state_dict' is a {type(state).__name__}, not a dict of tensors.")
    ignore, expected = tuple(ignore), model.state_dict()
    names = {name: name if name in expected else str(name).removeprefix("module.") for name in state}
    chosen = OrderedDict((names[k], v) for k, v in state.items() if not names[k].startswith(ignore))
    shape_of = {name: getattr(value, "shape", None) for name, value in chosen.items()}
    wrong = [name for name in expected if name in chosen and expected[name].shape != shape_of[name]]
    fitting = OrderedDict((name, value) for name, value in chosen.items() if name not in wrong)
    if hasattr(state, "_metadata"):
        fitting._metadata = state._metadata  # module versions, used by modules that convert old state dicts
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
    shapes = [f"{name} {_shape(shape_of[name])} for {tuple(expected[name].shape)}" for name in wrong]
    kinds = ((missing, "tensors missing"), (result.unexpected_keys, "unknown"), (shapes, "of another shape"))
    faults = [f"{len(found)} {fault} ({some(found)})" for found, fault in kinds if found]
    if faults:
        raise UserError(f"{where} does not fit the model: {'; '.join(faults)}. {hint}")


def _shape(shape: Any) -> Any:
    return "no tensor" if shape is None else tuple(shape)


def _first_line(error: Exception) -> str:
    """Extract the cause from torch's error message, without its advice to load unsafely."""
    for line in str(error).splitlines():
        line = line.strip().removeprefix("WeightsUnpickler error:").strip()
        if line and "weights_only" not in line and "Weights only load failed" not in line:
            return line.split(" Please use")[0].rstrip(".") + "."
    return type(error).__name__ + "."


def _siblings(path: Path) -> str:
    """List the checkpoints in the path's folder, for an error message."""
    names = sorted((p.name for p in path.parent.glob("*.pth")), reverse=True) if path.parent.is_dir() else []
    return f"; {path.parent} holds {', '.join(names[:5])}" if names else ""
