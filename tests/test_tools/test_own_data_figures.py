"""Figures of blood cells and of other photographs in docs/own_data.md, from their records."""

import re
import statistics

from pages import RESULTS, ROOT, ap, aps, change, page, percent, percent_of, read, table, tables, text_of
from scipy import stats


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


def rows_of_cells(count, found):
    """Rows of a table of blood cells: the arms with as many photographs."""
    arms = found["arms"]
    for arm, seeds in arms.items():
        gain, over = (
            ("–", "–") if arm == other or other not in arms else change(arms, arm, other)
            for other in ("real", "copy-paste")
        )
        classes = [
            f"{statistics.fmean(100 * one[f'{name}_precision'] for one in seeds.values()):.1f}"
            for name in ("Platelets", "RBC", "WBC")
        ]
        minutes = statistics.fmean(found["seconds_in_all"][arm].values()) / 60
        deviation = statistics.stdev(aps(seeds))
        row = [count, f"`{arm}`", f"{percent_of(seeds)} ± {deviation:.1f}", *gain, over[0]]
        yield [*row, ", ".join(classes), f"{minutes:.1f}"]


def test_blood_cells_from_few_photographs():
    text = text_of("own_data")
    record = read(RESULTS / "bccd_few_2026-11-27.json")["photographs"]
    (_, shown), (_, again) = tables(page("own_data"), "| photographs | arm |")
    assert shown == [row for count, found in record.items() for row in rows_of_cells(count, found)]
    assert again == list(rows_of_cells("205", read(RESULTS / "bccd_205_2026-11-27.json")))
    few, sets = record["50"]["arms"], record["50"]["sets"]
    for other in ("real", "copy-paste"):
        assert all(a > b for a, b in zip(aps(few["sample-copy-paste"]), aps(few[other])))
    over = stats.ttest_rel(aps(few["sample-copy-paste"]), aps(few["copy-paste"]))
    assert f"over copy-paste p = {over.pvalue:.3f} by itself" in text and 3 * over.pvalue > 0.05
    alone = stats.ttest_rel(aps(few["edited"]), aps(few["copy-paste"])).confidence_interval(0.95)
    assert alone.low < 0  # `edited` alone is not above copy-paste
    many = record["205"]["arms"]
    assert statistics.fmean(aps(many["edited"])) < statistics.fmean(aps(many["copy-paste"]))
    platelets = [
        stats.ttest_rel(*([one["Platelets_precision"] for one in arms[arm].values()] for arm in pair))
        for arms, pair in ((few, ("sample-copy-paste", "copy-paste")), (many, ("edited", "real")))
    ]
    means = [
        f"{100 * statistics.fmean(found.confidence_interval(0.95)):.1f}".replace("-", "−")
        for found in platelets
    ]
    assert f"with 50 photographs {means[0]} AP over copy-paste by `sample-copy-paste`" in text
    assert f"with 205 {means[1]} over real by `edited`, p = {platelets[1].pvalue:.3f}" in text
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
    ratios = sorted(
        statistics.fmean(found["seconds_in_all"][arm].values())
        / statistics.fmean(found["seconds_in_all"]["copy-paste"].values())
        for found in record.values()
        for arm in found["arms"]
        if arm not in ("real", "copy-paste")
    )
    assert f"takes {ratios[0]:.1f} to {ratios[-1]:.1f} times the minutes of copy-paste" in text


def test_arms_of_the_blood_cells():
    text = text_of("own_data")
    arms = read(RESULTS / "bccd_arms_2026-11-26.json")["arms"]
    real, edited, ungated, pasted, both = (
        percent(arms[arm]["0"])
        for arm in ("real", "edited", "edited, not gated", "copy-paste", "edited-copy-paste")
    )
    assert (
        f"real {real}, edited {edited}, edited without the gate {ungated}, copy-paste by boxes {pasted}"
        in text
    )
    assert f"edited and copy-paste {both}." in text
    few, before = (read(RESULTS / f"bccd_{name}.json") for name in ("few_2026-11-27", "blueprint_2026-11-26"))
    now, then = change(few["photographs"]["205"]["arms"], "edited", "real")[0], "+2.1 AP [0.6, 3.6]"
    assert f"{now.split()[0]} AP by the edited set, not {then.split()[0]}." in text
    assert change(before["longer"]["arms"], "edited", "real")[0] == then.replace(" AP", "")


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
