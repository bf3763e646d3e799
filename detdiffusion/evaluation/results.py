"""Format of result files: a json with the data set, the protocol and the results of one or more methods.

::

    {"schema": "detdiffusion-results/1",
     "kind": "fidelity" | "yolo_score" | "trainability",
     "dataset": "COCO-Thing-Stuff val2017, 3097 layouts",
     "protocol": {...},                 # all settings that affect the results; tables print "name"
     "methods": [{"method": "easy", "metrics": {"bbox_mAP": 0.312, "fid": 19.66}, "counts": {"images": 3097},
                  "per_class": {"train": 0.541}}],
     "notes": ["..."]}

AP is in [0, 1] and named as in mmdet (``bbox_mAP``, ``bbox_mAP_50``, ``bbox_mAP_75``, ``bbox_mAP_s/m/l``); a Fréchet
distance is named ``fid`` for Inception features and ``frechet`` for others. Tools may write additional keys; a file
with several protocols has the values of each under ``distances``.
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
    """Results of one method in a file.

    Attributes:
        kind: one of :data:`KINDS`.
        method: name of the method in the file.
        dataset, protocol: texts for the table.
        detector: the evaluating detector, or the type of the trained detector; '' if unknown.
        metrics: values by metric.
        per_class: AP by class name.
        file: path of the file.
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
    """Build the content of a result file.

    Args:
        kind: one of :data:`KINDS`.
        dataset: name of the data set.
        protocol: protocol with ``name``.
        methods: results, each with ``method`` and ``metrics``.
        notes: lines for the reader.
        **more: additional keys of the tool.

    Raises:
        ValueError: a required part is missing.
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
    """Read all methods of a result file.

    Raises:
        UserError: the file does not exist, is not valid json, or is not a result file.
    """
    data = load_json(path, "result file")
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("methods"), list)
        or data.get("kind") not in KINDS
    ):
        raise UserError(
            f"{path}: not a result file: 'kind' must be one of {', '.join(KINDS)}, and 'methods' a list; result files "
            "are written by tools/evaluate_fidelity.py, tools/compare_trainability.py and the YOLO score; files of "
            "earlier versions have to be created again"
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
            raise UserError(
                f"{path}: methods[{index}]: 'distances' must be an object of protocols, got {distances!r}"
            )
        for name, values in distances.items():
            bound = (
                values.get("bound") if isinstance(values, dict) else None
            )  # for the row of the real images
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
