"""Measure training and sampling on one GPU with every speed option, and print everything in one table.

    python benchmarks/gpu.py --json work_dirs/gpu.json
    python benchmarks/gpu.py --device cpu --size tiny --batch-sizes 2 --rounds 1 --steps 1 --variants default

Each variant is measured beside diffusers in turns: `plain` is the diffusers training loop of `train_throughput.py`,
`stock` the `StableDiffusionPipeline` of `generate_throughput.py`, both in the variant's dtype and without its other
options. `warm-up s` is the first call of an arm, or the first three where the variant is compiled (CUDA graphs are
recorded from the second call on), with all compilation; `break-even` is the number of steps after which a variant has
saved more time than its warm-up took longer. `P.A.` is what the perception-aware branch adds to a step of that variant.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

VARIANTS = {
    "default": {},
    "bf16": dict(dtype="bf16"),
    "channels-last": dict(dtype="bf16", channels_last=True),
    "compiled": dict(dtype="bf16", channels_last=True, compile=True),
    "cuda-graphs": dict(dtype="bf16", channels_last=True, compile=dict(mode="reduce-overhead")),
}
HEADER = ["variant", "batch", "arm", "images/s", "seconds (rounds)", "speed", "P.A.", "warm-up s"]
HEADER += ["break-even", "extra GB", "utilisation"]
NOTE = "`ours + P.A.` trains the model of `ours`, compiled by then: its warm-up lacks that, so it has no break-even"


def measure(args, options: dict, batch: int, device, work: Path) -> dict[str, dict]:
    """Measure all arms of one variant; return their times by arm, with ``flops``, ``peak`` and ``job``."""
    import torch
    from generate_throughput import sampling_arms, stock_pipeline
    from throughput_parts import build_editor, flops_of, interleave, measured_peak, specs, write_scenes
    from train_throughput import our_arms, our_editor, plain_arm

    dtype = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)[options.get("dtype", "fp32")]
    options = dict(channels_last=False, compile=False) | options
    compiled = bool(options["compile"])
    spec = specs(args.size, work)
    folder = work / "data" / "train"
    if not folder.is_dir():
        write_scenes(work / "data", max(args.images, *args.batch_sizes), spec["side"])
    peak, rows = measured_peak(device, dtype), {}
    settings = SimpleNamespace(
        size=args.size, workers=args.workers, gradient_checkpointing=args.gradient_checkpointing, **options
    )
    if "training" in args.jobs:
        torch.manual_seed(0)
        plain, model_only = plain_arm(spec, folder, settings, batch, device, dtype)
        editor = our_editor(spec, settings, device, dtype)
        arms = {"plain": plain, **our_arms(editor, spec, folder, work, settings, batch)}
        flops = flops_of(model_only())
        for name, found in interleave(arms, args.rounds, args.steps, device, compiled).items():
            rows[name] = dict(job="training", base="plain", flops=flops, peak=peak, **found)
        del plain, model_only, editor, arms
        _free(device)
    if "sampling" in args.jobs:
        torch.manual_seed(0)
        scheduler = dict(type="DPMSolverMultistepScheduler")
        name = options.pop("dtype", "fp32")
        editor = build_editor(spec, name, device, test_scheduler=scheduler, **options).eval()
        stock = stock_pipeline(editor, spec, device, dtype)
        arms, flops = sampling_arms(editor, stock, spec, folder, batch, args.denoising_steps)
        for name, found in interleave(arms, args.rounds, 1, device, compiled).items():
            rows[name if name == "stock" else "sampling"] = dict(
                job="sampling", base="stock", flops=flops, peak=peak, **found
            )
        del editor, stock, arms
        _free(device)
    return rows


def _free(device) -> None:
    import torch

    gc.collect()
    torch._dynamo.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def table_rows(variant: str, batch: int, rows: dict[str, dict], key: str) -> list[list[str]]:
    """Return the table's cells of one variant; ``key`` names the clock, ``seconds`` or ``cpu_seconds``."""
    cells = []
    for name, row in rows.items():
        base = rows[row["base"]]
        saved, longer = base[key] - row[key], row["warm_up_seconds"] - base["warm_up_seconds"]
        branch = name == "ours + P.A."
        even = "–" if row is base or branch or saved <= 0 else str(max(0, round(longer / saved)))
        added = f"{row[key] / rows['ours'][key] - 1:+.1%}" if branch else ""
        low, high = row["spread"]
        cells.append(
            [
                variant,
                str(batch),
                name,
                f"{batch / row[key]:.2f}",
                f"{row[key]:.4f} ({low:.4f} to {high:.4f})",
                f"{base[key] / row[key]:.2f} x",
                added,
                f"{row['warm_up_seconds']:.1f}",
                even,
                "n/a" if row["extra_gb"] is None else f"{row['extra_gb']:.2f}",
                f"{row['flops'] / row[key] / row['peak']:.1%}",
            ]
        )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["tiny", "sd15"], default="sd15")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--jobs", nargs="+", choices=["training", "sampling"], default=["training", "sampling"]
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="training steps of each arm per round")
    parser.add_argument("--denoising-steps", type=int, default=50)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--workers", type=int, default=0, help="workers of each data loader")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()

    import torch
    from throughput_parts import machine, measured_peak

    from detdiffusion.utils.tables import format_table

    device = torch.device(args.device)
    key = "seconds" if device.type == "cuda" else "cpu_seconds"
    cells, records = [], []
    with tempfile.TemporaryDirectory() as work:
        for batch in args.batch_sizes:
            for variant in args.variants:
                rows = measure(args, dict(VARIANTS[variant]), batch, device, Path(work))
                cells += table_rows(variant, batch, rows, key)
                records.append(dict(variant=variant, batch=batch, options=VARIANTS[variant], arms=rows))
    print(format_table([HEADER, *cells]))
    print(NOTE)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    info = machine(device, dtype, measured_peak(device, dtype))
    print(info)
    if args.json:
        command = "python benchmarks/gpu.py " + " ".join(sys.argv[1:])
        Path(args.json).write_text(json.dumps(dict(command=command, **info, runs=records), indent=1) + "\n")


if __name__ == "__main__":
    main()
