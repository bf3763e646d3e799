"""The scoreboard of the paper in miniature, computed from the result files."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from .claims import CLAIMS, quantities
from .run import ResultFolder
from .scales import Job
from .verdicts import LEVEL, MIN_SEEDS, judge

RULE = (
    f"A comparison holds if its mean difference over seeds is positive and the one-sided paired t test gives "
    f"p < {LEVEL}; it does not hold if the mean is zero or negative; else it is undecided. A claim of several "
    f"comparisons holds if each does, and does not if one does not. “≥” asks of the means alone. Below "
    f"{MIN_SEEDS} complete seeds everything is undecided. With n = 3 the t test has two degrees of freedom, and "
    "the exact Wilcoxon test cannot go below p = 0.125 (n = 5: 0.031). Verdicts are not corrected for their "
    f"number: of {len(CLAIMS)} claims without any effect at least one would hold by chance in up to "
    f"{1 - (1 - LEVEL) ** len(CLAIMS):.0%} of all scoreboards."
)


def scoreboard(jobs: Sequence[Job], results: ResultFolder, command: str) -> dict:
    """Judge all claims by the available result files.

    Args:
        jobs: all jobs of all seeds.
        results: folder of the result files.
        command: command that runs the jobs, with ``--only {claims}`` to select claims.

    Returns:
        ``claims`` (see :func:`detdiffusion.experiments.paper.verdicts.judge`; those that lack seeds have the command to
        continue as ``continue``), ``continue`` for all of these together, ``command`` for all jobs, ``values`` by seed
        and quantity, ``cost``, ``machines``, ``settings``, ``notes``.
    """
    found: dict[int, dict[str, dict]] = {job.seed: {} for job in jobs}
    for job in jobs:
        if (result := results.read(job)) is not None:
            found[job.seed][job.name] = result
    values = {
        seed: quantities({name: result["figures"] for name, result in done.items()})
        for seed, done in found.items()
    }
    claims = [judge(claim, values) for claim in CLAIMS]
    missing = [row for row in claims if row["n"] < MIN_SEEDS]
    for row in missing:
        row["continue"] = command.format(claims=row["claim"])
    every = [result for done in found.values() for result in done.values()]
    return dict(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seeds=sorted(found),
        rule=RULE,
        claims=claims,
        **{"continue": command.format(claims=",".join(row["claim"] for row in missing)) if missing else None},
        command=command.replace(" --only {claims}", ""),
        values=values,
        results=len(every),
        jobs=len(jobs),
        cost=_cost(jobs, found),
        machines=_distinct(result["machine"] for result in every),
        versions=_distinct(result["versions"] for result in every),
        settings=_settings(every),
        notes=_notes(found, results),
    )


def _cost(jobs: Sequence[Job], found: Mapping[int, Mapping[str, dict]]) -> dict:
    """Return wall-clock and processor minutes of the steps, averaged over seeds, summed by job and for a full seed."""
    steps: dict[str, tuple[list[float], list[float]]] = {}
    for done in found.values():
        wall: dict[str, float] = {}
        processor: dict[str, float] = {}
        for result in done.values():
            wall |= result["seconds"]
            processor |= {k: v for k, v in result["processor_seconds"].items() if v is not None}
        for name, seconds in wall.items():
            steps.setdefault(name, ([], []))[0].append(seconds)
        for name, seconds in processor.items():
            steps[name][1].append(seconds)
    means = {name: tuple(statistics.fmean(v) if v else None for v in pair) for name, pair in steps.items()}
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(job.name, job)
    rows, owned = {}, set()
    for name, job in first.items():
        step_names = [step.name for step in job.steps]
        owned |= set(step_names)
        if step_names:
            rows[name] = _sum(step_names, means)
    shared = {step.name for job in first.values() for step in job.chain} - owned
    rows["synthetic training sets"] = _sum(sorted(shared), means)
    total: dict = {}
    for kind in ("wall", "processor"):
        parts = [row[kind] for row in rows.values()]
        total[kind] = None if None in parts else sum(parts)
    if total["wall"] is None:
        total["processor"] = None
    return dict(jobs=rows, seed=total)


def _sum(names: Sequence[str], means: Mapping[str, tuple]) -> dict:
    """Return the total minutes of steps, None if one of them was not measured."""
    result = {}
    for index, kind in enumerate(("wall", "processor")):
        parts = [means.get(name, (None, None))[index] for name in names]
        result[kind] = None if not parts or None in parts else sum(parts) / 60
    return result


def _settings(every: Sequence[dict]) -> dict:
    """Return the facts that all results have in common."""
    merged: dict = {}
    for result in every:
        for key, value in result["facts"].items():
            merged.setdefault(key, set()).add(json.dumps(value, sort_keys=True))
    specific = {"seed", "arm", "configs", "data", "trained", "from_real"}
    return {
        key: json.loads(next(iter(values)))
        for key, values in sorted(merged.items())
        if len(values) == 1 and key not in specific
    }


def _notes(found: Mapping[int, Mapping[str, dict]], results: ResultFolder) -> list[str]:
    notes = []
    for seed, done in sorted(found.items()):
        bounds = {
            name: result["figures"]["sets"]["real"]["bbox_mAP"]
            for name, result in done.items()
            if "sets" in result["figures"]
        }
        if len(set(bounds.values())) > 1:
            listed = ", ".join(f"{name} {100 * value:.2f}" for name, value in bounds.items())
            notes.append(
                f"seed {seed}: arms were scored by detectors that differ (AP on real images: {listed})"
            )
        if len({result.get("code") for result in done.values()}) > 1:
            notes.append(
                f"seed {seed}: not all results are of the same state of the code (`code` in the files)"
            )
    if results.frozen:
        notes.append(
            f"{len(results.frozen)} results are records of commit {results.commit[:7]}, with its configs and weights"
        )
    for path in sorted(results.stale):
        notes.append(f"{path.parent.name}/{path.name} was made with other settings and is left out")
    validity = [r["figures"]["validity"] for done in found.values() if (r := done.get("factors"))]
    for measure in validity[0] if validity else ():
        known = [row[measure] for row in validity if row[measure] is not None]
        if known:
            notes.append(
                f"M2's measure of {measure}: rank correlation {statistics.fmean(known):+.2f} with the hidden "
                "factor on the real images"
            )
    return notes


def _distinct(items) -> list:
    return [json.loads(text) for text in sorted({json.dumps(item, sort_keys=True) for item in items})]
