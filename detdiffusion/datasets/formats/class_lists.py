"""Comparing the class lists of a data set's splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from detdiffusion.datasets.class_names import class_list, similar
from detdiffusion.utils.errors import UserError, some


def common_classes(
    lists: Mapping[str, Sequence[str]],
    where: str,
    asked: Sequence[str] | None = None,
    ignored: Collection[str] = (),
) -> list[str]:
    """Return the classes of a data set, in the order of its first split.

    Args:
        lists: split -> its class names; the order may differ.
        where: the data set, used in error messages.
        asked: classes to keep instead, in this order; splits may then differ.
        ignored: names that splits may lack.

    Raises:
        UserError: if splits differ in their classes, or no split has a class of ``asked``.
    """
    known = list(dict.fromkeys(name for names in lists.values() for name in names))
    if asked:
        asked = class_list(asked, "`classes`")
        wrong = [f"{name!r} ({similar(name, known)})" for name in asked if name not in known]
        if wrong:
            raise UserError(f"{where}: `classes`: no category is called {', '.join(wrong)}")
        return asked
    common = [name for name in known if all(name in names for names in lists.values())]
    apart = {
        split: [n for n in names if n not in common and n not in ignored] for split, names in lists.items()
    }
    if any(apart.values()):
        differing = [name for name in known if name not in common and name not in ignored]
        shown = "; ".join(
            f"{split} lacks {some(lacking, 8)}"
            for split, names in lists.items()
            if (lacking := [f"{name!r}" for name in differing if name not in names])
        )
        raise UserError(
            f"{where}: its splits have different classes: {shown}; rename them, or name those to keep by `classes`"
        )
    return known
