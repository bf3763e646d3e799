"""Figures of few real images, of blood cells and of other photographs in the README and docs, from their records."""

import re
import statistics

from pages import DOCS, README, RESULTS, ROOT, ap, read, table, tables
from scipy import stats

from detdiffusion.experiments.low_data.table import markdown, read_results, table_rows

BEST = "sample-falling-copy-paste"
"""The arm that the tuning seeds chose."""


def page(name):
    return DOCS[name].read_text()


def text_of(name):
    return " ".join(page(name).split())


def percent(row):
    return f"{100 * row['bbox_mAP']:.1f}"


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
    (gain, p), (over, _) = (
        change(cells["50"]["arms"], "sample-copy-paste", other) for other in ("real", "copy-paste")
    )
    assert (
        f"50 photographs of blood cells, gains {gain.replace(' [', ' AP [')}, p = {p}, and {over} over copy-paste"
        in " ".join(README.split())
    )


def aps(seeds):
    return [100 * one["bbox_mAP"] for one in seeds.values()]


def percent_of(seeds):
    return f"{statistics.fmean(aps(seeds)):.1f}"


def change(arms, arm, other):
    """Mean difference with its 95 % interval over seeds, and p, as text."""
    found = stats.ttest_rel(aps(arms[arm]), aps(arms[other]))
    low, high = found.confidence_interval(0.95)
    mean = statistics.fmean(aps(arms[arm])) - statistics.fmean(aps(arms[other]))
    p = "< 0.001" if found.pvalue < 0.001 else f"{found.pvalue:.3f}"
    return f"{mean:+.1f} [{low:.1f}, {high:.1f}]".replace("-", "−"), p


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
    alone = {int(seed): one["bbox_mAP"] for seed, one in record["copy_paste_3000"].items()}
    best = {seed: jobs[seed][BEST]["atss"]["bbox_mAP"] for seed in alone}
    found = stats.ttest_rel([*best.values()], [*alone.values()])
    ends = [100 * end for end in found.confidence_interval(0.95)]
    means = [100 * statistics.fmean(one.values()) for one in (alone, best)]
    assert f"has {means[0]:.1f} AP with 50 images where `{BEST}` has {means[1]:.1f} after 500" in text
    interval = f"{means[1] - means[0]:+.1f} [{ends[0]:.1f}, {ends[1]:.1f}]".replace("-", "−")
    p = "p < 0.001" if found.pvalue < 0.001 else f"p = {found.pvalue:.3f}"
    assert f"{interval} AP over {len(alone)} seeds, {p}" in text
    assert f"{means[1] - means[0]:+.1f} AP at equal minutes" in README


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
