"""Rows of a comparison of sampling plans, the times of its runs, and the choice of the cheapest plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from detdiffusion.datasets.coco_json import load_json
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.sampling_plan import SamplingPlan


def sweep_rows(
    plans: Mapping[str, SamplingPlan],
    scores: Mapping,
    evaluations: Mapping[str, int],
    seconds: Mapping[str, float | None],
    baseline: str,
) -> list[dict]:
    """Return one row per plan: its settings, its cost per image and its scores.

    Args:
        plans: plans by name; the names are those of the scored sets.
        scores: content of a ``fidelity.json`` whose sets were compared with ``baseline``.
        evaluations, seconds: network evaluations and seconds per image, by name.
        baseline: name of the plan that the others are compared with; its ``difference`` is None.
    """
    rows = []
    for name, plan in plans.items():
        row = scores["sets"][name]
        rows.append(
            dict(
                name=name,
                plan=asdict(plan),
                evaluations=evaluations[name],
                seconds=seconds[name],
                images=row["images"],
                bbox_mAP=row["bbox_mAP"],
                frechet=row.get("frechet"),
                difference=scores["bootstrap"].get(f"{name} - {baseline}"),
            )
        )
    return rows


def cheapest(rows: Sequence[Mapping]) -> Mapping:
    """Return the row with the fewest evaluations whose AP is not below the baseline's.

    A plan counts as below if the whole interval of its difference is below 0.

    Args:
        rows: result of :func:`sweep_rows`.
    """
    equal = [row for row in rows if row["difference"] is None or row["difference"]["high"] >= 0]
    return min(equal, key=lambda row: (row["evaluations"], -row["bbox_mAP"]))


def folder_name(plan: SamplingPlan) -> str:
    """Return the name of the folder of a plan's set."""
    return str(plan).replace("=", "").replace(",", "_").replace(":", "-")


def plan_seconds(path: Path, plan: SamplingPlan, counts: Mapping) -> float | None:
    """Add the time of a run to a file, and return the seconds per image of all runs of a plan; None if there are none.

    Args:
        path: json file with the times of all plans; created if missing.
        plan: the plan.
        counts: ``written`` images and ``seconds`` of the run.
    """
    times = load_json(path, "times of a sweep") if path.is_file() else {}
    time = times.setdefault(str(plan), dict(images=0, seconds=0.0))
    if counts["written"]:
        time["images"] += counts["written"]
        time["seconds"] += counts["seconds"]
        write_atomic(path, json.dumps(times, indent=1).encode())
    return time["seconds"] / time["images"] if time["images"] else None
