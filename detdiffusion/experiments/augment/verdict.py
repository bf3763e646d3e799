"""The answer of a run in one sentence: the change of AP with its interval, and what follows from it.

Rules:

* A difference is the learner's AP in an arm minus its AP on real images alone, after equally many iterations, paired by
  seed, on the test images.
* Its interval is Student's t over the seeds. With several arms the level is raised (Bonferroni), so that all intervals
  hold together with 95 %: looking at several arms and taking the best is allowed.
* Where there are labelled images beside the training and test images, they choose the arm: the one whose detectors
  have the highest mean AP on them. The test images then judge this arm alone, at 95 %.
* An arm helps if its interval lies above 0; the one with the largest mean is recommended. If all intervals lie below 0,
  all of them cost AP. Otherwise no benefit is shown, and the arm with the largest mean is quoted.
* Where copy-paste is an arm, the sentence also says what the best arm with generated images changes beside copy-paste
  alone, which needs no generator: the one that the tuning split prefers, at 95 %, or the one with the largest mean on
  the test images, with a level that holds for all such arms together.
* One seed has no interval, nor have seeds that all differ by the same (AP is logged with three decimals); then there is
  no answer.
* A class is not drawn if a detector finds less than a tenth as large a share of its objects in the generated images as
  in the real images of the same layouts, of at least ten objects.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detdiffusion.evaluation.effects import Effect, effects_of
from detdiffusion.experiments.common_steps import AUTOENCODER

from .arms import COPY_PASTE, Arm

ENOUGH_OBJECTS = 10
NOT_DRAWN = 0.1

HELPS, COSTS, NOT_SHOWN, NO_ANSWER = "helps", "costs", "not shown", "no answer"


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        outcome: one of the four words above.
        sentence: the answer for people.
        effects: the arms that the test images judge.
        level: level of each interval.
        not_drawn: (class, found, prompted) of classes that are not drawn.
        chosen: the arm that a tuning split chose; None if the test images judge all of them.
        over_copy_paste: what the best arm with generated images changes beside copy-paste alone; None where there is no
            such comparison.
    """

    outcome: str
    sentence: str
    effects: tuple[Effect, ...]
    level: float
    not_drawn: tuple[tuple[str, int, int], ...]
    chosen: str | None = None
    over_copy_paste: Effect | None = None


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
    arms: Mapping[str, Arm],
    tuning: Mapping[str, Sequence[float]] | None = None,
) -> Verdict:
    """Apply the rules.

    Args:
        differences: see :func:`effects_of`.
        consistency: see :func:`classes_not_drawn`.
        arms: the arms by name.
        tuning: AP over the seeds on the tuning split, by arm; None if there is no such split.
    """
    judged, chosen = differences, None
    if tuning:
        chosen = max(tuning, key=lambda name: statistics.fmean(tuning[name]))
        judged = {chosen: differences[chosen]}
    effects, level = effects_of(judged)
    not_drawn = classes_not_drawn(consistency)
    known = [effect for effect in effects if effect.low is not None]
    best = max(known or effects, key=lambda effect: effect.mean)
    seeds = min(effect.seeds for effect in effects)
    at = f"at equal iterations, {seeds} seed{'s' if seeds > 1 else ''}"
    if not known:
        outcome, sentence = NO_ANSWER, f"no answer: {best} {at}, which has no interval; use 3 seeds or more"
    elif helping := [effect for effect in known if effect.low > 0]:
        best = max(helping, key=lambda effect: effect.mean)
        outcome, sentence = HELPS, f"{best} {at}: use {arms[best.name].advice}"
    elif len(known) == len(effects) and all(effect.high < 0 for effect in known):
        outcome, sentence = COSTS, f"no benefit: {best} {at}; it costs AP to use {arms[best.name].advice}"
    else:
        outcome, sentence = NOT_SHOWN, f"no benefit shown: {best} {at}, with {arms[best.name].advice}"
    over = _over_copy_paste(differences, arms, tuning)
    if over and outcome != NO_ANSWER:
        of_arm = "" if over.name == best.name else f"{arms[over.name].advice} "
        sentence += f"; {of_arm}over copy-paste alone {over}"
    if chosen:
        sentence += f" (of {', '.join(tuning)}, val chose {chosen})"
    if not_drawn:
        words = [f"{name} {found} of {count}" for name, found, count in not_drawn]
        sentence += f"; not drawn: {', '.join(words)} found"
    return Verdict(outcome, sentence, tuple(effects), level, tuple(not_drawn), chosen, over)


def _over_copy_paste(
    differences: Mapping[str, Sequence[float]],
    arms: Mapping[str, Arm],
    tuning: Mapping[str, Sequence[float]] | None,
) -> Effect | None:
    generated = [name for name in differences if arms[name].generated]
    if COPY_PASTE not in differences or not generated:
        return None
    if tuning:
        generated = [max(generated, key=lambda name: statistics.fmean(tuning[name]))]
    pairs = {name: zip(differences[name], differences[COPY_PASTE], strict=True) for name in generated}
    effects, _ = effects_of({name: [a - b for a, b in pairs[name]] for name in generated})
    return max(effects, key=lambda effect: effect.mean)
