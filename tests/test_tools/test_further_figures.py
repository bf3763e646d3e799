"""Figures of few real images in the README and in docs, from their records."""

import re
import statistics

from pages import README, RESULTS, change, page, percent, percent_of, read, signed, table, tables, text_of
from scipy import stats

from detdiffusion.experiments.low_data.table import markdown, read_results, table_rows

BEST = "sample-falling-copy-paste"
"""The arm that the tuning seeds chose."""


def rows_of(learner):
    """Rows of the benchmark's table by number of images and arm."""
    rows = table_rows(read_results(RESULTS / "low-data"))
    return {(row["images"], row["arm"]): row for row in rows if row["learner"] == learner}


def interval(row):
    return f"{row['gain']:+.1f} [{row['low']:.1f}, {row['high']:.1f}]".replace("-", "−")


def test_few_real_images():
    folder = RESULTS / "low-data"
    expected = markdown(table_rows(read_results(folder)))
    assert (folder / "table.md").read_text() == expected + "\n"
    ((header, rows),) = tables(expected)
    shown_header, shown = table(page("claims"), "| real images | learner | arm |")
    columns = [header.index(name) for name in shown_header]
    found = [read(path)["near_copies"] for path in sorted(folder.glob("dusk-100/*/result.json"))]
    copies = [one.pop("from-real-hard") for one in found]
    spans = {
        measure: " to ".join(f"{100 * share:.0f}" for share in sorted(one[measure] for one in copies))
        for measure in ("features", "pixels")
    }
    text = " ".join(page("claims").split())
    assert f"({spans['features']} % by the features of the detector, {spans['pixels']} % by pixels)" in text
    for one in found:
        new = {name: shares for name, shares in one.items() if name not in ("origin", "easy", "hard")}
        assert len(new) > 3 and all(shares["features"] < 0.01 for shares in new.values())
    assert [[cell.strip("`") for cell in row] for row in shown] == [[row[k] for k in columns] for row in rows]


def test_few_real_images_in_the_readme():
    rows = rows_of("atss")
    cells = read(RESULTS / "bccd_few_2026-11-27.json")["photographs"]
    _, shown = table(README, "| real images | seeds |")
    for what, seeds, *values in shown:
        count, kind = what.split(maxsplit=1)
        if kind == "scenes":
            arms = ("real", "edited-origin", "copy-paste", BEST, "oracle")
            found = [rows.get((int(count), arm)) for arm in arms]
            expected = ["–" if row is None else f"{row['bbox_mAP']:.1f}" for row in found]
            assert {len(row["seeds"]) for row in found if row} == {int(seeds)}
        else:
            trained = cells[count]["arms"]
            arms = ("real", "edited", "copy-paste", "sample-copy-paste", "oracle")
            expected = [percent_of(trained[arm]) if arm in trained else "–" for arm in arms]
            assert {len(arm) for arm in trained.values()} == {int(seeds)}
        assert values == expected, what
    (gain, _), (over, p) = (
        change(cells["50"]["arms"], "sample-copy-paste", other) for other in ("real", "copy-paste")
    )
    minutes = [cells["50"]["seconds_in_all"][arm].values() for arm in ("sample-copy-paste", "copy-paste")]
    times = round(statistics.fmean(minutes[0]) / statistics.fmean(minutes[1]))
    text = " ".join(README.split())
    assert f"blood cells (a GPU) the arm is {gain.replace(' [', ' AP [')} above real" in text
    assert f"{over}, p = {p}, above copy-paste, in {times} times its minutes" in text


def test_few_real_images_at_equal_minutes():
    """The arms beside it are those of the jobs; the test is SciPy's."""
    record, text = read(RESULTS / "low-data/equal_minutes_2026-11-27.json"), text_of("claims")
    jobs = {seed: read(RESULTS / f"low-data/dusk-50/{seed}/result.json")["arms"] for seed in range(21, 26)}
    times = {
        str(seed): arms[BEST]["atss"]["seconds_in_all"] / arms["copy-paste"]["atss"]["seconds_in_all"]
        for seed, arms in jobs.items()
    }
    assert record["times_the_minutes"] == {seed: round(ratio, 2) for seed, ratio in times.items()}
    assert f"takes {min(times.values()):.1f} to {max(times.values()):.1f} times the minutes" in text
    alone = record["copy_paste_3000"]
    best = {seed: jobs[int(seed)][BEST]["atss"] for seed in alone}
    gain, p = change(dict(best=best, alone=alone), "best", "alone")
    shown = f"has {percent_of(alone)} AP with 50 images where `{BEST}` has {percent_of(best)} after 500"
    assert shown in text and f"{gain} AP over {len(alone)} seeds, p = {p}" in text
    assert f"{gain.split()[0]} AP at equal minutes" in README


