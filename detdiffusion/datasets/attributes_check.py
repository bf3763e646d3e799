"""Whether an attributes file belongs to a labelled set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.datasets.object_digests import digests_of_files
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.findings import Finding

_AGAIN = "create it again with tools/extract_attributes.py from the files in use"


def attributes_findings(path: str | Path, ann_files: Sequence[str | Path]) -> list[Finding]:
    """Compare an attributes file with the objects of COCO jsons; it may be for one of them or for all.

    Args:
        path: the attributes file.
        ann_files: jsons of the splits of a set.
    """
    if not ann_files:
        return [
            Finding(
                str(path),
                "",
                "attributes belong to the annotation ids of COCO jsons, and this set has none",
                remedy="convert it by to_coco.py and check the result",
            )
        ]
    try:
        file = AttributesFile.read(path)
    except UserError as error:
        return [Finding(str(path), "", "cannot be used", remedy=str(error))]
    reasons, covered, total = [], 0, 0
    for ann_file in ann_files:
        digests = digests_of_files([ann_file])
        has = [key for key in digests if key in file.attributes]
        if not has:
            continue
        if reason := file.misfit(has, [ann_file], [digests[key] for key in has]):
            reasons.append(reason)
            continue
        covered, total = covered + len(has), total + len(digests)
    if not covered:
        problem = reasons[0] if reasons else "has no attribute of any object of this set"
        return [Finding(str(path), "", problem, remedy=_AGAIN)]
    absent = total - covered
    if absent:
        problem = f"lacks the attributes of {absent} of {total} objects"
        return [Finding(str(path), "", problem, remedy=_AGAIN)]
    extra = len(file.attributes) - covered
    problem = f"belongs to this set: {covered} attributes"
    problem += f", {extra} more are for other objects" if extra else ""
    return [Finding(str(path), "", problem, severity="note")]
