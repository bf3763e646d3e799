"""The scoreboard's statistics against SciPy and closed forms, and its rule of verdicts."""

import math

import numpy as np
import pytest
from scipy import stats

from detdiffusion.experiments.paper.verdicts import Claim, Comparison, compare, judge, paired_tests

SIMPLE = Claim("C", "a is above b", "Table", (Comparison("a", "b", (2.0, 1.0)),))


def table(a, b):
    return {seed: dict(a=x, b=y) for seed, (x, y) in enumerate(zip(a, b), 1)}


def test_paired_t_is_scipys_and_the_closed_form():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 6), rng.normal(0, 1, 6)
    assert paired_tests(a, b)[0] == pytest.approx(stats.ttest_rel(a, b, alternative="greater").pvalue)
    # two degrees of freedom: P(T > t) = 1/2 - t / (2 sqrt(2 + t^2))
    differences = np.array([1.0, 2.0, 4.0])
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(3))
    assert paired_tests(differences, np.zeros(3))[0] == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)))


@pytest.mark.parametrize("n", [3, 5])
def test_wilcoxon_cannot_go_below_one_in_two_to_the_n(n):
    assert paired_tests(np.arange(1.0, n + 1), np.zeros(n))[1] == pytest.approx(0.5**n)


def test_tests_that_the_numbers_do_not_allow():
    assert paired_tests([1.0], [0.0]) == (None, None)
    assert paired_tests([1.0, 1.0], [1.0, 1.0]) == (None, None)
    assert paired_tests([2.0, 3.0], [1.0, 2.0])[0] is None  # no spread


def test_means_deviations_and_seeds():
    row = compare(SIMPLE.comparisons[0], {**table([3, 5, 4], [1, 2, 3]), 9: dict(a=100.0), 8: dict(b=1.0)})
    assert row["n"] == 3 and row["seeds"] == [1, 2, 3] and row["differences"] == {1: 2, 2: 3, 3: 1}
    assert row["higher"]["mean"] == 4 and row["higher"]["std"] == 1
    assert row["difference"] == dict(mean=2, std=1)


@pytest.mark.parametrize(
    "a, b, verdict",
    [
        ([0.9, 0.8], [0.1, 0.1], "undecided"),  # two seeds
        ([1.0, 1.1, 1.2], [0.0, 0.1, 0.3], "holds"),
        ([1.0, 0.1, 0.9], [0.5, 0.3, 0.1], "undecided"),  # the right way, p > 0.05
        ([0.0, 0.1, 0.2], [0.1, 0.2, 0.2], "does not hold"),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], "does not hold"),  # nothing is above
        ([math.nan, 1.1, 1.2], [0.0, 0.1, 0.3], "undecided"),
    ],
)
def test_verdicts(a, b, verdict):
    row = judge(SIMPLE, table(a, b))
    assert row["verdict"] == verdict and bool(row["reason"]) == (verdict != "holds")


def test_every_part_of_a_claim_counts_but_notes():
    parts = (Comparison("a", "b"), Comparison("c", "a", role="order"), Comparison("b", "c", role="note"))
    claim = Claim("C", "", "", parts)
    values = {s: dict(a=1 + s / 100, b=s / 99, c=1 + s / 100) for s in (1, 2, 3)}  # c equals a: not reversed
    assert judge(claim, values)["verdict"] == "holds"
    for found in values.values():
        found["c"] -= 0.01
    row = judge(claim, values)
    assert row["verdict"] == "does not hold" and row["reason"] == "the means do not have c above a"
    del values[3]["c"]
    assert judge(claim, values)["n"] == 2 and judge(claim, values)["verdict"] == "undecided"


def test_only_complete_seeds_decide():
    claim = Claim("C", "", "", (Comparison("a", "b"), Comparison("b", "c")))
    values = {s: dict(a=2 + s / 50, b=1.0, c=s / 99) for s in range(1, 7)}
    del values[1]["a"], values[2]["c"], values[3]["c"]
    row = judge(claim, values)
    assert row["n"] == 3 and row["verdict"] == "holds"
    assert [one["seeds"] for one in row["comparisons"]] == [[4, 5, 6], [4, 5, 6]]
    del values[4]["a"]
    row = judge(claim, values)
    assert row["n"] == 2 and row["verdict"] == "undecided"
    assert [one["n"] for one in row["comparisons"]] == [4, 4]


def test_a_number_as_the_lower_side():
    row = judge(Claim("M", "", "", (Comparison("a", 0.3),)), {s: dict(a=0.5 + s / 100) for s in (1, 2, 3)})
    p = stats.ttest_1samp([0.51, 0.52, 0.53], 0.3, alternative="greater").pvalue
    assert row["verdict"] == "holds" and row["p"] == pytest.approx(p)
