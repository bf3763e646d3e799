"""Figures of layout conditions, sampling plans and YOLOv4's parity in the docs, from their records, rounded."""

import statistics

from pages import RESULTS, ROOT, TEXTS, ap, read, table, tables

from detdiffusion.evaluation.effects import effects_of
from detdiffusion.evaluation.trainability import paired_test


def test_blueprint_on_photographs():
    record = read(RESULTS / "bccd_blueprint_2026-11-26.json")
    held_out = record["held_out"]
    (rows,) = [
        rows
        for header, rows in tables(TEXTS["generator"])
        if header == ["`layout_condition`", "AP easy", "AP hard", "easy - hard, 95 % interval"]
    ]
    for name, *cells in rows:
        found = held_out[name.strip("`")]
        gap = found["bootstrap"]["easy - hard"]
        interval = f"{ap(gap['difference'])} [{ap(gap['low'])}, {ap(gap['high'])}]"
        assert cells == [
            ap(found["sets"]["easy"]["bbox_mAP"]),
            ap(found["sets"]["hard"]["bbox_mAP"]),
            interval,
        ]
    real, bound = (ap(held_out["blueprint"]["sets"][name]["bbox_mAP"]) for name in ("real", "autoencoder"))
    assert len(rows) == 2 and f"The photographs have {real}, and {bound} after the" in TEXTS["generator"]
    text, arms = " ".join(TEXTS["own_data"].replace("−", "-").split()), record["arms"]
    for name in ("edited", "real-objects"):
        gains = [100 * (arms[name][seed]["bbox_mAP"] - arms["real"][seed]["bbox_mAP"]) for seed in arms[name]]
        assert ", ".join(f"{gain:.1f}" for gain in gains) in text, (name, gains)
    longer = record["longer"]["arms"]
    pairs = [
        tuple(100 * longer[name][seed]["bbox_mAP"] for name in ("edited", "real")) for seed in longer["real"]
    ]
    (effect,), _ = effects_of({"edited": [a - b for a, b in pairs]})
    real, edited = (statistics.fmean(values) for values in list(zip(*pairs))[::-1])
    gain = f"{effect.mean:+.1f} AP [{effect.low:.1f}, {effect.high:.1f}], p = {paired_test(pairs):.3f}"
    assert (
        f"{real:.1f} with real images and {edited:.1f} with the edited set, {gain}, {len(pairs)} seeds"
        in text
    )
    found = record["found_by_the_gate"]["edited"]["by_class"]["Platelets"]
    total = found["kept"] + found["moved"] + found["missed"]
    assert f"{found['kept']} of {total} platelets" in text


def test_sampler_sweep():
    plans = read(ROOT / "benchmarks/results/sampler_sweep_2026-11-26.json")["plans"]
    for plan in plans:
        row = f"| `{plan['name']}` | {plan['evaluations']} | {100 * plan['bbox_mAP']:.1f} | "
        if gap := plan["difference"]:
            low, high = (f"{100 * gap[end]:+.1f}" for end in ("low", "high"))
            row += f"{100 * gap['difference']:+.1f} [{low}, {high}] |"
        assert row in TEXTS["synthetic_sets"], row
    arms = read(ROOT / "benchmarks/results/sampling_plans_cpu_2026-11-26.json")["runs"][0]["arms"]
    stock, few, fast = (arms[name]["cpu_seconds"] for name in ("stock", "ours, steps=10", "ours, fast"))
    text = f"ten steps are {stock / few:.1f} times as fast, `fast` {stock / fast:.1f} times ("
    assert text in " ".join(TEXTS["synthetic_sets"].split())


def test_layout_conditions():
    found: dict[tuple, list] = {}
    for run in read(ROOT / "benchmarks/results/layout_conditions_2026-11-26.json")["runs"]:
        found.setdefault((run["condition"], run["images"]), []).append(run)
    _, rows = table(TEXTS["generator"], "| `layout_condition` | images |")
    assert len(rows) == len(found)
    for name, images, easy, hard, gaps in rows:
        runs = found[name.strip("`"), int(images.replace(",", ""))]
        for values, kind in ((easy, "easy"), (hard, "hard")):
            assert values == ", ".join(ap(run["sets"][kind]["bbox_mAP"]) for run in runs)
        gap = [run["bootstrap"]["easy - hard"] for run in runs]
        assert gaps == "; ".join(f"{ap(g['difference'])} [{ap(g['low'])}, {ap(g['high'])}]" for g in gap)


def test_parity_of_yolov4():
    (path,) = RESULTS.glob("yolov4_parity_*.json")
    expected = [
        [
            one["cfg"],
            str(one["input"]),
            str(one["layers"]["compared"]),
            f"{one['layers']['difference']:.1e}",
            f"{one['raw']:.1e}",
            f"{one['boxes']['ours']} = {one['boxes']['opencv']}",
            f"{one['boxes']['pixels']:.3f}",
            f"{one['boxes']['score']:.1e}",
        ]
        for one in read(path)["results"]
    ]
    _, rows = table(TEXTS["detectors"], "| network |")
    assert sorted(rows) == sorted(expected)
