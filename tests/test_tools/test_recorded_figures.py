"""Figures in the README and in docs/ are those of the records under benchmarks/results/, rounded."""

import json
import re

import pytest
from test_readme import README, ROOT

from detdiffusion.experiments.paper.claims import quantities
from detdiffusion.experiments.paper.jobs import ARMS
from detdiffusion.experiments.paper.scales import SCALES
from detdiffusion.experiments.paper.verdicts import MIN_SEEDS

RESULTS = ROOT / "benchmarks/results"
DOCS = {path.stem: path.read_text() for path in (ROOT / "docs").glob("*.md")}
DEMO = ROOT / re.search(r"\[all figures\]\(([^)]+)\)", README)[1]


def read(path):
    return json.loads(path.read_text())


def table(text, start_of_header):
    """Cells of the Markdown table whose header starts so: header, rows."""
    lines = text.splitlines()
    (start,) = [i for i, line in enumerate(lines) if line.startswith(start_of_header)]
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[0], rows[2:]


def ap(value):
    return f"{100 * value:.1f}"


def numbers(text):
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", text)]


def test_the_demos_images():
    record, (header, rows) = read(DEMO), table(README, "| images of ")
    assert numbers(header[0]) == [record["settings"]["fidelity_layouts"]]
    expected = [
        [
            name,
            *(ap(row[key]) for key in ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75")),
            f"{row['frechet']:.3f}" if "frechet" in row else "–",
        ]
        for name, row in record["fidelity"].items()
    ]
    assert rows == expected and len(rows) == 4


def test_the_demos_detectors():
    record, (header, rows) = read(DEMO), table(README, "| detector trained on")
    assert numbers(header[0]) == [record["settings"]["trainability_iters"]]
    found = record["trainability"]
    assert rows == [
        ["real only", ap(found["real_only"]["bbox_mAP"])],
        ["real + hard", ap(found["real_plus_hard"]["bbox_mAP"])],
    ]
    gain = found["real_plus_hard"]["bbox_mAP"] - found["real_only"]["bbox_mAP"]
    assert f"The {ap(gain)} AP between the two detectors" in README


def test_the_demos_interval_length_and_settings():
    record = read(DEMO)
    found = record["bootstrap"]["easy - hard"]
    low, high = (f"{100 * found[end]:+.1f}" for end in ("low", "high"))
    text = f"easy − hard: **{100 * found['difference']:+.1f} AP**, "
    text += f"{100 * found['level']:.0f} % interval [{low}, {high}]"
    assert text in README
    assert f"The demo takes {record['seconds']['total'] / 60:.0f} minutes" in README
    settings = f"seed {record['seeds']['training']}, {record['settings']['generator_iters']} fine-tuning"
    assert (
        settings in README.replace("\n", " ")
        and DEMO.stem.endswith("2026-11-24")
        and "(2026-11-24, [" in README
    )


def miniature(seed):
    return quantities(
        {path.stem: read(path)["figures"] for path in (RESULTS / f"miniature/{seed}").glob("*.json")}
    )


def test_the_miniatures_seeds():
    header, rows = table(DOCS["paper_in_miniature"], "| seed |")
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
    """The scoreboard's values are the result files', and the README's verdicts are the scoreboard's."""
    board = read(RESULTS / "miniature/scoreboard.json")
    assert {int(seed): values for seed, values in board["values"].items()} == {
        seed: pytest.approx(miniature(seed)) for seed in board["seeds"]
    }
    _, rows = table(README, "| claim |")
    expected = [
        [row["claim"], str(row["n"]), "–" if row["p"] is None else f"{row['p']:.3f}", row["verdict"]]
        for row in board["claims"]
    ]
    assert [[row[0].split()[0], *row[-3:]] for row in rows] == [
        [claim, n, p, verdict if int(n) >= MIN_SEEDS else f"undecided, n = {n}"]
        for claim, n, p, verdict in expected
    ]


SIZES = {
    "images: detector, train, val": ("detector_images", "train_images", "val_images"),
    "attribute detector": ("detector_iters",),
    "generator": ("generator_iters", "generator_batch", "generator_lr"),
    "held-out layouts, sampling steps, CFG": ("fidelity_layouts", "sampling_steps", "guidance_scale"),
    "synthetic training images a set": ("synthetic_images",),
    "compared detectors": ("trainability_iters",),
    "score thresholds of easy: ATSS, FCOS": ("score_thr", "other_score_thr"),
}


def test_the_miniatures_sizes():
    header, rows = table(DOCS["paper_in_miniature"], "| | `cpu`")
    scales = [SCALES[name.strip("`")] for name in header[1:]]
    assert [row[0] for row in rows] == list(SIZES)
    for label, *cells in rows:
        for scale, cell in zip(scales, cells):
            assert numbers(cell) == [getattr(scale, name) for name in SIZES[label]], (label, cell)


def test_the_miniatures_arms():
    _, rows = table(DOCS["paper_in_miniature"], "| job |")
    assert [row[0].strip("`") for row in rows] == list(ARMS)
    for (name, _, sets), arm in zip(rows, ARMS.values()):
        assert sets.split(" (")[0].split(", ") == list(arm.strategies), name


def test_speed_beside_stock_code():
    _, rows = table(DOCS["data_and_scale"], "| what | beside")
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


def test_time_and_memory_of_large_files():
    cold = read(RESULTS / "coco_parsing.json")["results"]["cold"]
    text = f"takes about {cold['cpu_seconds']:.0f} processor seconds and {cold['peak_gb']:.1f} GB"
    assert text in DOCS["data_and_scale"]
    record = ROOT / "docs" / re.search(r"\[record\]\((\S*full_size_step[^)]*)\)", DOCS["generator"])[1]
    assert f"{read(record)['peak_memory_gb']:.1f} GB at the peak" in DOCS["generator"]


def test_time_of_a_prompt():
    record = ROOT / "docs" / re.search(r"\[record\]\(([^)]*tokenizer[^)]*)\)", DOCS["generator"])[1]
    ours, slow, fast = read(record)["ms_a_prompt"]["compact"].values()
    text = f"{ours:.3f} ms a prompt, `CLIPTokenizer` {slow:.2f}, `CLIPTokenizerFast` {fast:.2f}"
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
    _, rows = table(DOCS["evaluation"], "| network |")
    assert sorted(rows) == sorted(expected)


def test_sizes_of_the_zoo():
    _, rows = table((ROOT / "detdiffusion/zoo/README.md").read_text(), "| folder |")
    for name, _, size in rows:
        folder = ROOT / "detdiffusion/zoo" / name.strip("`")
        total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert size == f"{total / 2**20:.1f} MiB"
