"""Figures of few real images in the README and in docs, from their records."""

import re
import statistics

from pages import (
    README,
    RESULTS,
    change,
    page,
    percent,
    percent_of,
    read,
    signed,
    table,
    tables,
    text_of,
)
from scipy import stats

from detdiffusion.experiments.low_data.table import markdown, read_results, table_rows
from detdiffusion.experiments.low_data.worth import copy_paste_curve, worth

BEST = "sample-falling-copy-paste"
"""The arm that the tuning seeds chose."""
LEARNERS = {"ATSS": "atss", "Faster R-CNN": "faster-rcnn"}
SEEDS = range(21, 26)


def rows_of(learner, look="dusk"):
    """Rows of the benchmark's table by number of images and arm."""
    rows = table_rows(read_results(RESULTS / "low-data"))
    return {
        (row["images"], row["arm"]): row for row in rows if (row["learner"], row["look"]) == (learner, look)
    }


def arm_of(images, arm, learner="atss", look="dusk"):
    """An arm's row of the jobs by seed, as text."""
    jobs = {str(s): read(RESULTS / f"low-data/{look}-{images}/{s}/result.json")["arms"] for s in SEEDS}
    return {seed: arms[arm][learner] for seed, arms in jobs.items() if arm in arms}


def over(arm, other):
    """The change from one arm to another over the seeds that both have, with its p."""
    seeds = [seed for seed in arm if seed in other]
    assert len(seeds) > 2
    return change(
        dict(arm={seed: arm[seed] for seed in seeds}, other={seed: other[seed] for seed in seeds}),
        "arm",
        "other",
    )


def interval(row):
    return f"{row['gain']:+.1f} [{row['low']:.1f}, {row['high']:.1f}]".replace("-", "−")


def test_few_real_images():
    folder = RESULTS / "low-data"
    expected = markdown(table_rows(read_results(folder)))
    assert (folder / "table.md").read_text() == expected + "\n"
    ((header, rows),) = tables(expected)
    shown_header, shown = table(page("few_images"), "| look | real images | learner | arm |")
    columns = [header.index(name) for name in shown_header]
    found = [read(path)["near_copies"] for path in sorted(folder.glob("dusk-100/*/result.json"))]
    copies = [one.pop("from-real-hard") for one in found]
    spans = {
        measure: " to ".join(f"{100 * share:.0f}" for share in sorted(one[measure] for one in copies))
        for measure in ("features", "pixels")
    }
    text = " ".join(page("few_images").split())
    assert f"({spans['features']} % by the features of the detector, {spans['pixels']} % by pixels)" in text
    for one in found:
        new = {name: shares for name, shares in one.items() if name not in ("origin", "easy", "hard")}
        assert len(new) > 3 and all(shares["features"] < 0.01 for shares in new.values())
    assert [[cell.strip("`") for cell in row] for row in shown] == [[row[k] for k in columns] for row in rows]


def test_what_came_out():
    _, shown = table(page("few_images"), "| look | real images | detector |")
    assert len(shown) == 5
    for look, images, detector, *values in shown:
        rows = {arm: row for (n, arm), row in rows_of(LEARNERS[detector], look).items() if n == int(images)}
        arms = ("real", "copy-paste", BEST, "oracle")
        found = [f"{rows[arm]['bbox_mAP']:.1f}" for arm in arms]
        assert values == [*found[:3], interval(rows[BEST]["over_copy_paste"]), *found[3:]]
        assert all(len(rows[arm]["seeds"]) == 5 for arm in arms)
    first, second = (f"{100 * rows_of('atss', look)[50, BEST]['share']:.0f} %" for look in ("dusk", "xray"))
    assert f"has {first} (`dusk`) and {second} (`xray`) of the gain of 1,000" in text_of("few_images")


