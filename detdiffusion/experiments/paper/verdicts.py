"""Verdicts on claims, by paired statistics over seeds.

A claim is a list of comparisons of two quantities, which are measured for each seed on the same data and with the same
initialisation. Tests are one-sided paired t tests in the claimed direction. A claim of several comparisons holds if all
of them hold, which keeps the level of a single test (intersection-union test).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.05
MIN_SEEDS = 3
EQUAL = "equal"
"""Role of comparisons with real images for as many iterations."""
BESIDE = ("note", EQUAL)
"""Roles of comparisons that are no part of a verdict."""
Values = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Comparison:
    """The claim that ``higher`` is above ``lower``.

    Attributes:
        higher, lower: names of quantities; ``lower`` may be a number.
        paper: the paper's values of the two, None if it has none.
        role: ``test``: must be significant; ``order``: the mean must not be lower (a claim of "not below");
            ``note``, ``equal`` (with real images for as many iterations): shown, but not part of the verdict.
    """

    higher: str
    lower: str | float
    paper: tuple[float, float] | None = None
    role: str = "test"


@dataclass(frozen=True)
class Claim:
    """A statement and the comparisons that decide it.

    Attributes:
        name: C1 to C10 for claims of the paper, M1 and M2 for claims about MiniScenes only.
        statement: the claim in words.
        source: location in the paper.
        comparisons: see :class:`Comparison`.
        unit: factor and digits for display, e.g. ``(100, 1)`` for AP in percent.
    """

    name: str
    statement: str
    source: str
    comparisons: tuple[Comparison, ...]
    unit: tuple[float, int] = (100, 1)


def compare(comparison: Comparison, values: Values) -> dict:
    """Evaluate a comparison over the seeds that have both quantities.

    Args:
        comparison: the comparison.
        values: values by seed and quantity.

    Returns:
        ``n``, ``seeds``, ``higher`` and ``lower`` with ``mean`` and ``std`` (sample deviation, None for n < 2),
        ``difference`` likewise, ``p`` of the one-sided paired t test (None for n < 2 or if all differences are
        equal), ``p_wilcoxon`` of the exact one-sided signed-rank test (at least 1/2^n), and ``verdict``.
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
    """Compute one-sided p-values that ``higher`` is above ``lower``: paired t and exact Wilcoxon signed-rank test.

    Returns:
        The two p-values; None if a test is undefined: for fewer than two pairs, or if all differences are equal (t) or
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


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation (SciPy), or None if all values of one of them are equal."""
    from scipy.stats import spearmanr

    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(spearmanr(a, b).statistic)


def judge(claim: Claim, values: Values) -> dict:
    """Judge a claim; returns its row of the scoreboard.

    Returns:
        ``claim``, ``statement``, ``source``, ``unit``, ``n`` (seeds with every quantity that the verdict needs),
        ``p`` (the largest of its tests), ``verdict`` (``holds``, ``does not hold``, ``undecided``), ``reason`` and
        ``comparisons``.
    """
    deciding = [comparison for comparison in claim.comparisons if comparison.role not in BESIDE]
    complete = {s: found for s, found in values.items() if all(_pair(c, found) for c in deciding)}
    n = len(complete)
    shown = complete if n >= MIN_SEEDS else values  # show incomplete seeds while the claim is undecided
    rows = [compare(c, values if c.role in BESIDE else shown) for c in claim.comparisons]
    parts = [row for row in rows if row["role"] not in BESIDE]
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
    """Return the verdict on one comparison, by the rule of the scoreboard."""
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
