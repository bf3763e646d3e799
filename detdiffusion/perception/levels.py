"""Levels of difficulty: bins of the continuous score (highest IoU * score of any prediction)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detdiffusion.structures.layout import check_attribute_words
from detdiffusion.utils.errors import UserError


@dataclass(frozen=True)
class Levels:
    """Bins from the easiest to the hardest.

    Attributes:
        names: L names.
        thresholds: L - 1 descending numbers in [0, 1), or None for levels of equal size. An object belongs to the
            first level whose threshold its score exceeds, or else to the last one.

    Raises:
        UserError: a name is not a valid attribute word, there are fewer than two, or thresholds do not descend.
    """

    names: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_attribute_words((*self.names, "background"), "levels")
        if len(self.names) < 2:
            raise UserError(f"levels: at least two are needed, got {', '.join(self.names)}")
        limits = self.thresholds
        if limits is None:
            return
        descending = all(1 > a > b for a, b in zip(limits, limits[1:])) and all(0 <= t < 1 for t in limits)
        if len(limits) != len(self.names) - 1 or not descending:
            raise UserError(
                "levels: every level except the last needs a threshold in [0, 1) in descending order, as in "
                f"'easy=0.6 medium=0.3 hard'; got {', '.join(self.names)} with {list(limits)}"
            )

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Levels:
        """Parse ``['easy=0.6', 'medium=0.3', 'hard']``, or names without thresholds for levels of equal size.

        Raises:
            UserError: a threshold is not a number, or only some are given.
        """
        names, thresholds = [], []
        for text in texts:
            name, separator, value = text.partition("=")
            names.append(name)
            if separator:
                try:
                    thresholds.append(float(value))
                except ValueError:
                    raise UserError(f"levels: {text!r}: the threshold must be a number") from None
        return cls(tuple(names), tuple(thresholds) or None)

    def fitted(self, scores: np.ndarray) -> Levels:
        """Return the levels with thresholds, computed from ``scores`` (N,) for equal sizes if there are none.

        Raises:
            UserError: too many objects have the same score for levels of equal size.
        """
        if self.thresholds is not None:
            return self
        count = len(self.names)
        scores = np.asarray(scores, np.float64)
        limits: tuple[float, ...] = ()
        if len(scores):
            quantiles = np.quantile(scores, [1 - k / count for k in range(1, count)])
            limits = tuple(float(np.round(t, 6)) for t in quantiles)
        if len(set(limits)) < count - 1 or max(limits, default=1.0) >= 1:
            lowest = float((scores == 0).mean()) if len(scores) else 0.0
            raise UserError(
                f"levels: {count} equal shares of {len(scores)} objects cannot be made: {lowest:.0%} of them have "
                "score 0; give fewer levels, or thresholds as in 'easy=0.6 medium=0.3 hard'"
            )
        return Levels(self.names, limits)

    def words_of(self, scores: np.ndarray) -> np.ndarray:
        """Return the level of each of (N,) scores, as an (N,) object array of names."""
        fitted = self.fitted(scores)
        index = (np.asarray(scores)[:, None] <= np.array(fitted.thresholds)).sum(axis=1)
        return np.array(self.names, dtype=object)[index]
