"""Base class of targets: one tool, its intact input, the damage, and the expected result."""

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
        name: name of the target in tables and ``--tool``.
        tool: file in ``tools/``.
        imports: modules that the tool imports late; imported once by the process that forks.
    """

    name: str
    tool: str
    imports: Sequence[str] = ()

    def load(self) -> Callable[[], None]:
        """Return the tool's ``main``."""
        return load_main(self.tool)

    def prepare(self, base: Path) -> None:
        """Write the intact input, once per session."""
        raise NotImplementedError

    def damage(self, case: Case) -> None:
        """Damage ``case.source`` and describe it in ``case.damages``."""
        raise NotImplementedError

    def arguments(self, case: Case) -> list[str]:
        """Return the tool's command line."""
        raise NotImplementedError

    def judge(self, case: Case, run: Run) -> Account:
        """Compare the output of a run with exit status 0 with the content of the damaged input."""
        raise NotImplementedError


KINDS = {
    "json": (damage_json, damage_json, damage_json, damage_json, damage_text, damage_file),
    "text": (damage_text, damage_text, damage_file),
    "lines": (damage_lines, damage_lines, damage_text, damage_file),
    "image": (damage_image,),
}


def damage_some(case: Case, kinds: dict[str, Sequence[str]], most: int = 3) -> None:
    """Damage files of the input one to ``most`` times, usually once, as more make a refusal likelier.

    Args:
        kinds: glob patterns below ``case.source``, by kind of :data:`KINDS`.
        most: maximum number of damages.
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
