"""Figures in the README and in docs/ are those of the records under benchmarks/results/, rounded."""

import json
import re
import statistics

import pytest
from pages import DOCS as PAGES
from pages import README, ROOT, table, tables

from detdiffusion.evaluation.trainability import paired_test
from detdiffusion.experiments.augment.verdict import effects_of
from detdiffusion.experiments.paper.claims import quantities
from detdiffusion.experiments.paper.jobs import ARMS
from detdiffusion.experiments.paper.scales import SCALES
from detdiffusion.experiments.paper.verdicts import MIN_SEEDS

RESULTS = ROOT / "benchmarks/results"
DOCS = {name: path.read_text() for name, path in PAGES.items()}
START = DOCS["start"]
GENERATORS = RESULTS / "demo_generators_2026-11-26.json"
DEMO = (ROOT / "docs" / re.search(r"\[all figures\]\(([^)]+)\)", START)[1]).resolve()


def read(path):
    return json.loads(path.read_text())


def ap(value):
    return f"{100 * value:.1f}"


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
    assert f"is {text.split(': ')[1]}, on {found['layouts']} held-out layouts" in README.replace("\n", " ")
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
    runs = {(r["layout_condition"], r["training_steps"]): r for r in read(GENERATORS)["runs"]}

    def gap(condition, steps):
        found = runs[condition, steps]["bootstrap"]["easy - hard"]
        return f"{ap(found['difference'])} [{ap(found['low'])}, {ap(found['high'])}]"

    text, easy = (
        " ".join(START.split()),
        {key: ap(run["sets"]["easy"]["bbox_mAP"]) for key, run in runs.items()},
    )
    assert f"AP of easy {easy['both', 200]} in place of {easy['both', 400]}" in text
    assert f"easy − hard {gap('both', 200).split()[0]} in place of {gap('both', 400).split()[0]}" in text
    assert f"{easy['tokens', 800]} AP of easy and easy − hard {gap('tokens', 800)}" in text
    assert f"was not learned: {gap('tokens', 400)}" in text


def test_the_home_page_and_the_model_zoo_say_the_same():
    record = read(DEMO)
    gain = f"{100 * record['bootstrap']['easy - hard']['difference']:.1f}"
    assert f"generated as easy is [{gain} above" in " ".join(DOCS["index"].split())
    assert f"{record['seconds']['total'] / 60:.0f} minutes after the set-up" in DOCS["index"]
    real = [miniature(seed)["real images"] for seed in (1, 2, 3)]
    text = f"AP of {ap(sum(real) / 3)} in the mean of the miniature's seeds, and of "
    assert text + f"{ap(record['fidelity']['real']['bbox_mAP'])} in the demo" in " ".join(
        DOCS["model_zoo"].split()
    )


def test_memory_of_the_questions_is_that_of_the_guide():
    _, rows = table(DOCS["generator"], "| config | GB |")
    memory = {
        name.strip(" `"): gigabytes for row in rows for name in row[0].split(",") for gigabytes in row[1:]
    }
    text = " ".join(DOCS["questions"].split())
    assert f"{memory['detdiffusion_coco.py']} GB for weights, gradients and optimizer" in text
    for name in ("small-memory", "lora"):
        assert (
            f"{memory[f'detdiffusion_{name}_coco.py']} GB with `configs/detdiffusion_{name}_coco.py`" in text
        )


def miniature(seed):
    return quantities(
        {path.stem: read(path)["figures"] for path in (RESULTS / f"miniature/{seed}").glob("*.json")}
    )


def test_the_miniatures_seeds():
    header, rows = table(DOCS["claims"], "| seed |")
    columns = {"real": "real images"}
    columns |= {name: name for name in ("easy", "origin", "hard", "GeoDiffusion")}
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
    _, rows = table(DOCS["claims"], "| claim |")
    expected = [
        [row["claim"], str(row["n"]), "–" if row["p"] is None else f"{row['p']:.3f}", row["verdict"]]
        for row in board["claims"]
    ]
    assert [[row[0].split()[0], *row[-3:]] for row in rows] == [
        [claim, n, p, verdict if int(n) >= MIN_SEEDS else f"undecided, n = {n}"]
        for claim, n, p, verdict in expected
    ]


def spread(side):
    return f"{ap(side['mean'])} ± {ap(side['std'])}"


def test_equal_iterations():
    """The README's first table: each detector with hard images beside real images for as many iterations."""
    claims = read(RESULTS / "miniature/scoreboard.json")["claims"]
    pairs = {
        (one["higher"]["quantity"], one["lower"]["quantity"]): one
        for claim in claims
        for one in claim["comparisons"]
    }
    _, rows = table(README, "| detector | real only")
    expected = []
    for detector in ("Faster R-CNN", "FCOS", "ATSS"):
        hard = f"{detector}, real + hard"
        alone, equal = (pairs[hard, f"{detector}, {arm}"] for arm in ("real only", "real, equal iterations"))
        sides = [spread(side) for side in (alone["lower"], equal["lower"], equal["higher"])]
        gain = f"{100 * equal['difference']['mean']:+.1f} (p = {equal['p']:.3f})"
        expected.append([detector, *sides, gain])
    assert rows == expected


