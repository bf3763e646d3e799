"""Figures of docs/claims.md and docs/own_data.md beside the tables, from their records."""

import json

from pages import ROOT

RESULTS = ROOT / "benchmarks/results"


def text_of(page):
    return " ".join((ROOT / f"docs/{page}.md").read_text().split())


def percent(row):
    return f"{100 * row['bbox_mAP']:.1f}"


def test_further_figures_of_few_real_images():
    text = text_of("claims")
    found = json.loads((RESULTS / "low-data/further_2026-11-26.json").read_text())
    short, long = found["longer_training"]["results"]["100 images, seed 13"].values()
    real, pasted, more = (
        f"{percent(short[arm])} → {percent(long[arm])}" for arm in ("real", "copy-paste", "oracle")
    )
    assert f"(100 images, seed 13) {real}." in text
    assert f"copy-paste ({pasted}) and further real images ({more})" in text
    gains = [
        f"{100 * (run['edited-copy-paste']['bbox_mAP'] - run['copy-paste']['bbox_mAP']):+.1f}"
        for run in found["longer_training"]["results"]["50 images, seed 21"].values()
    ]
    assert f"are {gains[1]} AP above copy-paste alone after 1,000 iterations, {gains[0]} after 500." in text
    gated = {arm: percent(row) for arm, row in found["gated"]["results"].items()}
    assert f"{gated['edited-gated']} AP for {gated['edited-origin']}, and " in text
    assert f"{gated['edited-gated-copy-paste']} for {gated['edited-copy-paste']} with copy-paste" in text
    short, low, long = found["held_out"]["results"].values()
    for steps, run in (("400", short), ("1,600", long)):
        sets, gap = run["sets"], run["bootstrap"]["easy - hard"]
        cells = [
            percent(sets[name]) if name in sets else "–"
            for name in ("real", "autoencoder", "easy", "origin", "hard")
        ]
        interval = " [".join(
            f"{100 * gap[key]:{form}}" for key, form in (("difference", "+.1f"), ("low", ".1f"))
        )
        assert f"| {steps} steps | {' | '.join(cells)} | {interval}, {100 * gap['high']:.1f}] |" in text
    easy = ", ".join(percent(low["sets"][f"easy-{scale}"]) for scale in ("1.0", "1.5", "2.0"))
    assert f"(easy {easy} with 1, 1.5, 2)" in text
    short, long = found["longer_generator"]["results"].values()
    assert f"reach {percent(long['edited-copy-paste'])} AP for {percent(short['edited-copy-paste'])}" in text
    assert f"alone {percent(long['edited-origin'])} for {percent(short['edited-origin'])}" in text


def test_arms_of_the_blood_cells():
    text = text_of("own_data")
    arms = json.loads((RESULTS / "bccd_arms_2026-11-26.json").read_text())["arms"]
    real, edited, ungated, pasted, both = (
        percent(arms[arm]["0"])
        for arm in ("real", "edited", "edited, not gated", "copy-paste", "edited-copy-paste")
    )
    assert (
        f"real {real}, edited {edited}, edited without the gate {ungated}, copy-paste by boxes {pasted}"
        in text
    )
    assert f"edited and copy-paste {both}." in text
