"""The answer of a run in one sentence: the change of AP with its interval, and what follows from it.

Rules:

* A difference is the learner's AP with a synthetic set minus its AP on real images alone, after equally many
  iterations, paired by seed, on the test images.
* Its interval is Student's t over the seeds. With several synthetic sets the level is raised (Bonferroni), so that all
  intervals hold together with 95 %: looking at several sets and taking the best is allowed.
* Where there are labelled images beside the training and test images, they choose the set: the one whose detectors
  have the highest mean AP on them. The test images then judge this set alone, at 95 %.
* A set helps if its interval lies above 0; the one with the largest mean is recommended. If all intervals lie below 0,
  synthetic images cost AP. Otherwise no benefit is shown, and the set with the largest mean is quoted.
* One seed has no interval, nor have seeds that all differ by the same (AP is logged with three decimals); then there is
  no answer.
* A class is not drawn if a detector finds less than a tenth as large a share of its objects in the generated images as
  in the real images of the same layouts, of at least ten objects.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detdiffusion.experiments.common_steps import AUTOENCODER

LEVEL = 0.95
ENOUGH_OBJECTS = 10
NOT_DRAWN = 0.1

HELPS, COSTS, NOT_SHOWN, NO_ANSWER = "helps", "costs", "not shown", "no answer"


@dataclass(frozen=True)
class Effect:
    """What a synthetic set changes, in AP points (percent).

    Attributes:
        name: the set.
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


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        outcome: one of the four words above.
        sentence: the answer for people.
        effects: all synthetic sets.
        level: level of each interval.
        not_drawn: (class, found, prompted) of classes that are not drawn.
        chosen: the set that a tuning split chose; None if the test images judge all sets.
    """

    outcome: str
    sentence: str
    effects: tuple[Effect, ...]
    level: float
    not_drawn: tuple[tuple[str, int, int], ...]
    chosen: str | None = None


def effects_of(differences: Mapping[str, Sequence[float]]) -> tuple[list[Effect], float]:
    """Return the effect of each set, and the level of its interval.

    Args:
        differences: paired differences over the seeds in AP points, by set.
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


def classes_not_drawn(consistency: Mapping) -> list[tuple[str, int, int]]:
    """Return (class, found, prompted) of the classes that are not drawn in any set, see the rules above.

    Args:
        consistency: ``fidelity.json["consistency"]``.
    """
    sets = dict(consistency["sets"])
    real = sets.pop("real")["by_class"]
    sets.pop(AUTOENCODER, None)  # real images too
    lost = []
    for name, bound in real.items():
        drawn = [one["by_class"][name] for one in sets.values() if name in one["by_class"]]
        if bound["objects"] < ENOUGH_OBJECTS or not bound["found"] or not drawn:
            continue
        best = max(drawn, key=lambda row: row["found"])
        if best["found"] < NOT_DRAWN * bound["found"]:
            lost.append((name, round(best["found"] * best["objects"]), best["objects"]))
    return lost


def judge(
    differences: Mapping[str, Sequence[float]],
    consistency: Mapping,
    tuning: Mapping[str, Sequence[float]] | None = None,
) -> Verdict:
    """Apply the rules.

    Args:
        differences: see :func:`effects_of`.
        consistency: see :func:`classes_not_drawn`.
        tuning: AP over the seeds on the tuning split, by set; None if there is no such split.
    """
    chosen = None
    if tuning:
        chosen = max(tuning, key=lambda name: statistics.fmean(tuning[name]))
        differences = {chosen: differences[chosen]}
    effects, level = effects_of(differences)
    not_drawn = classes_not_drawn(consistency)
    known = [effect for effect in effects if effect.low is not None]
    best = max(known or effects, key=lambda effect: effect.mean)
    seeds = min(effect.seeds for effect in effects)
    at = f"at equal iterations, {seeds} seed{'s' if seeds > 1 else ''}"
    if not known:
        outcome, sentence = NO_ANSWER, f"no answer: {best} {at}, which has no interval; use 3 seeds or more"
    elif helping := [effect for effect in known if effect.low > 0]:
        best = max(helping, key=lambda effect: effect.mean)
        outcome, sentence = HELPS, f"{best} {at}: use the {best.name} set"
    elif len(known) == len(effects) and all(effect.high < 0 for effect in known):
        outcome, sentence = COSTS, f"no benefit: {best} {at}; the synthetic images cost AP"
    else:
        outcome, sentence = NOT_SHOWN, f"no benefit shown: {best} {at}, with the {best.name} set"
    if chosen:
        sentence += f" (of {', '.join(tuning)}, val chose {chosen})"
    if not_drawn:
        words = [f"{name} {found} of {count}" for name, found, count in not_drawn]
        sentence += f"; not drawn: {', '.join(words)} found"
    return Verdict(outcome, sentence, tuple(effects), level, tuple(not_drawn), chosen)


def _signed(value: float, plus: bool = True) -> str:
    """Format with one decimal and a true minus sign; a plus sign too if asked for."""
    text = f"{abs(value):.1f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+" if plus else "") + text
