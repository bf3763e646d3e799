"""One damaged input and one run of a tool on it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Case:
    """A damaged input; all of it follows from seed, tool and number.

    Attributes:
        tool: name of the target.
        number: of the case within its tool; 0 is the sound input.
        seed: of the session.
        base: the target's sound input, not to be changed.
        folder: the case's own; ``folder / "in"`` is the damaged copy, the tool writes into ``folder / "out"``.
        rng: the only source of chance.
        damages: what was done, in words.
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
    """What a tool did.

    Attributes:
        status: exit status; negative: the signal that ended it.
        output: stdout and stderr together.
        seconds: wall time.
        hung: it was stopped after the time that it had.
    """

    status: int
    output: str
    seconds: float
    hung: bool = False
