"""A model in an ``.onnx`` file, opened and run by onnxruntime (an optional dependency)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detdiffusion.utils.errors import UserError, first_line
from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.threads import thread_count

from .onnx_weights import check_weights


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: name in the graph.
        kind: element type in onnxruntime's notation, without ``tensor()``: ``float``, ``float16``, ``uint8``, ...
        shape: sizes of the dimensions, None if dynamic.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.kind} {['?' if side is None else side for side in self.shape]}".replace(
            "'", ""
        )


class OnnxGraph:
    """An opened model.

    Args:
        path: the ``.onnx`` file.
        device: 'cpu', 'cuda' or 'cuda:N'; None uses CUDA if onnxruntime supports it.

    Attributes:
        path: path as a string.
        session: onnxruntime's session.
        inputs, outputs: the inputs and outputs, as :class:`Port`.
        sha256: SHA-256 of the file and of its external data files.

    Raises:
        UserError: onnxruntime is not installed, the file does not exist or is not an ONNX model, or weights are not
            finite.
    """

    def __init__(self, path: str | Path, device: str | None = None) -> None:
        self.path = str(path)
        self.session = _open(self.path, device)
        self.inputs = [_port(node) for node in self.session.get_inputs()]
        self.outputs = [_port(node) for node in self.session.get_outputs()]
        files = check_weights(path)
        self.sha256 = sha256_of(path)
        if files:
            parts = [self.sha256, *map(sha256_of, files)]
            self.sha256 = hashlib.sha256("".join(parts).encode()).hexdigest()

    def run(self, inputs: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Run the graph on its single input and return the arrays of the named outputs.

        Raises:
            UserError: onnxruntime cannot run the graph on this input, or an output is not an array of numbers. The
                message does not name the file; callers add it.
        """
        try:
            arrays = self.session.run(list(outputs), {self.inputs[0].name: inputs})
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise UserError(
                f"onnxruntime cannot run it on {self.inputs[0].name} {inputs.dtype} {list(inputs.shape)}: "
                f"{first_line(error)}"
            ) from error
        for name, array in zip(outputs, arrays):
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
                kind = next(port.kind for port in self.outputs if port.name == name)
                raise UserError(f"output {name} is {kind}, not an array of numbers")
        return arrays


def _port(node) -> Port:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    # some exporters write -1 for a dynamic dimension
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in node.shape or ())
    return Port(node.name, kind, shape)


def _open(path: str, device: str | None):
    if not Path(path).is_file():
        raise UserError(f"{path}: no such ONNX file; check the path")
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "an ONNX detector needs onnxruntime, which is not installed: pip install onnxruntime "
            "(onnxruntime-gpu for CUDA)"
        ) from None
    available = onnxruntime.get_available_providers()
    kind, _, index = (device or "").partition(":")
    providers: list = ["CPUExecutionProvider"]
    if kind in ("", "cuda") and "CUDAExecutionProvider" in available:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(index or 0)}))
    elif kind not in ("", "cpu"):
        raise UserError(
            f"`device` {device}: the installed onnxruntime has {', '.join(available)}; use `device` cpu"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = thread_count()
    if os.environ.get("OMP_WAIT_POLICY", "").upper() != "ACTIVE":
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise UserError(f"{path}: not an ONNX model that onnxruntime can run: {first_line(error)}") from error
