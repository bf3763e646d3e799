"""Measure whether generation costs the same for each image, however many there are, and for several ranks.

    python benchmarks/cost_scaling.py --json work_dirs/cost_scaling.json
    python benchmarks/cost_scaling.py --counts 8 40 160 --rank-count 160 --repeats 1    # a quick look

Runs `tools/generate.py` with the zoo's layout model on MiniScenes layouts, one image each (text states of batches that
repeat would be computed once), and adds up the processor seconds of each run with all its processes, which other work
on the machine changes least. The run with the smallest count stands for start-up and is subtracted. `speed-up` of N
ranks is N times the cost of an image with one rank by that with N: what N ranks reach when each has a core of its own
and shares are equal.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

CONFIG = ROOT / "configs/detdiffusion_miniscenes.py"
BATCH = 8  # images at once
LINEAR, SPEED_UP = 1.05, 1.9


def processor_seconds(command: Sequence[str]) -> float:
    """Run a command and return the processor seconds, user and system, of it and its child processes."""
    before = os.times()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def cost_per_image(seconds: dict[int, float]) -> dict[int, float]:
    """Return the seconds per image of each count but the smallest, whose run is subtracted as start-up."""
    start = min(seconds)
    return {n: (value - seconds[start]) / (n - start) for n, value in sorted(seconds.items()) if n > start}


def measure(
    command: Callable[[int, int], list[str]],
    counts: Sequence[int],
    rank_count: int,
    ranks: int,
    repeats: int,
    cost: Callable[[Sequence[str]], float] = processor_seconds,
) -> dict:
    """Measure all runs and compare their costs.

    Args:
        command: ``(images, ranks) -> command line`` that generates a new set.
        counts: numbers of images with one rank; the smallest stands for start-up.
        rank_count: number of images at which ranks are compared; one of ``counts``.
        ranks: number of ranks beside one.
        repeats: runs of each kind; their lowest cost counts.
        cost: runs a command line and returns its cost in processor seconds.
    """
    runs = [(n, 1) for n in counts] + [(n, ranks) for n in (min(counts), rank_count)]
    found: dict[tuple[int, int], list[float]] = {run: [] for run in runs}
    for _ in range(repeats):
        for run in runs:
            found[run].append(cost(command(*run)))
            print(f"{run[0]} images, {run[1]} ranks: {found[run][-1]:.1f} processor seconds", flush=True)
    best = {run: min(values) for run, values in found.items()}
    one = cost_per_image({n: value for (n, r), value in best.items() if r == 1})
    several = cost_per_image({n: value for (n, r), value in best.items() if r == ranks})
    return dict(
        processor_seconds={f"{n} images, {r} ranks": values for (n, r), values in found.items()},
        seconds_per_image=one,
        seconds_per_image_of_ranks=several,
        linearity=one[max(one)] / one[min(one)],
        ranks=ranks,
        speed_up=ranks * one[rank_count] / several[rank_count],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[40, 200, 3200], help="multiples of 8")
    parser.add_argument("--rank-count", type=int, default=3200, help="one of --counts")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="denoising steps")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()
    if len(set(args.counts)) < 2 or any(n % BATCH or n < BATCH for n in args.counts):
        parser.error(f"--counts needs at least two multiples of {BATCH}")
    if args.rank_count not in args.counts or args.rank_count == min(args.counts):
        parser.error("--rank-count must be one of --counts, and not the smallest")

    import torch
    from throughput_parts import write_scenes

    with tempfile.TemporaryDirectory() as work:
        split = write_scenes(Path(work) / "data", max(args.counts) * 2, 64)  # the filter drops some

        def command(images: int, ranks: int) -> list[str]:
            start = [sys.executable]
            if ranks > 1:
                start += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
            out = tempfile.mkdtemp(dir=work)
            options = f"--strategy origin --device cpu --batch-size {BATCH} --preview-every 0".split()
            options += ["--limit", str(images), "--steps", str(args.steps), "--out", out]
            options += ["--attributes", str(split / "attributes.json")]
            options += [f"--ann={split / name}" for name in ("instances.json", "stuff.json")]
            return [*start, str(ROOT / "tools/generate.py"), str(CONFIG), "none", *options]

        result = measure(command, args.counts, args.rank_count, args.ranks, args.repeats)
    print(
        f"cost of an image, {max(args.counts)} images beside {sorted(args.counts)[1]}: {result['linearity']:.3f} x"
    )
    print(f"speed-up of {args.ranks} ranks on cores of their own: {result['speed_up']:.2f} x")
    print(f"goals: at most {LINEAR} x, at least {SPEED_UP} x")
    if args.json:
        info = dict(date=time.strftime("%Y-%m-%d"), torch=torch.__version__, steps=args.steps)
        command_line = "python benchmarks/cost_scaling.py " + " ".join(sys.argv[1:])
        Path(args.json).write_text(json.dumps(dict(command=command_line, **info, **result), indent=1) + "\n")


if __name__ == "__main__":
    main()
