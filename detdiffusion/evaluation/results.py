"""The contract of result files: one json that names its data set, its protocol and the methods it measured.

::

    {"schema": "detdiffusion-results/1",
     "kind": "fidelity" | "yolo_score" | "trainability",
     "dataset": "COCO-Thing-Stuff val2017, 3097 layouts",
     "protocol": {...},                 # whatever fixes the figures; "name" is what tables print
     "methods": [{"method": "easy", "metrics": {"bbox_mAP": 0.312, "fid": 19.66}, "counts": {"images": 3097},
                  "per_class": {"train": 0.541}}],
     "notes": ["..."]}

AP is in [0, 1] under mmdet's names (``bbox_mAP``, ``bbox_mAP_50``, ``bbox_mAP_75``, ``bbox_mAP_s/m/l``), a Fréchet
distance is ``fid`` under a protocol with Inception features and ``frechet`` with any others. A tool may write further
keys beside these; a file of several protocols names each one's figures under ``distances``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.datasets.coco_json import load_json
from detdiffusion.utils.errors import UserError

SCHEMA = "detdiffusion-results/1"
KINDS = ("fidelity", "yolo_score", "trainability")


@dataclass(frozen=True)
class MethodResult:
    """What one file says of one method.

    Attributes:
        kind: one of :data:`KINDS`.
        method: as the file names it.
        dataset, protocol: texts for the table.
        detector: whose AP it is, or the trained detector's kind; '' where unknown.
        metrics: name -> value.
        per_class: class name -> AP.
        file: where it was read.
    """

    kind: str
    method: str
    dataset: str
    protocol: str
    detector: str
    metrics: dict[str, float]
    per_class: dict[str, float] = field(default_factory=dict)
    file: str = ""


def result_file(
    kind: str, dataset: str, protocol: Mapping, methods: Sequence[Mapping], notes: Sequence[str] = (), **more
) -> dict:
    """The dict that a tool writes.

    Args:
        kind: one of :data:`KINDS`.
        dataset: what was measured on.
        protocol: with ``name``.
        methods: each with ``method`` and ``metrics``.
        notes: lines for the reader.
        **more: further keys of the tool's own.

    Raises:
        ValueError: a part that the contract wants is missing.
    """
    if kind not in KINDS or "name" not in protocol:
        raise ValueError(
            f"kind {kind!r} must be one of {KINDS}, and the protocol must have a name: {protocol}"
        )
    for entry in methods:
        if not {"method", "metrics"} <= set(entry):
            raise ValueError(f"a method needs 'method' and 'metrics', got {sorted(entry)}")
    return dict(
        schema=SCHEMA,
        kind=kind,
        dataset=dataset,
        protocol=dict(protocol),
        methods=[dict(entry) for entry in methods],
        notes=list(notes),
        **more,
    )


def read_result_file(path: str | Path) -> list[MethodResult]:
    """Every method of a result file.

    Raises:
        UserError: no such file, broken json, or not a result file.
    """
    data = load_json(path, "result file")
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("methods"), list)
        or data.get("kind") not in KINDS
    ):
        raise UserError(
            f"{path}: not a result file ('kind' out of {', '.join(KINDS)} and a list 'methods' are wanted); it is "
            "written by tools/evaluate_fidelity.py, tools/compare_trainability.py and the YOLO score; one from an "
            "earlier version has to be made anew"
        )
    protocol = data.get("protocol") if isinstance(data.get("protocol"), dict) else {}
    found = []
    for index, entry in enumerate(data["methods"]):
        if not isinstance(entry, dict) or not isinstance(entry.get("metrics"), dict) or "method" not in entry:
            raise UserError(f"{path}: methods[{index}] lacks 'method' or 'metrics'")
        common = dict(
            kind=data["kind"],
            method=str(entry["method"]),
            dataset=str(data.get("dataset", "unnamed")),
            detector=_detector_name(entry.get("detector", protocol.get("detector", ""))),
            file=str(path),
        )
        name = str(protocol.get("name", "unnamed"))
        found.append(
            MethodResult(
                protocol=name,
                metrics=_numbers(entry["metrics"]),
                per_class=_numbers(entry.get("per_class") or {}),
                **common,
            )
        )
        distances = entry.get("distances") or {}
        if not isinstance(distances, dict):
            raise UserError(f"{path}: methods[{index}]: 'distances' must name protocols, it is {distances!r}")
        for name, values in distances.items():
            bound = values.get("bound") if isinstance(values, dict) else None  # of real images from real ones
            name = f"{name}, {bound}" if bound else str(name)
            found.append(MethodResult(protocol=name, metrics=_numbers(values), **common))
    return found


def _detector_name(detector) -> str:
    if isinstance(detector, dict):
        return str(detector.get("network") or Path(str(detector.get("config", ""))).stem)
    return str(detector)


def _numbers(values: Mapping) -> dict[str, float]:
    numbers = values.items() if isinstance(values, Mapping) else ()
    return {k: float(v) for k, v in numbers if isinstance(v, (int, float)) and not isinstance(v, bool)}