def test_worth_of_the_arm():
    row = rows_of("atss")[50, BEST]
    curve = copy_paste_curve(list(rows_of("atss").values()))
    low, high = (worth(dict(curve)[50] + row["over_copy_paste"][end], curve) for end in ("low", "high"))
    shown = f"as good as {row['worth']:.0f} real images with copy-paste ({low:.0f} to {high:.0f} by"
    assert shown in text_of("few_images")
    assert f"50 scenes then equal {row['worth']:.0f} with copy-paste alone" in " ".join(README.split())


def test_the_labelled_scenes_of_the_layout_checkpoint():
    found, first = (
        read(RESULTS / f"low-data/{name}_2026-11-27.json") for name in ("labelled_looks", "pretrained")
    )
    scenes, later, alone = found["results"], first["results"], percent_of(first["before"])
    pasted, best = arm_of(50, "copy-paste"), arm_of(50, BEST)
    _, rows = table(page("few_images"), "| training of the detector |")
    expected = [*map(percent_of, (pasted, scenes, best)), alone, percent_of(later["copy-paste"])]
    assert [row[1] for row in rows] == [*expected, percent_of(later[BEST])]
    text = text_of("few_images")
    assert f"the scenes gain {over(scenes, pasted)[0]} AP over copy-paste" in text
    assert f"the generated images {over(best, scenes)[0]} more than the scenes" in text
    before = first["before"]
    assert f"detector they are {over(later[BEST], later['copy-paste'])[0]} AP above copy-paste" in text
    kept, lost = (over(later[arm], before)[0] for arm in (BEST, "copy-paste"))
    assert f"but {kept} beside the detector as it was, and copy-paste {lost}." in text
    assert f"of the generator's own 12,000 labelled scenes has {alone}" in " ".join(README.split())


def test_hard_images_beside_easy_ones():
    _, rows = table(page("few_images"), "| real images | detector | easy |")
    assert len(rows) == 4
    for images, detector, *values in rows:
        easy, hard = (arm_of(images, arm, LEARNERS[detector]) for arm in ("easy", "hard"))
        assert values == [percent_of(easy), percent_of(hard), over(hard, easy)[0]]


def test_few_real_images_in_the_readme():
    few = read(RESULTS / "bccd_few_2026-11-27.json")["photographs"]["50"]["arms"]
    many = read(RESULTS / "bccd_205_2026-11-27.json")["arms"]
    _, shown = table(README, "| real images | real only |")
    assert len(shown) == 4
    for what, *values in shown:
        if scenes := re.fullmatch(r"(\d+) scenes, (\w+)", what):
            rows = rows_of("atss", scenes[2])
            found = [rows[int(scenes[1]), arm] for arm in ("real", "copy-paste", BEST, "oracle")]
            assert values == [f"{row['bbox_mAP']:.1f}" for row in found]
            assert {len(row["seeds"]) for row in found} == {5}
        else:
            arms = ("real", "copy-paste", "sample-copy-paste")
            assert what == "50 blood cells" and values == [*(percent_of(few[arm]) for arm in arms), "–"]
    text = " ".join(README.split())
    gains = [change(arms, "sample-copy-paste", "copy-paste")[0] for arms in (few, many)]
    assert f"over copy-paste {gains[0]} with 50 photographs" in text and f"{gains[1]} with 205" in text
    second = rows_of("atss", "xray")[50, BEST]["over_copy_paste"]["gain"]
    assert f"{second:+.1f} in a second look" in text


def test_few_real_images_at_equal_minutes():
    """The arms beside it are those of the jobs; the test is SciPy's."""
    record, text = read(RESULTS / "low-data/equal_minutes_2026-11-27.json"), text_of("few_images")
    best, pasted = arm_of(50, BEST), arm_of(50, "copy-paste")
    times = {seed: best[seed]["seconds_in_all"] / pasted[seed]["seconds_in_all"] for seed in best}
    assert record["times_the_minutes"] == {seed: round(ratio, 2) for seed, ratio in times.items()}
    assert f"the arm takes {min(times.values()):.1f} to {max(times.values()):.1f} times the minutes" in text
    alone = record["copy_paste_3000"]
    gain, p = over(best, alone)
    shown = f"has {percent_of(alone)} AP with 50 images where `{BEST}` has {percent_of(best)} after 500"
    assert shown in text and f"{gain} AP over {len(alone)} seeds, p = {p}" in text
    assert f"{gain.split()[0]} at equal minutes" in README


