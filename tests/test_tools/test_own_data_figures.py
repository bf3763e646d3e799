"""Figures of blood cells and of other photographs in docs/own_data.md, from their records."""

import re
import statistics

from pages import RESULTS, ROOT, ap, aps, change, page, percent, percent_of, read, table, text_of


def test_three_sets_from_labels_to_an_answer():
    text, (_, rows) = page("own_data"), table(page("own_data"), "| set | minutes, of")
    for row in rows:
        record = read(ROOT / "docs" / re.search(r"\]\((\S+\.json)\)", row[0])[1])
        arms = {arm["name"]: arm for arm in record["comparison"]}
        minutes = f"{record['minutes']:.0f} of {re.search('--budget ([0-9]+)', record['command'])[1]}"
        assert row[1:] == [minutes, ap(arms["real"]["bbox_mAP"]), record["sentence"]]
    cells = read(RESULTS / "augment/bccd.json")["held_out"]
    real, autoencoder, easy, hard = (
        ap(cells[name]["bbox_mAP"]) for name in ("real", "autoencoder", "easy", "hard")
    )
    text = " ".join(text.split())
    assert f"an AP of {real} on the photographs, {autoencoder} on them after the autoencoder" in text
    assert len(rows) == 3 and f"{easy} on images drawn as easy and {hard} as hard" in text


def test_blood_cells_from_few_photographs():
    text = text_of("own_data")
    record = read(RESULTS / "bccd_few_2026-11-27.json")["photographs"]
    _, shown = table(page("own_data"), "| photographs | arm |")
    rows = []
    for count, found in record.items():
        arms = found["arms"]
        for arm, seeds in arms.items():
            gain, over = (
                ("–", "–") if arm == other else change(arms, arm, other) for other in ("real", "copy-paste")
            )
            classes = [
                f"{statistics.fmean(100 * one[f'{name}_precision'] for one in seeds.values()):.1f}"
                for name in ("Platelets", "RBC", "WBC")
            ]
            minutes = statistics.fmean(found["seconds_in_all"][arm].values()) / 60
            deviation = statistics.stdev(aps(seeds))
            rows.append([count, f"`{arm}`", f"{percent_of(seeds)} ± {deviation:.1f}", *gain, over[0]])
            rows[-1] += [", ".join(classes), f"{minutes:.1f}"]
    assert shown == rows
    few, sets = record["50"]["arms"], record["50"]["sets"]
    for other in ("real", "copy-paste"):
        assert all(a > b for a, b in zip(aps(few["sample-copy-paste"]), aps(few[other])))
    assert statistics.fmean(aps(record["205"]["arms"]["edited"])) < statistics.fmean(
        aps(record["205"]["arms"]["copy-paste"])
    )
    shares = sorted(one["found"]["all"] for found in sets.values() for one in found.values())
    platelets = sorted(one["found"]["Platelets"] for one in sets["sample"].values())
    for words, found in (("of the prompted objects in", shares), ("of the platelets", platelets)):
        assert f"{100 * found[0]:.0f} to {100 * found[-1]:.0f} % {words}" in text
    copies = [
        run["near_copies"]
        for found in record.values()
        for runs in found["sets"].values()
        for run in runs.values()
        if "near_copies" in run
    ]
    assert len(copies) == 11 and not any(one["features"] for one in copies)
    assert f"up to {100 * max(one['pixels'] for one in copies):.1f} % of a set by pixels" in text
    minutes = {arm: statistics.fmean(one.values()) for arm, one in record["50"]["seconds_in_all"].items()}
    ratios = [minutes[arm] / minutes["copy-paste"] for arm in ("edited", "sample-copy-paste")]
    assert f"takes {ratios[0]:.1f} to {ratios[1]:.1f} times the minutes of copy-paste" in text


def test_blood_cells_with_50_photographs():
    text, record = text_of("own_data"), read(RESULTS / "augment/bccd_50.json")
    arms = {arm["name"]: percent(arm) for arm in record["comparison"]}
    assert len(record["photographs"]) == 50 and record["schedule"]["detector_iters"] == 128
    assert (
        f"real {arms['real']}, edited {arms['edited']}, copy-paste {arms['copy-paste']}, "
        f"both {arms['edited-copy-paste']}, and" in text
    )
    assert record["sentence"].split("; the edited set")[0] in text
    assert max(record["differences"]["edited-copy-paste"]) < 0
    real, autoencoder, easy = (percent(record["held_out"][name]) for name in ("real", "autoencoder", "easy"))
    assert (
        f"(real images {real} AP on held-out layouts, {autoencoder} after the autoencoder, {easy} drawn"
        in text
    )
