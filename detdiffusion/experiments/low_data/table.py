"""The benchmark's table: AP of every arm over seeds, its gain over real images, and the share of the oracle's gain."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.evaluation.effects import effects_of
from detdiffusion.evaluation.trainability import paired_test
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.steps import read_result
from detdiffusion.utils.tables import markdown_table

from .arms import ARMS, COPY_PASTE, MORE, ORACLE, REAL
from .job import LEARNERS
from .result import METRICS
from .worth import by_curve, copy_paste_curve, plot_worth, worth

LEAST_GAIN = 1.0
"""AP points of the oracle's gain below which nothing is expressed as a share of it."""
LEAST_PAIRS = 3
"""Seeds from which on there is an interval and a p."""
Scores = Mapping[str, Mapping[int, dict]]
"""arm -> seed -> an arm's entry of ``result.json``"""
COLUMNS = (
    "look",
    "real images",
    "learner",
    "arm",
    "AP",
    "AP50",
    "AP75",
    "gain over real [95 %]",
    "p",
    "over copy-paste [95 %]",
    "share of the oracle's gain",
    "as many with copy-paste",
    "near copies: features, pixels",
    "minutes",
    "seeds",
)


def write_table(folder: Path) -> tuple[str, list[Path]]:
    """Write ``table.md``, ``table.json`` and, with several numbers of real images, ``worth.png`` of all ``result.json``
    files below a folder.

    Returns:
        The table in Markdown, and the paths of the files.

    Raises:
        UserError: there are no results, one is damaged, or results of a look have other settings or weights.
    """
    rows = table_rows(read_results(folder))
    text = markdown(rows)
    paths = [folder / "table.md", folder / "table.json"]
    write_atomic(paths[0], text.encode() + b"\n")
    write_atomic(paths[1], json.dumps(dict(rows=rows), indent=1).encode() + b"\n")
    if plot := plot_worth(rows):
        paths.append(folder / "worth.png")
        write_atomic(paths[2], plot)
    return text, paths


def read_results(folder: Path) -> list[dict]:
    """Read all ``result.json`` files of jobs below a folder (``LOOK-IMAGES/SEED/result.json``).

    Raises:
        UserError: see :func:`write_table`.
    """
    paths = sorted(folder.glob("*/*/result.json"))
    if not paths:
        raise UserError(f"{folder}: no results, which would be LOOK-IMAGES/SEED/result.json in it")
    first: dict[str, tuple[Path, dict]] = {}
    results = []
    for path in paths:
        result = read_result(path, "benchmarks/low_data.py")
        other, known = first.setdefault(result["look"], (path, dict(result)))
        # a job without arms from the captions-only base has no base
        known["weights"] = _filled(known["weights"], result["weights"])
        own = dict(settings=result["settings"], weights=_filled(result["weights"], known["weights"]))
        for part, values in own.items():
            if values != known[part]:
                raise UserError(
                    f"{path}: its {part} are not those of {other}; keep results of different {part} in different "
                    f"folders: {_difference(values, known[part])}"
                )
        results.append(result)
    return results


def _filled(values: dict, others: dict) -> dict:
    """Return the values, those that are None from ``others``."""
    return {name: others.get(name) if value is None else value for name, value in values.items()}


def table_rows(results: Sequence[dict]) -> list[dict]:
    """Return a row for each look, number of real images, learner and arm.

    Args:
        results: contents of ``result.json``.

    Returns:
        Rows of the seeds that have the arm of real images too (all, where none has), with ``look, images, learner,
        arm, seeds``; ``real_images``, those of the arm, with an oracle's further ones; the means of ``bbox_mAP``,
        ``bbox_mAP_50`` and ``bbox_mAP_75`` in percent and ``std`` of the first (None for one seed); ``gain`` over
        real in AP points, paired by seed, with ``low, high`` (95 % by Student's t) and ``p`` (paired t test,
        two-sided; without a pair all are None, with fewer than :data:`LEAST_PAIRS` these three);
        ``over_copy_paste``, the same four over the arm of copy-paste, None without; ``share``, the mean gain as a
        share of the oracle's over the seeds that have both, None without or if the oracle gains less than
        :data:`LEAST_GAIN`; ``worth``, how many real images with copy-paste have the AP of those of the row and its
        gain over it, None without one, for the oracles, and outside of what was measured, see :func:`.worth.worth`;
        ``near_copies``, the mean share of near copies of real images in its generated set, by ``features`` and
        ``pixels`` (see :mod:`.result`), None without; ``minutes``, mean of everything that the arm needs but the
        data.
    """
    rows = []
    for look, images in sorted({(one["look"], one["images"]) for one in results}):
        jobs = [one for one in results if (one["look"], one["images"]) == (look, images)]
        more = jobs[0]["settings"]["more_images"]
        for learner in LEARNERS:
            scores = _scores(jobs, learner)
            for arm in scores:
                real_images = images + (more if MORE in ARMS[arm].further else 0)
                row = dict(look=look, images=images, learner=learner, arm=arm, real_images=real_images)
                row |= _row(arm, scores)
                copies = [
                    one["near_copies"].get(ARMS[arm].generated) for one in jobs if one["seed"] in row["seeds"]
                ]
                rows.append(row | dict(near_copies=_means(copies)))
    for group in by_curve(rows).values():
        curve = copy_paste_curve(group)
        for row in group:
            over = curve and row["over_copy_paste"] and MORE not in ARMS[row["arm"]].further
            row["worth"] = (
                worth(dict(curve)[row["images"]] + row["over_copy_paste"]["gain"], curve) if over else None
            )
    return rows