def test_numbers_of_verdicts():
    words = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    claims = read(RESULTS / "miniature/scoreboard.json")["claims"]
    verdicts = [claim["verdict"] for claim in claims if claim["claim"].startswith("C")]
    holds, undecided, fails = (
        words[verdicts.count(kind)] for kind in ("holds", "undecided", "does not hold")
    )
    text = f"Of the paper's {words[len(verdicts)]} claims {holds} hold on MiniScenes, {undecided} are undecided and "
    assert f"{text}{fails} do not hold" in README.replace("\n", " ")


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
    header, rows = table(DOCS["claims"], "| | `cpu`")
    scales = [SCALES[name.strip("`")] for name in header[1:]]
    assert [row[0] for row in rows] == list(SIZES)
    for label, *cells in rows:
        for scale, cell in zip(scales, cells):
            assert numbers(cell) == [getattr(scale, name) for name in SIZES[label]], (label, cell)


def test_the_miniatures_arms():
    _, rows = table(DOCS["claims"], "| job |")
    assert [row[0].strip("`") for row in rows] == list(ARMS)
    for (name, _, sets), arm in zip(rows, ARMS.values()):
        assert sets.split(" (")[0].split(", ") == list(arm.strategies), name


def test_speed_beside_stock_code():
    _, rows = table(DOCS["large_data"], "| what | beside")
    training, sampling = (read(RESULTS / f"{kind}_throughput_cpu.json") for kind in ("train", "generate"))
    seconds = [
        {arm: v["cpu_seconds"] for arm, v in one["runs"][0]["arms"].items()} for one in (training, sampling)
    ]
    ratios = [
        seconds[0]["plain"] / seconds[0]["ours"],
        seconds[0]["plain"] / seconds[0]["ours + P.A."],
        seconds[1]["stock"] / seconds[1]["ours"],
    ]
    assert [row[2] for row in rows] == [f"{ratio:.2f} x" for ratio in ratios]
    assert all(f"batch {training['runs'][0]['batch']}" in row[0] for row in rows[:2])


def test_operations_of_the_branch():
    for name, size, text in (
        ("", "sd15", "adds {:.1f} %"),
        ("_tiny", "tiny", "{:.1f} % at the tiny size"),
    ):
        record = read(RESULTS / f"pa_branch_operations{name}.json")
        assert record["size"] == size
        assert text.format(100 * record["operations_added"]) in DOCS["large_data"]


def test_seconds_of_the_branch_and_of_the_parts():
    text = " ".join(DOCS["large_data"].split())
    record = read(RESULTS / "pa_branch_sd15_cpu_2026-11-26.json")
    seconds = [record["arms"][arm]["cpu_seconds"] for arm in ("without", "with_branch")]
    assert record["batch"] == 2 and f"take {100 * (seconds[1] / seconds[0] - 1):.1f} % more" in text
    assert f"({seconds[0]:.1f} s and {seconds[1]:.1f} s on one core" in text
    record = read(RESULTS / "profile_parts_cpu_2026-11-26.json")
    for key, header in (("training_step", "| training step | %"), ("images", "| image | %")):
        total = sum(record[key].values())
        expected = [[name, f"{100 * s / total:.1f}"] for name, s in record[key].items() if s > 0.03 * total]
        assert table(DOCS["large_data"], header)[1] == sorted(expected, key=lambda row: -float(row[1]))


def test_three_sets_from_labels_to_an_answer():
    text, (_, rows) = DOCS["own_data"], table(DOCS["own_data"], "| set | minutes, of")
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


