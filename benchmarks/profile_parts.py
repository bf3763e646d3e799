"""Show where the seconds of a training step and of a generated image go, part by part.

    OMP_NUM_THREADS=1 python benchmarks/profile_parts.py --json work_dirs/profile.json
    python benchmarks/profile_parts.py --size sd15 --device cuda --batch-size 16 --workers 8

Runs the steps of `train_throughput.py` with the perception-aware branch, and `infer` with PNG encoding, under torch's
profiler. Every operator's own time is added to the part in whose forward pass it ran, or whose backward pass it is;
parts above 5 % are marked. The profiler makes small operators look slower than they are, so shares of parts with many
small operators (mask head, clipping) are upper bounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

PREFIX = "part: "
KNOWN = {"enumerate(DataLoader)": "data loading", "Optimizer.step": "optimizer"}
BACKWARD, REST, MARK = " (backward)", "everything else", 0.05


def mark(owner: object, method: str, part: str) -> None:
    """Name a method's time as a part of the profile."""
    from torch.profiler import record_function

    inner = getattr(owner, method)

    def marked(*args, **kwargs):
        with record_function(PREFIX + part):
            return inner(*args, **kwargs)

    setattr(owner, method, marked)


def mark_editor(editor) -> None:
    """Name the parts of an editor."""
    parts = dict(text_encoder="text encoder", unet="UNet", noise_loss="noise loss", mask_head="mask head")
    for name, part in parts.items():
        if getattr(editor, name) is not None:
            mark(getattr(editor, name), "forward", part)
    mark(editor.layout_tokenizer, "encode", "prompts")
    mark(editor.data_preprocessor, "forward", "preprocessing")
    mark(editor.test_scheduler, "step", "sampling scheduler")
    mark(editor, "_perception_loss", "P.A. loss and matching")
    mark(editor, "decode_latents", "VAE decoder")


def seconds_by_part(events, device_type: str) -> dict[str, float]:
    """Sum the operators' own seconds by part.

    Args:
        events: ``profile.events()``. A backward operator has the sequence number of its forward operator.
        device_type: ``cuda`` sums the time of kernels, otherwise processor time is summed.
    """
    own = "self_device_time_total" if device_type == "cuda" else "self_cpu_time_total"
    forward: dict[int, str] = {}
    for event in sorted(events, key=lambda one: one.time_range.start):
        if event.sequence_nr >= 0 and not event.name.endswith("Backward0"):
            forward[event.sequence_nr] = _part_of(event)
    seconds: Counter = Counter()
    for event in events:
        above = event
        while above is not None and not above.name.endswith("Backward0"):
            above = above.cpu_parent
        if above is not None:
            part = forward.get(above.sequence_nr, REST) + BACKWARD
        elif event.name.startswith("autograd::engine::evaluate_function: ") and event.cpu_children:
            part = forward.get(event.cpu_children[0].sequence_nr, REST) + BACKWARD
        else:
            part = _part_of(event)
        seconds[part] += getattr(event, own) / 1e6
    return dict(seconds.most_common())


def _part_of(event) -> str:
    while event is not None:
        if event.name.startswith(PREFIX):
            return event.name.removeprefix(PREFIX)
        for begin, part in KNOWN.items():
            if event.name.startswith(begin):
                return part
        event = event.cpu_parent
    return REST


def profiled(call: Callable[[], object], times: int, device_type: str) -> dict[str, float]:
    """Return the seconds of each part of one call, after a call that does not count."""
    from torch.profiler import ProfilerActivity, profile

    call()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device_type == "cuda" else [])
    with profile(activities=activities) as found:
        for _ in range(times):
            call()
    return {part: value / times for part, value in seconds_by_part(found.events(), device_type).items()}


def draw(editor, layouts, side: int, steps: int) -> None:
    """Generate a batch and encode it as PNG files in memory."""
    from PIL import Image
    from torch.profiler import record_function

    editor.eval()  # clears the text states of the last call, which had the same layouts
    samples = editor.infer(layouts, height=side, width=side, num_inference_steps=steps)["samples"]
    with record_function(PREFIX + "image files"):
        pixels = (samples * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for image in pixels:
            Image.fromarray(image).save(BytesIO(), "png")


def table(title: str, seconds: dict[str, float]) -> str:
    """Return the parts with their milliseconds and shares."""
    from detdiffusion.utils.tables import format_table

    total = sum(seconds.values())
    rows = [[title, "ms", "share", ""]]
    for part, value in seconds.items():
        rows.append([part, f"{1e3 * value:.2f}", f"{value / total:.1%}", "*" if value > MARK * total else ""])
    return format_table([*rows, ["total", f"{1e3 * total:.2f}", "", ""]])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["tiny", "sd15"], default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--times", type=int, default=3, help="profiled steps, and batches of images")
    parser.add_argument("--denoising-steps", type=int, default=10)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()

    import torch
    from mmengine.optim import OptimWrapper
    from throughput_parts import layouts_of, machine, measured_peak, specs, write_scenes
    from train_throughput import our_arms, our_editor

    device = torch.device(args.device)
    dtype = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)[args.dtype]
    settings = SimpleNamespace(
        size=args.size, workers=args.workers, gradient_checkpointing=False, channels_last=False, compile=False
    )
    with tempfile.TemporaryDirectory() as work:
        spec = specs(args.size, Path(work))
        folder = write_scenes(Path(work) / "data", max(args.images, args.batch_size), spec["side"])
        torch.manual_seed(0)
        editor = our_editor(spec, settings, device, dtype)
        arms = our_arms(editor, spec, folder, Path(work), settings, args.batch_size)
        mark_editor(editor)
        mark(OptimWrapper, "_clip_grad", "clipping")
        step = profiled(arms["ours + P.A."], args.times, device.type)
        print(table(f"training step, batch {args.batch_size}", step), end="\n\n")
        layouts = layouts_of(folder, args.batch_size)
        images = profiled(
            lambda: draw(editor, layouts, spec["side"], args.denoising_steps), args.times, device.type
        )
        title = f"{args.batch_size} images, {args.denoising_steps} steps"
        print(table(title, images))
    if args.json:
        info = machine(device, dtype, measured_peak(device, dtype))
        command = "python benchmarks/profile_parts.py " + " ".join(sys.argv[1:])
        record = dict(command=command, **info, batch=args.batch_size, training_step=step, images=images)
        Path(args.json).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
