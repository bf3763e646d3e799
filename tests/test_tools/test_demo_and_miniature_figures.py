"""Figures of the demo and the miniature in the README and docs, from their records, rounded."""

import re

import pytest
from pages import README, RESULTS, ROOT, TEXTS, ap, chance, read, signed, table, text_of
from scipy import stats

from detdiffusion.experiments.paper.arms import ARMS
from detdiffusion.experiments.paper.claims import quantities
from detdiffusion.experiments.paper.scales import SCALES
from detdiffusion.experiments.paper.verdicts import MIN_SEEDS

START = TEXTS["start"]
GENERATORS = RESULTS / "demo_generators_2026-11-27.json"
TOKENS = RESULTS / "demo_generators_2026-11-26.json"  # of version 2 of the weights
DEMO = (ROOT / "docs" / re.search(r"\[all figures\]\(([^)]+)\)", START)[1]).resolve()


def numbers(text):
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", text)]


def test_the_demos_images():
    record, (header, rows) = read(DEMO), table(START, "| images of ")
    assert numbers(header[0]) == [record["settings"]["fidelity_layouts"]]
    expected = [
        [
            name,
            *(ap(row[key]) for key in ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75")),
            f"{row['frechet']:.3f}" if name != "real" else "–",  # that of real is one half's to the other
        ]
        for name, row in record["fidelity"].items()
    ]
    assert rows == expected
    assert [row[0] for row in rows] == ["real", "autoencoder", "easy", "origin", "hard"]


def test_the_demos_detectors():
    record, (header, rows) = read(DEMO), table(START, "| detector trained on")
    assert numbers(header[0]) == [record["settings"]["trainability_iters"]]
    found = record["trainability"]
    assert rows == [
        ["real only", ap(found["real_only"]["bbox_mAP"])],
        ["real + hard", ap(found["real_plus_hard"]["bbox_mAP"])],
    ]
    gain = found["real_plus_hard"]["bbox_mAP"] - found["real_only"]["bbox_mAP"]
    assert f"The {ap(gain)} AP between the two detectors" in START


def test_the_demos_interval_length_and_settings():
    record = read(DEMO)
    found = record["bootstrap"]["easy - hard"]
    low, high = (f"{100 * found[end]:+.1f}" for end in ("low", "high"))
    text = f"easy − hard: **{100 * found['difference']:+.1f} AP**, "
    text += f"{100 * found['level']:.0f} % interval [{low}, {high}]"
    assert text in START
    assert f"It takes {record['seconds']['total'] / 60:.0f} minutes on two cores" in START
    assert f"{record['seconds']['total'] / 60:.0f} minutes on two cores" in README
    settings = f"seed {record['seeds']['training']}, {record['settings']['generator_iters']} fine-tuning"
    assert settings in START.replace("\n", " ") and f"({DEMO.stem.removeprefix('demo_')}, [" in START.replace(
        "\n", " "
    )


def test_the_demos_steps_and_what_less_would_cost():
    _, rows = table(START, "| step | seconds")
    seconds, starts = (
        dict(read(DEMO)["seconds"]),
        ("data", "detector", "attributes", "generator", "generate", "fid"),
    )
    total = seconds.pop("total")
    parts = [
        sum(s for name, s in seconds.items() if name.split("-")[0].startswith(start)) for start in starts
    ]
    expected = [*parts, total - sum(parts)]
    assert [row[1] for row in rows] == [f"{part:.0f}" for part in expected]
    text = " ".join(START.split())

    def gap(run):
        found = run["bootstrap"]["easy - hard"]
        return f"{ap(found['difference'])} [{ap(found['low'])}, {ap(found['high'])}]"

    runs = {(r["training_steps"], r["sampling_steps"]): r for r in read(GENERATORS)["runs"]}
    easy = {key: ap(run["sets"]["easy"]["bbox_mAP"]) for key, run in runs.items()}
    short, present, long = (200, 10), (400, 10), (400, 50)
    assert set(runs) == {short, present, long}
    assert f"AP of easy {easy[short]} in place of {easy[present]}" in text
    assert f"easy − hard {gap(runs[short]).split()[0]} in place of {gap(runs[present]).split()[0]}" in text
    assert (
        f"ten denoising steps in place of 50 already: AP of easy {easy[present]} in place of {easy[long]}"
        in text
    )
    runs = {(r["layout_condition"], r["training_steps"]): r for r in read(TOKENS)["runs"]}
    tokens, both = runs["tokens", 800], runs["both", 400]
    assert f"{ap(tokens['sets']['easy']['bbox_mAP'])} AP of easy and easy − hard {gap(tokens)}" in text
    assert f"in place of {ap(both['sets']['easy']['bbox_mAP'])} and {gap(both)}" in text
    assert f"was not learned: {gap(runs['tokens', 400])}" in text


def miniature(seed):
    return quantities(
        {path.stem: read(path)["figures"] for path in (RESULTS / f"miniature/{seed}").glob("*.json")}
    )


def test_the_home_page_and_the_model_zoo_say_the_same():
    record = read(DEMO)
    gain = f"{100 * record['bootstrap']['easy - hard']['difference']:.1f}"
    assert f"generated as easy is [{gain} above" in text_of("index")
    assert f"{record['seconds']['total'] / 60:.0f} minutes after the set-up" in TEXTS["index"]
    real = [miniature(seed)["real images"] for seed in read(RESULTS / "miniature/scoreboard.json")["seeds"]]
    text = f"AP of {ap(sum(real) / len(real))} in the mean of the miniature's seeds, and of "
    assert text + f"{ap(record['fidelity']['real']['bbox_mAP'])} in the demo" in text_of("model_zoo")


def test_the_miniatures_seeds():
    header, rows = table(TEXTS["claims"], "| seed |")
    columns = {"real": "real images"}
    columns |= {name: name for name in ("autoencoder", "easy", "origin", "hard", "GeoDiffusion")}
    columns |= {f"Fréchet: {name}": f"{name}'s distance" for name in ("origin", "GeoDiffusion")}
    assert header[1:] == list(columns)
    seeds = sorted(int(path.name) for path in (RESULTS / "miniature").iterdir() if path.is_dir())
    expected = []
    for seed in seeds:
        found = miniature(seed)
        values = [(name, found[quantity]) for name, quantity in columns.items()]
        expected.append([str(seed), *(f"{v:.3f}" if n.startswith("Fr") else ap(v) for n, v in values)])
    assert rows == expected


def test_the_miniatures_scoreboard():
    """The scoreboard's values are the result files', and the verdicts of the page are the scoreboard's."""
    board = read(RESULTS / "miniature/scoreboard.json")
    assert {int(seed): values for seed, values in board["values"].items()} == {
        seed: pytest.approx(miniature(seed)) for seed in board["seeds"]
    }
    _, rows = table(TEXTS["claims"], "| claim |")
    expected = [
        [row["claim"], str(row["n"]), "–" if row["p"] is None else chance(row["p"]), row["verdict"]]
        for row in board["claims"]
    ]
    assert [[row[0].split()[0], *row[-3:]] for row in rows] == [
        [claim, n, p, verdict if int(n) >= MIN_SEEDS else f"undecided, n = {n}"]
        for claim, n, p, verdict in expected
    ]


def spread(side):
    return f"{ap(side['mean'])} ± {ap(side['std'])}"


def comparisons(*claims):
    """Comparisons of the scoreboard by their quantities; of some claims, or of all."""
    return {
        (one["higher"]["quantity"], one["lower"]["quantity"]): one
        for claim in read(RESULTS / "miniature/scoreboard.json")["claims"]
        for one in claim["comparisons"]
        if not claims or claim["claim"] in claims
    }


def difference(comparison):
    return signed(100 * comparison["difference"]["mean"])


def test_the_miniatures_differences():
    pairs, text = comparisons(), TEXTS["claims"]
    _, rows = table(text, "| detector | generated as")
    others = ("real, equal iterations", "real only", "real + GeoDiffusion")
    expected = []
    for detector in ("Faster R-CNN", "FCOS", "ATSS"):
        for arm in ("origin", "easy", "hard"):
            found = [pairs[f"{detector}, real + {arm}", f"{detector}, {other}"] for other in others]
            expected.append(
                [detector, f"`{arm}`", *(f"{difference(one)} ({chance(one['p'])})" for one in found)]
            )
    assert rows == expected
    _, rows = table(text, "| higher | lower |")
    found = comparisons("C2", "C3", "C4", "C5", "C6", "C10")
    assert rows == [[*pair, difference(one), chance(one["p"])] for pair, one in found.items()]


def test_what_the_parts_of_the_loss_add():
    """And that a claim held with the first three seeds."""
    pairs = comparisons("C4", "C5", "C6")
    added = [pairs["easy", arm]["difference"]["mean"] for arm in ("Attr", "without √ᾱ", "without dice")]
    text = text_of("claims")
    assert f"AP is {100 * min(added):.1f} to {100 * max(added):.1f} higher in the mean" in text
    first = [pairs["easy", "without dice"]["differences"][str(seed)] for seed in (1, 2, 3)]
    found = stats.ttest_1samp(first, 0, alternative="greater")
    assert f"C6 held ({100 * sum(first) / 3:+.1f}, p = {found.pvalue:.3f})" in text


def test_fcos_at_equal_iterations():
    pairs, text = comparisons("C9"), text_of("claims")
    equal = [
        pairs[f"FCOS, real + {arm}", "FCOS, real, equal iterations"] for arm in ("origin", "easy", "hard")
    ]
    found = [100 * value for one in equal for value in one["differences"].values()]
    low, high = map(signed, (min(found), max(found)))
    assert f"between {low} and {high} AP by seed and arm, in seeds 4 and 5 all below zero" in text
    assert all(one["differences"][seed] < 0 for one in equal for seed in ("4", "5"))


def test_equal_iterations():
    """The README's first table: each detector with hard images beside real images for as many iterations."""
    pairs = comparisons()
    _, rows = table(README, "| detector | real only")
    expected = []
    for detector in ("Faster R-CNN", "FCOS", "ATSS"):
        hard = f"{detector}, real + hard"
        alone, equal = (pairs[hard, f"{detector}, {arm}"] for arm in ("real only", "real, equal iterations"))
        sides = [spread(side) for side in (alone["lower"], equal["lower"], equal["higher"])]
        gain = f"{100 * equal['difference']['mean']:+.1f} (p = {equal['p']:.3f})"
        expected.append([detector, *sides, gain])
    assert rows == expected


def test_the_attribute_in_the_readme():
    pairs = comparisons("C3")
    easy, hard = pairs["easy", "origin"]["higher"], pairs["origin", "hard"]["lower"]
    text = f"has {ap(easy['mean'])} AP on easy images, {ap(hard['mean'])} on hard ones (5 seeds)"
    assert text in " ".join(README.split())


def test_numbers_of_verdicts():
    """In the README, and by name on the page of the claims."""
    claims = read(RESULTS / "miniature/scoreboard.json")["claims"]
    found = {
        kind: [row["claim"] for row in claims if row["claim"].startswith("C") and row["verdict"] == kind]
        for kind in ("holds", "undecided", "does not hold")
    }
    holds, undecided, fails = map(len, found.values())
    text = f"The paper's ten claims on MiniScenes: {holds} hold (one only beside fewer iterations), "
    assert f"{text}{undecided} undecided, {fails} do not hold." in README.replace("\n", " ")
    equal = [one["p"] for pair, one in comparisons("C9").items() if pair[1].endswith("equal iterations")]
    assert "C9" in found["holds"] and equal and min(equal) > 0.05
    lists = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in found.items() if names)
    assert f"Of the paper's ten claims, {lists}." in TEXTS["claims"]


SIZES = {
    "images: detector, train, val": ("detector_images", "train_images", "val_images"),
    "attribute detector": ("detector_iters",),
    "generator": ("generator_iters", "generator_batch", "generator_lr"),
    "held-out layouts, sampling steps, CFG": ("fidelity_layouts", "sampling_steps", "guidance_scale"),
    "synthetic training images per set": ("synthetic_images",),
    "compared detectors": ("trainability_iters",),
    "score thresholds of easy: ATSS, FCOS": ("score_thr", "other_score_thr"),
}


def test_the_miniatures_sizes():
    header, rows = table(TEXTS["claims"], "| | `cpu`")
    scales = [SCALES[name.strip("`")] for name in header[1:]]
    assert [row[0] for row in rows] == list(SIZES)
    for label, *cells in rows:
        for scale, cell in zip(scales, cells):
            assert numbers(cell) == [getattr(scale, name) for name in SIZES[label]], (label, cell)


def test_the_miniatures_arms():
    _, rows = table(TEXTS["claims"], "| job |")
    assert [row[0].strip("`") for row in rows] == list(ARMS)
    for (name, _, sets), arm in zip(rows, ARMS.values()):
        assert sets.split(" (")[0].split(", ") == list(arm.strategies), name