def test_few_and_more_real_images_in_the_readme():
    redrawn, text = [rows_of("atss")[200, arm] for arm in ("origin", "easy", "hard")], text_of("few_images")
    assert all(row["low"] > 0 and len(row["seeds"]) == 5 for row in redrawn)
    first, second, third = (f"{row['gain']:.1f}" for row in redrawn)
    assert f"(200 images: {first}, {second} and {third}, each over zero in five seeds)" in text
    edited, pasted = (arm_of(200, arm) for arm in ("edited-origin", "copy-paste"))
    assert f"with 200 it gains {over(pasted, edited)[0].lstrip('+')} AP more" in text
    few, many = (rows_of("atss")[images, BEST]["over_copy_paste"]["gain"] for images in (50, 200))
    words = " ".join(README.split())
    assert f"{few:+.1f} AP over copy-paste" in words and f"With 200 scenes {many:+.1f}." in words
    few, many = (rows_of("faster-rcnn")[images, BEST]["over_copy_paste"]["gain"] for images in (50, 200))
    assert f"Faster R-CNN gains {few:+.1f} with 50 scenes and loses {-many:.1f} with 200" in words


def test_redrawn_layouts_of_faster_rcnn():
    rows, text = rows_of("faster-rcnn"), text_of("few_images")
    gains = {n: [rows[n, arm]["gain"] for arm in ("origin", "easy", "hard")] for n in (50, 200)}
    assert {f"{gain:+.1f}" for gain in gains[50]} == {"+1.0"}
    low, high = map(signed, (max(gains[200]), min(gains[200])))
    expected = f"+1.0 AP with 50 images by any strategy, and {low} to {high} with 200, none"
    assert expected in text
    jobs_of = {
        n: [read(RESULTS / f"low-data/dusk-{n}/{seed}/result.json")["arms"] for seed in SEEDS]
        for n in (50, 200)
    }
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
    _, rows = table(page("few_images"), "| arm, 100 images |")
    shown = {row[0].strip("`"): row[1:] for row in rows}
    assert shown == {arm: [percent(one) for one in seeds.values()] for arm, seeds in found["results"].items()}
    means = {
        arm: statistics.fmean(one["bbox_mAP"] for one in seeds.values())
        for arm, seeds in found["results"].items()
    }
    assert max(means, key=means.get) == BEST


def test_further_figures_of_few_real_images():
    text = text_of("few_images")
    found = read(RESULTS / "low-data/further_2026-11-26.json")
    short, long = found["longer_training"]["results"]["100 images, seed 13"].values()
    real, pasted, more = (
        f"{percent(short[arm])} → {percent(long[arm])}" for arm in ("real", "copy-paste", "oracle")
    )
    assert f"give real images alone {real}, copy-paste {pasted} and further real images {more}." in text
    gains = [
        f"{100 * (run['edited-copy-paste']['bbox_mAP'] - run['copy-paste']['bbox_mAP']):+.1f}"
        for run in found["longer_training"]["results"]["50 images, seed 21"].values()
    ]
    assert f"are {gains[1]} AP above copy-paste alone after 1,000 iterations, {gains[0]} after 500." in text
    gated = {arm: percent(row) for arm, row in found["gated"]["results"].items()}
    assert f"{gated['edited-gated']} AP for {gated['edited-origin']} without, and " in text
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
    text, found = text_of("few_images"), read(RESULTS / "low-data/gate_2026-11-27.json")["results"]
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