def markdown(rows: Sequence[Mapping]) -> str:
    """Return the table in Markdown."""
    return markdown_table(COLUMNS, [_cells(row) for row in rows])


def _scores(jobs: Sequence[dict], learner: str) -> Scores:
    found = {
        arm: {job["seed"]: job["arms"][arm][learner] for job in jobs if learner in job["arms"].get(arm, {})}
        for arm in ARMS
    }
    return {arm: by_seed for arm, by_seed in found.items() if by_seed}


def _row(arm: str, scores: Scores) -> dict:
    real = scores.get(REAL, {})
    entries = {seed: entry for seed, entry in scores[arm].items() if seed in real} or scores[arm]
    values = {metric: [100 * entry[metric] for entry in entries.values()] for metric in METRICS}
    ap = values["bbox_mAP"]
    row = dict(
        seeds=sorted(entries),
        iterations=sorted({entry["iterations"] for entry in entries.values()}),
        std=statistics.stdev(ap) if len(ap) > 1 else None,
        **_gain(arm, REAL, scores),
        over_copy_paste=_gain(arm, COPY_PASTE, scores) if _pairs(arm, COPY_PASTE, scores) else None,
        share=_share(arm, scores),
        minutes=statistics.fmean(entry["seconds_in_all"] for entry in entries.values()) / 60,
        **{metric: statistics.fmean(found) for metric, found in values.items()},
    )
    return row


def _means(copies: Sequence[Mapping[str, float] | None]) -> dict[str, float] | None:
    """Return the mean shares of near copies over the seeds that have them."""
    known = [shares for shares in copies if shares is not None]
    return (
        {measure: statistics.fmean(one[measure] for one in known) for measure in known[0]} if known else None
    )


def _gain(arm: str, reference: str, scores: Scores) -> dict[str, float | None]:
    pairs = _pairs(arm, reference, scores)
    if not pairs:
        return dict(gain=None, low=None, high=None, p=None)
    (effect,), _ = effects_of({arm: [a - b for a, b in pairs]})
    if len(pairs) < LEAST_PAIRS:
        return dict(gain=effect.mean, low=None, high=None, p=None)
    return dict(gain=effect.mean, low=effect.low, high=effect.high, p=paired_test(pairs))


def _pairs(
    arm: str, reference: str, scores: Scores, seeds: Sequence[int] | None = None
) -> list[tuple[float, float]]:
    """Return AP of an arm and of the one that it is compared with, in percent, for the seeds that have both."""
    if arm == reference:
        return []
    other = scores.get(reference, {})
    return [
        (100 * entry["bbox_mAP"], 100 * other[seed]["bbox_mAP"])
        for seed, entry in sorted(scores[arm].items())
        if seed in other and (seeds is None or seed in seeds)
    ]


def _share(arm: str, scores: Scores) -> float | None:
    """Return the mean gain as a share of the oracle's."""
    seeds = [seed for seed in scores[arm] if seed in scores.get(ORACLE, {})]
    pairs = {name: _pairs(name, REAL, scores, seeds) for name in (arm, ORACLE) if name in scores}
    if not pairs[arm]:
        return None
    gain, oracle = (statistics.fmean(a - b for a, b in pairs[name]) for name in (arm, ORACLE))
    return gain / oracle if oracle >= LEAST_GAIN else None


def _cells(row: Mapping) -> list[str]:
    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form).replace("-", "−")

    def interval(found: Mapping | None) -> str:
        if found is None or found["low"] is None:
            return "–" if found is None else number(found["gain"], "+.1f")
        return f"{found['gain']:+.1f} [{found['low']:.1f}, {found['high']:.1f}]".replace("-", "−")

    copies = row["near_copies"]
    spread = "" if row["std"] is None else f" ± {row['std']:.1f}"
    return [
        row["look"],
        row["images"],
        row["learner"],
        row["arm"],
        f"{row['bbox_mAP']:.1f}{spread}",
        f"{row['bbox_mAP_50']:.1f}",
        f"{row['bbox_mAP_75']:.1f}",
        interval(row),
        "< 0.001" if row["p"] is not None and row["p"] < 0.0005 else number(row["p"], ".3f"),
        interval(row["over_copy_paste"]),
        number(row["share"], ".0%"),
        number(row["worth"], ",.0f"),
        "–" if copies is None else f"{copies['features']:.1%}, {copies['pixels']:.1%}",
        f"{row['minutes']:.1f}",
        len(row["seeds"]),
    ]


def _difference(a: Mapping, b: Mapping) -> str:
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    return ", ".join(f"{key} {a.get(key)!r} and {b.get(key)!r}" for key in keys)
