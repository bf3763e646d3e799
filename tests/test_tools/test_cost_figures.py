"""Figures of time, memory and sizes in the docs, from their records, rounded."""

import re

from pages import RESULTS, ROOT, TEXTS, read, table


def test_memory_of_the_questions_is_that_of_the_guide():
    _, rows = table(TEXTS["generator"], "| config | GB |")
    memory = {
        name.strip(" `"): gigabytes for row in rows for name in row[0].split(",") for gigabytes in row[1:]
    }
    text = " ".join(TEXTS["questions"].split())
    assert f"{memory['detdiffusion_coco.py']} GB for weights, gradients and optimizer" in text
    for name in ("small-memory", "lora"):
        assert (
            f"{memory[f'detdiffusion_{name}_coco.py']} GB with `configs/detdiffusion_{name}_coco.py`" in text
        )


def test_speed_beside_stock_code():
    _, rows = table(TEXTS["large_data"], "| what | beside")
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
        assert text.format(100 * record["operations_added"]) in TEXTS["large_data"]


def test_seconds_of_the_branch_and_of_the_parts():
    text = " ".join(TEXTS["large_data"].split())
    record = read(RESULTS / "pa_branch_sd15_cpu_2026-11-26.json")
    seconds = [record["arms"][arm]["cpu_seconds"] for arm in ("without", "with_branch")]
    assert record["batch"] == 2 and f"take {100 * (seconds[1] / seconds[0] - 1):.1f} % more" in text
    assert f"({seconds[0]:.1f} s and {seconds[1]:.1f} s on one core" in text
    record = read(RESULTS / "profile_parts_cpu_2026-11-26.json")
    for key, header in (("training_step", "| training step | %"), ("images", "| image | %")):
        total = sum(record[key].values())
        expected = [[name, f"{100 * s / total:.1f}"] for name, s in record[key].items() if s > 0.03 * total]
        assert table(TEXTS["large_data"], header)[1] == sorted(expected, key=lambda row: -float(row[1]))


def test_seconds_of_an_image_at_full_size():
    run = read(RESULTS / "generate_throughput_sd15_cpu_2026-11-26.json")["runs"][0]
    ours, stock = (run["arms"][arm]["cpu_seconds"] for arm in ("ours", "stock"))
    text = " ".join(TEXTS["large_data"].split())
    assert f"{run['steps']} steps, {run['evaluations']['ours']} network evaluations" in text
    assert f"takes {ours:.1f} processor seconds on one core, and {stock:.1f} with the stock pipeline" in text


def test_cost_of_large_sets():
    record, text = read(RESULTS / "cost_scaling_2026-11-26.json"), " ".join(TEXTS["large_data"].split())
    assert f"an image of 3,200 costs {record['linearity']:.2f} times one of 200" in text
    assert f"two ranks with a core each would be {record['speed_up']:.2f} times as fast" in text


def test_a_step_on_a_busy_machine():
    record = read(RESULTS / "busy_machine.json")
    _, rows = table(TEXTS["large_data"], "| busy processes")
    assert rows == [
        [str(row["busy"]), *(f"{row['times_fair'][side]:.2f} x" for side in ("before", "after"))]
        for row in record["rows"]
    ]
    assert record["machine"]["cores"] == 2 and f"two cores ({record['date']}, [" in TEXTS["large_data"]


def test_time_and_memory_of_large_files():
    results = read(RESULTS / "coco_parsing.json")["results"]
    cold = results["cold"]
    text = f"takes about {cold['cpu_seconds']:.0f} processor seconds and {cold['peak_gb']:.1f} GB"
    assert text in TEXTS["large_data"]
    assert f"`json.loads` alone takes {results['full']['cpu_seconds']:.0f} " in TEXTS["large_data"]
    record = (
        ROOT / "docs/guides" / re.search(r"\[record\]\((\S*full_size_step[^)]*)\)", TEXTS["generator"])[1]
    )
    assert f"{read(record)['peak_memory_gb']:.1f} GB at the peak" in TEXTS["generator"]


def test_full_size_xl():
    found = {}
    for place in re.findall(r"\(\S*(full_size_\w+_sdxl_\S+json)\)", TEXTS["generator"]):
        found["GPU" if "h200" in place else "CPU"] = read(ROOT / "benchmarks/results" / place)
    gpu = found["GPU"]
    warm = [phase["seconds"] for name, phase in gpu["phases"].items() if name[-2:] in (" 2", " 3", " 4")]
    step = sum(warm) / 3
    assert f"AdamW took {gpu['peak_gpu_memory_gb']:.1f} GB\nand {step:.1f} s a step" in TEXTS["generator"]
    assert f"takes {found['CPU']['peak_memory_gb']:.1f} GB" in TEXTS["generator"]


def test_time_of_a_prompt():
    record = ROOT / "docs/guides" / re.search(r"\[record\]\(([^)]*tokenizer[^)]*)\)", TEXTS["generator"])[1]
    ours, slow, fast = read(record)["ms_a_prompt"]["compact"].values()
    text = f"{ours:.3f} ms per prompt, `CLIPTokenizer` {slow:.2f}, `CLIPTokenizerFast` {fast:.2f}"
    assert text in TEXTS["generator"]


def test_sizes_of_the_zoo():
    """As its README has them; the package stays small."""
    _, rows = table((ROOT / "detdiffusion/zoo/README.md").read_text(), "| folder |")
    totals = []
    for name, _, size in rows:
        folder = ROOT / "detdiffusion/zoo" / name.strip("`")
        total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert size == f"{total / 2**20:.1f} MiB"
        totals.append(total)
    assert max(totals) <= 10e6 and sum(totals) <= 25e6