def test_sums_of_few_real_images():
    text = text_of("claims")
    for learner in ("atss", "faster-rcnn"):
        for (images, arm), row in rows_of(learner).items():
            if arm == BEST and images != 100:
                gains = f"{interval(row)} AP, {interval(row['over_copy_paste'])} over copy-paste alone"
                assert re.search(rf"with {images} images:? {re.escape(gains)}", text), learner
    few, many = (rows_of("atss")[images, BEST] for images in (50, 200))
    assert f"as much as {few['worth']:.0f} real images" in text
    drawn_again = [rows_of("atss")[200, arm] for arm in ("origin", "easy", "hard")]
    assert all(row["low"] > 0 and len(row["seeds"]) == 5 for row in drawn_again)
    first, second, third = (f"{row['gain']:.1f}" for row in drawn_again)
    assert f"(200 images: {first}, {second} and {third}, each over zero in five seeds)" in text
    assert f"50 scenes are then worth {few['worth']:.0f} real ones" in README
    assert f"{few['over_copy_paste']['gain']:+.1f} AP over copy-paste" in README
    assert f"with 200 scenes {many['over_copy_paste']['gain']:+.1f}" in README
    few, many = (rows_of("faster-rcnn")[images, BEST]["over_copy_paste"]["gain"] for images in (50, 200))
    assert f"Faster R-CNN gains {few:+.1f} with 50 scenes and loses {-many:.1f} with 200" in " ".join(
        README.split()
    )


def test_redrawn_layouts_of_faster_rcnn():
    rows, text = rows_of("faster-rcnn"), text_of("claims")
    gains = {n: [rows[n, arm]["gain"] for arm in ("origin", "easy", "hard")] for n in (50, 200)}
    assert {f"{gain:+.1f}" for gain in gains[50]} == {"+1.0"}
    low, high = map(signed, (max(gains[200]), min(gains[200])))
    jobs_of = {
        n: [read(RESULTS / f"low-data/dusk-{n}/{seed}/result.json")["arms"] for seed in range(21, 26)]
        for n in (50, 200)
    }
    arms = {
        arm: {k: job[arm]["faster-rcnn"] for k, job in enumerate(jobs_of[200])}
        for arm in ("easy", "hard", "origin", BEST)
    }
    assert max(gains[200]) == rows[200, "easy"]["gain"]
    over = change(arms, BEST, "easy")[0]
    expected = f"give it +1.0 AP with 50 images, by any strategy, and {low} to {high} with 200, none"
    assert expected in text and f"the arm is, with 200, {over} above the best of them" in text
    tests = [
        stats.ttest_rel(
            *([100 * job[arm]["faster-rcnn"]["bbox_mAP"] for job in jobs_of[n]] for arm in (one, "real"))
        )
        for n in jobs_of
        for one in ("origin", "easy", "hard")
    ]
    assert min(found.pvalue for found in tests) * len(tests) > 0.05  # clear of chance, counted together


def test_tuning_of_few_real_images():
    found = read(RESULTS / "low-data/tuning_2026-11-27.json")
    _, rows = table(page("claims"), "| arm, 100 images |")
    shown = {row[0].strip("`"): row[1:] for row in rows}
    assert shown == {arm: [percent(one) for one in seeds.values()] for arm, seeds in found["results"].items()}
    means = {
        arm: statistics.fmean(one["bbox_mAP"] for one in seeds.values())
        for arm, seeds in found["results"].items()
    }
    assert max(means, key=means.get) == BEST


def test_further_figures_of_few_real_images():
    text = text_of("claims")
    found = read(RESULTS / "low-data/further_2026-11-26.json")
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


def test_ignoring_what_the_detector_misses():
    text, found = text_of("claims"), read(RESULTS / "low-data/gate_2026-11-27.json")["results"]
    kept = {
        seed: read(RESULTS / f"low-data/dusk-50/{seed}/result.json")["arms"][BEST]["atss"] for seed in found
    }
    arms = dict(ignored=found, kept=kept)
    assert (
        f"has {percent_of(found)} AP in place of {percent_of(kept)}, {change(arms, 'ignored', 'kept')[0]} over"
        in text
    )
    shares = sorted(one["objects"]["missed"] / sum(one["objects"].values()) for one in found.values())
    assert f"misses {100 * shares[0]:.0f} to {100 * shares[-1]:.0f} % of the generated objects" in text
