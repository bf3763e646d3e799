"""What a target is: one tool, its sound input, the damage, and what must come out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from ..case import Case, Run
from ..file_damage import damage_file, damage_image
from ..json_damage import damage_json
from ..running import load_main
from ..text_damage import damage_lines, damage_text
from ..verdict import Account


class Target:
    """One tool under test.

    Attributes:
        name: of the target, in tables and in ``--tool``.
        tool: file below ``tools/``.
        imports: modules that the tool imports late; the process that forks imports them once.
    """

    name: str
    tool: str
    imports: Sequence[str] = ()

    def load(self) -> Callable[[], None]:
        """The tool's ``main``."""
        return load_main(self.tool)

    def prepare(self, base: Path) -> None:
        """Writes the sound input, once a session."""
        raise NotImplementedError

    def damage(self, case: Case) -> None:
        """Damages ``case.source``; says in ``case.damages`` what was done."""
        raise NotImplementedError

    def arguments(self, case: Case) -> list[str]:
        """The tool's command line."""
        raise NotImplementedError

    def judge(self, case: Case, run: Run) -> Account:
        """What came out of a run with exit status 0 beside what the damaged input holds."""
        raise NotImplementedError


KINDS = {
    "json": (damage_json, damage_json, damage_json, damage_json, damage_text, damage_file),
    "text": (damage_text, damage_text, damage_file),
    "lines": (damage_lines, damage_lines, damage_text, damage_file),
    "image": (damage_image,),
}


def damage_some(case: Case, kinds: dict[str, Sequence[str]], most: int = 3) -> None:
    """One to ``most`` damages of files of the input, mostly one: each more makes a refusal likelier.

    Args:
        kinds: of :data:`KINDS` -> glob patterns below ``case.source``.
        most: damages.
    """
    rng: random.Random = case.rng
    for _ in range(min(most, rng.choice([1, 1, 1, 2, 3]))):
        kind = rng.choice([kind for kind, patterns in kinds.items() for _ in patterns])
        files = sorted({p for pattern in kinds[kind] for p in case.source.glob(pattern) if p.is_file()})
        if not files:
            continue
        try:
            case.damages.append(rng.choice(KINDS[kind])(rng.choice(files), rng))
        except Exception:  # an earlier damage left nothing that this kind could change
            case.damages.append("the same file again")
