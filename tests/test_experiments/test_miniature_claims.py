"""The claims' figures are the paper's: each stands in its table, row and column."""

import re

import pytest

from detdiffusion.evaluation.paper_figures import TABLES
from detdiffusion.experiments.paper.claims import CLAIMS
from detdiffusion.experiments.paper.verdicts import BESIDE

# Quantity -> row of the paper's table, by the table's number. These are the experiments that a claim is about.
ROWS = {
    1: {"GeoDiffusion": "geodiffusion", "origin": "origin", "easy": "easy", "hard": "hard"},
    2: {
        f"Faster R-CNN, {data}": row
        for data, row in {
            "real only": "real",
            "real + GeoDiffusion": "geodiffusion",
            "real + origin": "origin",
            "real + easy": "easy",
            "real + hard": "hard",
        }.items()
    },
    4: {"GeoDiffusion": "baseline", "Attr": "attr", "easy": "attr+loss"},
    5: {
        f"{detector}, {data}": f"{detector.lower()}/{row}"
        for detector in ("FCOS", "ATSS")
        for data, row in {
            "real only": "real",
            "real + origin": "origin",
            "real + easy": "easy",
            "real + hard": "hard",
        }.items()
    },
    6: {"Attr": "yolov4", "Attr of FCOS": "faster-rcnn"},
    7: {"easy": "full", "without √ᾱ": "without-sqrt-alpha-bar", "without dice": "without-dice"},
}


def printed(number, quantity):
    (table,) = [table for table in TABLES if table.number == number]
    column = "FID" if quantity.endswith("'s distance") else "mAP"
    (row,) = [row for row in table.rows if row.key == ROWS[number][quantity.removesuffix("'s distance")]]
    return row.values[[label for label, _ in table.columns].index(column)]


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.source.startswith("Table")], ids=lambda c: c.name)
def test_figures_are_those_of_the_papers_table(claim):
    number = int(re.fullmatch(r"Table (\d)", claim.source)[1])
    for comparison in claim.comparisons:
        if comparison.paper is None:
            assert comparison.role in BESIDE, "a claim of the paper without its figures"
            continue
        sides = (comparison.higher, comparison.lower)
        assert comparison.paper == tuple(printed(number, side) for side in sides), sides


def test_the_paper_has_what_it_claims():
    for claim in CLAIMS:
        for one in claim.comparisons:
            if one.paper is not None:
                assert one.paper[0] > one.paper[1], (claim.name, one)
