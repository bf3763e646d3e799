"""Benchmarks of speed: every arm runs at tiny size, operations are counted right, costs are compared right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_operations_of_the_branch_at_full_size(tmp_path):
    """Below 8 %, and the fusions' convolutions, counted by hand, are most of them."""
    import pa_branch
    from throughput_parts import specs

    counted = pa_branch.operations(specs("sd15", tmp_path), "sd15", 1)
    added = counted["with_branch"] - counted["without"]
    cells = 32**2 + 16**2 + 8**2
    convolutions = (
        3 * 2 * cells * (512 * 256 * 9 + 256 * 256 * 9 + 512 * 256)
    )  # forward and twice that backward
    assert convolutions < added < 1.6 * convolutions
    assert added < 0.08 * counted["without"]


def test_time_is_counted_for_the_part_that_an_operator_belongs_to():
    import profile_parts

    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.large, self.small = torch.nn.Linear(400, 400), torch.nn.Linear(4, 4)

    pair = Pair()
    profile_parts.mark(pair.large, "forward", "large")
    profile_parts.mark(pair.small, "forward", "small")
    x = torch.randn(400, 400, requires_grad=True)
    seconds = profile_parts.profiled(lambda: pair.small(pair.large(x)[:, :4]).sum().backward(), 2, "cpu")
    assert {"large", "small", "large (backward)", "small (backward)"} <= seconds.keys()
    assert seconds["large"] > seconds["small"]
    assert seconds["large (backward)"] > seconds["small (backward)"]
    assert "large (backward)" in profile_parts.table("step", seconds)


def test_cost_per_image_without_start_up():
    import cost_scaling

    assert cost_scaling.cost_per_image({10: 30.0, 20: 40.0, 110: 130.0}) == {20: 1.0, 110: 1.0}

    def command(images, ranks):
        return [str(images), str(ranks)]

    def cost(command):
        """5 s of start-up in every rank and 2 s an image; with more than one rank, a fifth of it again."""
        images, ranks = map(int, command)
        return 5.0 * ranks + 2.0 * images * (1 if ranks == 1 else 1.2)

    found = cost_scaling.measure(command, [1, 30, 90], rank_count=90, ranks=2, repeats=2, cost=cost)
    assert found["linearity"] == pytest.approx(1)
    assert found["speed_up"] == pytest.approx(2 / 1.2)
    assert found["processor_seconds"]["90 images, 2 ranks"] == [226.0, 226.0]


def test_processor_seconds_are_those_of_a_commands_children():
    import cost_scaling

    def busy(seconds):
        code = f"import time\nwhile time.process_time() < {seconds}: pass"
        inner = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {code!r}], check=True)"
        return cost_scaling.processor_seconds([sys.executable, "-S", "-c", inner])

    assert busy(0.5) >= 0.5  # whatever else the machine does: the child itself waits for its processor time
    with pytest.raises(subprocess.CalledProcessError):
        cost_scaling.processor_seconds([sys.executable, "-S", "-c", "raise SystemExit(3)"])


def test_compiled_arms_are_warmed_up_by_three_calls():
    from throughput_parts import interleave

    for compiled, calls in ((False, 1), (True, 3)):
        made = []
        interleave({"arm": lambda: made.append(1)}, 2, 5, torch.device("cpu"), compiled)  # noqa: B023
        assert len(made) == calls + 2 * 5


def test_every_image_pays_for_its_text_states(tmp_path):
    from generate_throughput import sampling_arms, stock_pipeline
    from throughput_parts import build_editor, specs, write_scenes

    spec, device = specs("tiny", tmp_path), torch.device("cpu")
    editor = build_editor(spec, "fp32", device).eval()
    stock = stock_pipeline(editor, spec, device, torch.float32)
    folder = write_scenes(tmp_path / "data", 2, spec["side"])
    arms, _ = sampling_arms(editor, stock, spec, folder, batch=1, steps=1)
    encoded = []
    editor.text_encoder.register_forward_hook(lambda *_: encoded.append(1))
    arms["ours"]()
    once = len(encoded)
    arms["ours"]()
    assert len(encoded) == 2 * once > 0


def test_one_table_of_everything(tmp_path, monkeypatch, capsys):
    import gpu

    record = tmp_path / "gpu.json"
    command = (
        "gpu.py --device cpu --size tiny --variants default --batch-sizes 1 --rounds 1 --steps 1 --images 2"
    )
    monkeypatch.setattr(sys, "argv", [*command.split(), "--denoising-steps", "1", "--json", str(record)])
    gpu.main()
    lines = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("variant ", "default "))
    ]
    assert [line.split("  ")[0] for line in lines] == ["variant", *["default"] * 5]
    assert all(column in lines[0] for column in ("P.A.", "warm-up s", "extra GB", "utilisation"))
    (run,) = json.loads(record.read_text())["runs"]
    assert list(run["arms"]) == ["plain", "ours", "ours + P.A.", "stock", "sampling"]
    for row in run["arms"].values():
        assert row["cpu_seconds"] > 0 and row["flops"] > 0 and row["warm_up_seconds"] > 0
        assert row["spread"][0] <= row["cpu_seconds"] <= row["spread"][1]