def test_blueprint_on_photographs():
    record = read(RESULTS / "bccd_blueprint_2026-11-26.json")
    held_out = record["held_out"]
    (rows,) = [
        rows
        for header, rows in tables(DOCS["generator"])
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
    assert len(rows) == 2 and f"The photographs have {real}, and {bound} after the" in DOCS["generator"]
    text, arms = " ".join(DOCS["own_data"].replace("−", "-").split()), record["arms"]
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


def test_seconds_of_an_image_at_full_size():
    run = read(RESULTS / "generate_throughput_sd15_cpu_2026-11-26.json")["runs"][0]
    ours, stock = (run["arms"][arm]["cpu_seconds"] for arm in ("ours", "stock"))
    text = " ".join(DOCS["large_data"].split())
    assert f"{run['steps']} steps, {run['evaluations']['ours']} network evaluations" in text
    assert f"takes {ours:.1f} processor seconds on one core, and {stock:.1f} with the stock pipeline" in text


def test_cost_of_large_sets():
    record, text = read(RESULTS / "cost_scaling_2026-11-26.json"), " ".join(DOCS["large_data"].split())
    assert f"an image of 3,200 costs {record['linearity']:.2f} times one of 200" in text
    assert f"two ranks with a core each would be {record['speed_up']:.2f} times as fast" in text


def test_a_step_on_a_busy_machine():
    record = read(RESULTS / "busy_machine.json")
    _, rows = table(DOCS["large_data"], "| busy processes")
    assert rows == [
        [str(row["busy"]), *(f"{row['times_fair'][side]:.2f} x" for side in ("before", "after"))]
        for row in record["rows"]
    ]
    assert record["machine"]["cores"] == 2 and f"two cores ({record['date']}, [" in DOCS["large_data"]


def test_time_and_memory_of_large_files():
    results = read(RESULTS / "coco_parsing.json")["results"]
    cold = results["cold"]
    text = f"takes about {cold['cpu_seconds']:.0f} processor seconds and {cold['peak_gb']:.1f} GB"
    assert text in DOCS["large_data"]
    assert f"`json.loads` alone takes {results['full']['cpu_seconds']:.0f} " in DOCS["large_data"]
    record = ROOT / "docs/guides" / re.search(r"\[record\]\((\S*full_size_step[^)]*)\)", DOCS["generator"])[1]
    assert f"{read(record)['peak_memory_gb']:.1f} GB at the peak" in DOCS["generator"]


def test_full_size_xl():
    found = {}
    for place in re.findall(r"\(\S*(full_size_\w+_sdxl_\S+json)\)", DOCS["generator"]):
        found["GPU" if "h200" in place else "CPU"] = read(ROOT / "benchmarks/results" / place)
    gpu = found["GPU"]
    warm = [phase["seconds"] for name, phase in gpu["phases"].items() if name[-2:] in (" 2", " 3", " 4")]
    step = sum(warm) / 3
    assert f"AdamW took {gpu['peak_gpu_memory_gb']:.1f} GB\nand {step:.1f} s a step" in DOCS["generator"]
    assert f"takes {found['CPU']['peak_memory_gb']:.1f} GB" in DOCS["generator"]


def test_sampler_sweep():
    plans = read(ROOT / "benchmarks/results/sampler_sweep_2026-11-26.json")["plans"]
    for plan in plans:
        row = f"| `{plan['name']}` | {plan['evaluations']} | {100 * plan['bbox_mAP']:.1f} | "
        if gap := plan["difference"]:
            low, high = (f"{100 * gap[end]:+.1f}" for end in ("low", "high"))
            row += f"{100 * gap['difference']:+.1f} [{low}, {high}] |"
        assert row in DOCS["synthetic_sets"], row
    arms = read(ROOT / "benchmarks/results/sampling_plans_cpu_2026-11-26.json")["runs"][0]["arms"]
    stock, few, fast = (arms[name]["cpu_seconds"] for name in ("stock", "ours, steps=10", "ours, fast"))
    text = f"ten steps are {stock / few:.1f} times as fast, `fast` {stock / fast:.1f} times ("
    assert text in " ".join(DOCS["synthetic_sets"].split())


def test_layout_conditions():
    found: dict[tuple, list] = {}
    for run in read(ROOT / "benchmarks/results/layout_conditions_2026-11-26.json")["runs"]:
        found.setdefault((run["condition"], run["images"]), []).append(run)
    _, rows = table(DOCS["generator"], "| `layout_condition` | images |")
    assert len(rows) == len(found)
    for name, images, easy, hard, gaps in rows:
        runs = found[name.strip("`"), int(images.replace(",", ""))]
        for values, kind in ((easy, "easy"), (hard, "hard")):
            assert values == ", ".join(ap(run["sets"][kind]["bbox_mAP"]) for run in runs)
        gap = [run["bootstrap"]["easy - hard"] for run in runs]
        assert gaps == "; ".join(f"{ap(g['difference'])} [{ap(g['low'])}, {ap(g['high'])}]" for g in gap)


def test_time_of_a_prompt():
    record = ROOT / "docs/guides" / re.search(r"\[record\]\(([^)]*tokenizer[^)]*)\)", DOCS["generator"])[1]
    ours, slow, fast = read(record)["ms_a_prompt"]["compact"].values()
    text = f"{ours:.3f} ms per prompt, `CLIPTokenizer` {slow:.2f}, `CLIPTokenizerFast` {fast:.2f}"
    assert text in DOCS["generator"]


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
    _, rows = table(DOCS["detectors"], "| network |")
    assert sorted(rows) == sorted(expected)


def test_sizes_of_the_zoo():
    _, rows = table((ROOT / "detdiffusion/zoo/README.md").read_text(), "| folder |")
    for name, _, size in rows:
        folder = ROOT / "detdiffusion/zoo" / name.strip("`")
        total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert size == f"{total / 2**20:.1f} MiB"
