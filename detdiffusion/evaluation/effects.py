"""What arms of an experiment change: the mean difference over seeds with its interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.95
"""Level at which the intervals of all arms hold together."""


@dataclass(frozen=True)
class Effect:
    """What an arm changes, in AP points (percent).

    Attributes:
        name: the arm.
        mean: mean difference over the seeds.
        low, high: interval; None if there is none.
        seeds: number of pairs.
    """

    name: str
    mean: float
    low: float | None
    high: float | None
    seeds: int

    def __str__(self) -> str:
        if self.low is None:
            return f"{_signed(self.mean)} AP"
        return f"{_signed(self.mean)} AP [{_signed(self.low, plus=False)}, {_signed(self.high, plus=False)}]"


def effects_of(differences: Mapping[str, Sequence[float]]) -> tuple[list[Effect], float]:
    """Return the effect of each arm, and the level of its interval, Student's t, raised for several arms (Bonferroni).

    Args:
        differences: paired differences over the seeds in AP points, by arm.
    """
    from scipy.stats import t

    level = 1 - (1 - LEVEL) / max(1, len(differences))
    effects = []
    for name, values in differences.items():
        mean, count = statistics.fmean(values), len(values)
        if len({round(value, 6) for value in values}) < 2:
            effects.append(Effect(name, mean, None, None, count))
            continue
        half = float(t.ppf(0.5 + level / 2, count - 1)) * statistics.stdev(values) / math.sqrt(count)
        effects.append(Effect(name, mean, mean - half, mean + half, count))
    return effects, level


def _signed(value: float, plus: bool = True) -> str:
    """Format with one decimal and a true minus sign; a plus sign too if asked for."""
    text = f"{abs(value):.1f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+" if plus else "") + text
