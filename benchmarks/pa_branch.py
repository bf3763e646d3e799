"""Measure what the perception-aware branch adds to a training step: operations, and seconds on this machine.

    python benchmarks/pa_branch.py --size sd15 --operations-only
    OMP_NUM_THREADS=1 python benchmarks/pa_branch.py --size sd15 --batch-size 2 --json work_dirs/pa_branch_sd15.json

Operations are counted exactly on the meta device, which needs neither time nor memory: matrix products, convolutions
and attention, forward and backward, of the UNet and the text encoder, and those of the mask head and the matching
costs. Seconds are those of forward and backward without the optimizer's step, from latents, with and without the branch
in turns; at SD 1.5's size (256 x 256 pixels, random weights, float32) they need about 12 GB of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

OBJECTS = 5
LIMITS = dict(sd15=0.08, tiny=0.10)


def operations(spec: dict, size: str, batch: int) -> dict[str, int]:
    """Count the operations of a training step without and with the branch, on the meta device."""
    import torch
    from throughput_parts import flops_of, perception_branch

    from detdiffusion.models.editors.detdiffusion.components import build_component
    from detdiffusion.models.editors.detdiffusion.feature_taps import FeatureTaps
    from detdiffusion.models.losses.mask_losses import pairwise_mask_bce, pairwise_mask_dice
    from detdiffusion.registry import MODELS

    empty = torch.device("meta") if size == "sd15" else contextlib.nullcontext()  # the zoo's have weights
    with empty:
        unet, text = (
            build_component(spec["parts"][n], n).float().to("meta") for n in ("unet", "text_encoder")
        )
    taps = FeatureTaps(unet)
    with torch.device("meta"):
        head = MODELS.build(dict(perception_branch(size)["mask_head"], in_channels=taps.channels))
        latents = torch.randn(batch, unet.config.in_channels, *[unet.config.sample_size] * 2)
        ids = torch.zeros(batch, spec["layout_tokenizer"]["max_length"], dtype=torch.long)
        timesteps = torch.zeros(batch, dtype=torch.long)

    def network() -> None:
        with taps:
            unet(latents, timesteps, text(ids)[0], return_dict=False)[0].square().mean().backward()

    def branch() -> None:
        # The UNet's backward pass has the same operations whether the branch adds to its gradients or not.
        logits = head([feature.detach().requires_grad_() for feature in taps.features]).flatten(2)
        with torch.no_grad():
            targets = logits.new_empty(batch, OBJECTS, logits.shape[2])
            pairwise_mask_bce(logits, targets), pairwise_mask_dice(logits, targets)
        logits.square().mean().backward()

    without = flops_of(network)
    return dict(without=without, with_branch=without + flops_of(branch))


def seconds(spec: dict, size: str, batch: int, rounds: int) -> dict[str, dict]:
    """Time forward and backward of the editor's losses without and with the branch, in turns."""
    import torch
    from mmengine.structures import BaseDataElement
    from throughput_parts import build_editor, interleave, perception_branch

    from detdiffusion.models.losses import boxes_to_masks
    from detdiffusion.structures import Layout

    torch.manual_seed(0)
    device, side = torch.device("cpu"), spec["side"]
    editor = build_editor(spec, "fp32", device, **perception_branch(size)).train()
    names = (["person", "car", "sky", "grass", "road"] * OBJECTS)[:OBJECTS]

    def sample() -> BaseDataElement:
        corners = torch.rand(OBJECTS, 2, 2)
        boxes = torch.cat((corners.amin(1), corners.amax(1)), dim=1)
        layout = Layout(boxes, names, ["easy"] * OBJECTS, masks=boxes_to_masks(boxes, side, side))
        return BaseDataElement(
            layout=layout, moments=torch.randn(editor.latent_shape(side, side)).abs().expand(2, -1, -1, -1)
        )

    samples, images = [sample() for _ in range(batch)], torch.zeros(batch, 1)
    parts = editor.mask_head, editor.perception_loss

    def step(branch: bool) -> None:
        editor.mask_head, editor.perception_loss = parts if branch else (None, None)
        sum(editor(images, samples, mode="loss").values()).backward()
        editor.mask_head, editor.perception_loss = parts
        editor.zero_grad()

    arms = {"without": lambda: step(False), "with_branch": lambda: step(True)}
    return interleave(arms, rounds, 1, device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["tiny", "sd15"], default="tiny")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--operations-only", action="store_true")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()

    import torch
    from throughput_parts import machine, measured_peak, specs

    import detdiffusion.models  # noqa: F401

    with tempfile.TemporaryDirectory() as work:
        spec = specs(args.size, Path(work))
        counted = operations(spec, args.size, args.batch_size)
        share = counted["with_branch"] / counted["without"] - 1
        result = dict(size=args.size, batch=args.batch_size, limit=LIMITS[args.size], operations=counted)
        result["operations_added"] = share
        print(
            f"{args.size}, batch {args.batch_size}: {counted['without'] / 1e9:.1f} GFLOP a step without the branch"
        )
        print(f"operations: the branch adds {share:.2%} (goal: at most {LIMITS[args.size]:.0%})")
        if not args.operations_only:
            arms = seconds(spec, args.size, args.batch_size, args.rounds)
            added = arms["with_branch"]["cpu_seconds"] / arms["without"]["cpu_seconds"] - 1
            result.update(arms=arms, processor_seconds_added=added)
            for name, found in arms.items():
                low, high = found["spread"]
                print(f"{name}: {found['cpu_seconds']:.3f} processor seconds ({low:.3f} to {high:.3f})")
            print(f"processor seconds: the branch adds {added:.2%}")
    if args.json:
        device = torch.device("cpu")
        info = machine(device, torch.float32, measured_peak(device, torch.float32))
        command = "python benchmarks/pa_branch.py " + " ".join(sys.argv[1:])
        Path(args.json).write_text(json.dumps(dict(command=command, **info, **result), indent=1) + "\n")


if __name__ == "__main__":
    main()
