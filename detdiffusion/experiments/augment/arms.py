"""The arms of a run: what the learner is trained on beside the real images alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

REAL = "real"
"""The arm of the real images alone, which all others are compared with."""
COPY_PASTE = "copy-paste"
"""The arm of the real images with objects of others pasted in."""


@dataclass(frozen=True)
class SyntheticSet:
    """How a synthetic training set is drawn.

    Attributes:
        strategy: strategy of its attributes.
        edits: edits of its layouts, see ``tools/generate.py --edit``.
        layouts: source of new layouts, see ``tools/generate.py --layouts``; None keeps those of the images.
    """

    strategy: str = "origin"
    edits: Mapping[str, float] = field(default_factory=dict)
    layouts: str | None = None

    @property
    def of_single_images(self) -> bool:
        """Whether each of its layouts comes from a single image, so that halves of the images have halves of it."""
        return self.layouts is None


SETS: Mapping[str, SyntheticSet] = MappingProxyType(
    {
        "hard": SyntheticSet("hard"),
        "edited": SyntheticSet(edits={"flip": 0.5, "jitter": 0.1}),
        "recompose": SyntheticSet(layouts="recompose"),
        "sample": SyntheticSet(layouts="sample"),
    }
)


@dataclass(frozen=True)
class Arm:
    """An arm.

    Attributes:
        name: its name.
        generated: name of its synthetic set, with the number of its round; None for an arm without.
        copy_paste: whether objects of other images are pasted into the real images.
    """

    name: str
    generated: str | None = None
    copy_paste: bool = False

    @property
    def config(self) -> str:
        """Name of the config that trains it."""
        return f"detector{'_mixed' if self.generated else ''}{'_copy-paste' if self.copy_paste else ''}"

    @property
    def title(self) -> str:
        """What it trains on, in words."""
        images = f"real + {self.generated}" if self.generated else "real"
        return f"{images}, copy-paste" if self.copy_paste else images

    @property
    def advice(self) -> str:
        """What to use where it helps, in words."""
        parts = [f"the {self.generated} set"] if self.generated else []
        return " and ".join([*parts, *([COPY_PASTE] if self.copy_paste else [])])


ARMS = (*SETS, COPY_PASTE, *(f"{name}-{COPY_PASTE}" for name in SETS))
"""Names of all arms."""
DEFAULT_ARMS = (COPY_PASTE, f"edited-{COPY_PASTE}", f"sample-{COPY_PASTE}")
"""The cheap one, and those beside it that gained most where real images are few (docs/claims.md)."""


def set_of(arm: str) -> str | None:
    """Return the name of an arm's synthetic set; None without one."""
    return None if arm == COPY_PASTE else arm.removesuffix(f"-{COPY_PASTE}")


def learned_kind(arms: Sequence[str]) -> str | None:
    """Return the first synthetic set of some arms whose layouts come from single images; None without one."""
    return next((name for name in map(set_of, arms) if name and SETS[name].of_single_images), None)


def arms_of(names: Sequence[str], rounds: Sequence[int]) -> list[Arm]:
    """Return the arms of a run, those of each round; arms without generated images only once.

    Args:
        names: names in :data:`ARMS`.
        rounds: numbers of the rounds.
    """
    arms = []
    for number in rounds:
        for name in dict.fromkeys(names):
            generated = set_of(name)
            copies = name.endswith(COPY_PASTE)
            if generated:
                arms.append(Arm(in_round(name, number), in_round(generated, number), copies))
            elif number == rounds[0]:
                arms.append(Arm(name, copy_paste=copies))
    return arms


def in_round(name: str, number: int) -> str:
    """Return the name of something of a round, which those of the first round have without its number."""
    return name if number == 1 else f"{name}-{number}"
