"""One damaged input and one run of a tool on it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Case:
    """A damaged input, which is determined by seed, tool and number.

    Attributes:
        tool: name of the target.
        number: number of the case within its tool; 0 is the intact input.
        seed: seed of the session.
        base: the target's intact input, not to be changed.
        folder: folder of the case; ``folder / "in"`` is the damaged copy, the tool writes to ``folder / "out"``.
        rng: the only source of randomness.
        damages: descriptions of the damage.
    """

    tool: str
    number: int
    seed: int
    base: Path
    folder: Path
    rng: random.Random = field(init=False)
    damages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed}/{self.tool}/{self.number}")

    @property
    def name(self) -> str:
        return f"{self.tool}:{self.number}"

    @property
    def source(self) -> Path:
        return self.folder / "in"

    @property
    def out(self) -> Path:
        return self.folder / "out"


@dataclass
class Run:
    """Result of running a tool.

    Attributes:
        status: exit status; negative if a signal ended it.
        output: stdout and stderr together.
        seconds: wall time.
        hung: whether it was stopped at the time limit.
    """

    status: int
    output: str
    seconds: float
    hung: bool = False
