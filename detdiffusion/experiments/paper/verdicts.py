"""Which claims hold, by paired statistics over seeds.

A claim is a list of comparisons of two quantities, measured for each seed on the same data from the same start.
Tests are one-sided paired t tests in the claimed direction; a claim of several comparisons holds if each of them
does, which keeps the level of a single test (intersection-union test).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.05
MIN_SEEDS = 3
Values = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Comparison:
    """``higher`` is claimed to be above ``lower``.

    Attributes:
        higher, lower: names of quantities; ``lower`` may be a number.
        paper: the paper's figures of the two, None where it has none.
        role: ``test``: must be significant; ``order``: only the means must not be reversed (a claim of "not
            below"); ``note``: is shown, and has no part in the verdict.
    """

    higher: str
    lower: str | float
    paper: tuple[float, float] | None = None
    role: str = "test"


@dataclass(frozen=True)
class Claim:
    """A statement and what decides it.

    Attributes:
        name: C1 to C10 of the paper, M1 and M2 of MiniScenes alone.
        statement: in words.
        source: where the paper says it.
        comparisons: see :class:`Comparison`.
        unit: factor and digits for display, e.g. ``(100, 1)`` for AP in percent.
    """

    name: str
    statement: str
    source: str
    comparisons: tuple[Comparison, ...]
    unit: tuple[float, int] = (100, 1)


def compare(comparison: Comparison, values: Values) -> dict:
    """One comparison over the seeds that have both quantities.

    Args:
        values: seed -> quantity -> value.

    Returns:
        ``n``, ``seeds``, ``higher`` and ``lower`` with ``mean`` and ``std`` (sample deviation, None for n < 2),
        ``difference`` likewise, ``p`` of the one-sided paired t test (None for n < 2, or where all differences are
        equal), ``p_wilcoxon`` of the exact one-sided signed-rank test (at best 1/2^n), and ``verdict``.
    """
    rows = [(seed, *pair) for seed, found in sorted(values.items()) if (pair := _pair(comparison, found))]
    first, second = [row[1] for row in rows], [row[2] for row in rows]
    differences = [a - b for a, b in zip(first, second)]
    p, p_wilcoxon = paired_tests(first, second)
    result = dict(
        higher=dict(quantity=comparison.higher, **_spread(first)),
        lower=dict(quantity=comparison.lower, **_spread(second)),
        difference=_spread(differences),
        differences=dict(zip((row[0] for row in rows), differences)),
        n=len(rows),
        seeds=[row[0] for row in rows],
        p=p,
        p_wilcoxon=p_wilcoxon,
        paper=comparison.paper,
        role=comparison.role,
    )
    return {**result, "verdict": _verdict(result)}


def paired_tests(higher: Sequence[float], lower: Sequence[float]) -> tuple[float | None, float | None]:
    """One-sided p-values that ``higher`` is above ``lower``: paired t, exact Wilcoxon signed-rank.

    Returns:
        None for a test that the numbers do not allow: fewer than two pairs, or all differences equal (t), or all
        zero (Wilcoxon).
    """
    from scipy.stats import ttest_1samp, wilcoxon

    differences = [a - b for a, b in zip(higher, lower)]
    if len(differences) < 2:
        return None, None
    p = p_wilcoxon = None
    if statistics.stdev(differences) > 1e-12:
        p = float(ttest_1samp(differences, 0, alternative="greater").pvalue)
    if any(differences):
        p_wilcoxon = float(wilcoxon(differences, alternative="greater").pvalue)
    return p, p_wilcoxon


def judge(claim: Claim, values: Values) -> dict:
    """The scoreboard's row of a claim.

    Returns:
        ``claim``, ``statement``, ``source``, ``unit``, ``n`` (seeds with every quantity that the verdict needs),
        ``p`` (the largest of its tests), ``verdict`` (``holds``, ``does not hold``, ``undecided``), ``reason`` and
        ``comparisons``.
    """
    deciding = [comparison for comparison in claim.comparisons if comparison.role != "note"]
    complete = {s: found for s, found in values.items() if all(_pair(one, found) for one in deciding)}
    n = len(complete)
    shown = complete if n >= MIN_SEEDS else values  # what there is, as long as it decides nothing
    rows = [compare(one, values if one.role == "note" else shown) for one in claim.comparisons]
    parts = [row for row in rows if row["role"] != "note"]
    tests = [row["p"] for row in parts if row["role"] == "test"]
    verdicts = [row["verdict"] for row in parts]
    if n < MIN_SEEDS:
        verdict, reason = "undecided", f"n = {n}, at least {MIN_SEEDS} seeds are wanted"
    elif "does not hold" in verdicts:
        against = [row for row in parts if row["verdict"] == "does not hold"]
        verdict = "does not hold"
        reason = f"the means do not have {'; '.join(_words(row) for row in against)}"
    elif "undecided" in verdicts:
        weak = [row for row in parts if row["verdict"] == "undecided"]
        verdict = "undecided"
        reason = "the means have " + "; ".join(f"{_words(row)}, but p = {_p(row['p'])}" for row in weak)
    else:
        verdict, reason = "holds", ""
    return dict(
        claim=claim.name,
        statement=claim.statement,
        source=claim.source,
        unit=list(claim.unit),
        n=n,
        p=None if None in tests or not tests else max(tests),
        verdict=verdict,
        reason=reason,
        comparisons=rows,
    )


def _verdict(row: dict) -> str:
    """Of one comparison; the rule of the scoreboard."""
    if row["n"] < MIN_SEEDS:
        return "undecided"
    mean = row["difference"]["mean"]
    if row["role"] == "order":
        return "holds" if mean >= 0 else "does not hold"
    if mean <= 0:
        return "does not hold"
    return "holds" if row["p"] is not None and row["p"] < LEVEL else "undecided"


def _pair(comparison: Comparison, found: Mapping[str, float]) -> tuple[float, float] | None:
    lower = comparison.lower
    second = found.get(lower) if isinstance(lower, str) else lower
    first = found.get(comparison.higher)
    pair = (first, second)
    return pair if all(v is not None and math.isfinite(v) for v in pair) else None


def _spread(values: Sequence[float]) -> dict:
    return dict(
        mean=statistics.fmean(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
    )


def _words(row: dict) -> str:
    return f"{row['higher']['quantity']} above {row['lower']['quantity']}"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
