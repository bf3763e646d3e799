"""Compare images per second of our sampler and the stock StableDiffusionPipeline, alternating in one run.

    OMP_NUM_THREADS=1 python benchmarks/generate_throughput.py --json benchmarks/results/generate_throughput_cpu.json
    python benchmarks/generate_throughput.py --size sd15 --device cuda --batch-sizes 4 16 64 --steps 50
    python benchmarks/generate_throughput.py --batch-sizes 32 --steps 50 --plans fast steps=10    # plans, too

Same weights, DPM-Solver++ steps, guidance 3.5, dtype, batch and image size. `ours` generates from layouts with
`infer`, which includes building prompts; `stock` gets prompts. Both encode the prompts in every call. Utilisation
counts the multiply-adds of the UNet only, for both arms.
"""

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]


def stock_pipeline(editor, spec: dict, device, dtype):
    """Return diffusers' pipeline with copies of the editor's weights in ``dtype``."""
    import copy

    import torch
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    weights = {
        name: copy.deepcopy(getattr(editor, name)).to(dtype, memory_format=torch.contiguous_format)
        for name in ("vae", "text_encoder", "unet")
    }
    stock = StableDiffusionPipeline(
        **weights,
        tokenizer=editor.tokenizer,
        scheduler=DPMSolverMultistepScheduler.from_config(editor.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(device)
    stock.set_progress_bar_config(disable=True)
    stock.tokenizer.model_max_length = spec["layout_tokenizer"]["max_length"]
    return stock


def sampling_arms(editor, stock, spec: dict, folder: Path, batch: int, steps: int):
    """Return sampling functions by name, and the UNet's operations in a batch."""
    import torch
    from throughput_parts import flops_of, layouts_of

    layouts = layouts_of(folder, batch)
    prompts = ["An image with " + " ".join(layout.names) for layout in layouts]
    side = spec["side"]
    config, weight = stock.unet.config, stock.unet.conv_in.weight
    latents = weight.new_zeros(2 * batch, config.in_channels, *[side // editor.latent_scale] * 2)
    states = weight.new_zeros(2 * batch, spec["layout_tokenizer"]["max_length"], config.cross_attention_dim)
    with torch.no_grad():
        flops = steps * flops_of(lambda: stock.unet(latents, 1, states))
    options = dict(num_inference_steps=steps, guidance_scale=3.5, height=side, width=side)

    def ours() -> None:
        editor.eval()  # clears the text states of the last call: the prompts are the same in every one
        editor.infer(layouts, **options)

    return {"stock": partial(stock, prompts, output_type="pt", **options), "ours": ours}, flops


def plan_arm(editor, spec: dict, folder: Path, batch: int, text: str):
    """Return a sampling function of ours by a plan, and its evaluations of the network for an image."""
    from throughput_parts import layouts_of

    from detdiffusion.models.editors.detdiffusion.sampler import count_evaluations
    from detdiffusion.utils.sampling_plan import read_plan

    layouts, arguments = layouts_of(folder, batch), read_plan(text).arguments()

    def ours() -> None:
        editor.eval()
        editor.infer(layouts, height=spec["side"], width=spec["side"], **arguments)

    return ours, count_evaluations(editor.test_scheduler, **arguments)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=["tiny", "sd15"], default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--dtype", choices=["fp32", "bf16", "fp16"], help="default: fp32 on a CPU, bf16 on a GPU"
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8])
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument(
        "--plans",
        nargs="+",
        default=[],
        metavar="PLAN",
        help="further arms: ours by these plans, e.g. fast steps=10; the stock pipeline keeps --steps",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--channels-last", action="store_true", help="ours only")
    parser.add_argument("--compile", action="store_true", help="ours only")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()

    import torch
    from throughput_parts import build_editor, interleave, machine, measured_peak, specs, table, write_scenes

    device = torch.device(args.device)
    names = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
    name = args.dtype or ("bf16" if device.type == "cuda" else "fp32")
    dtype = names[name]
    peak = measured_peak(device, dtype)
    records = []
    with tempfile.TemporaryDirectory() as work:
        spec = specs(args.size, Path(work))
        folder = write_scenes(Path(work) / "data", max(args.batch_sizes), spec["side"])
        torch.manual_seed(0)
        options = dict(channels_last=args.channels_last, compile=args.compile)
        scheduler = dict(type="DPMSolverMultistepScheduler")
        editor = build_editor(spec, name, device, test_scheduler=scheduler, **options).eval()
        stock = stock_pipeline(editor, spec, device, dtype)
        for batch in args.batch_sizes:
            arms, flops = sampling_arms(editor, stock, spec, folder, batch, args.steps)
            evaluations = {name: 2 * args.steps for name in arms}
            for text in args.plans:
                name, (arms[name], evaluations[name]) = (
                    f"ours, {text}",
                    plan_arm(editor, spec, folder, batch, text),
                )
            results = interleave(arms, args.rounds, 1, device, args.compile)
            share = {name: count / (2 * args.steps) for name, count in evaluations.items()}
            lines = table(results, batch, {name: flops * share[name] for name in arms}, peak, "stock", device)
            print(f"\nbatch {batch}, {args.steps} steps, {flops / 1e9:.1f} GFLOP a batch")
            print("\n".join(lines), flush=True)
            records.append(
                dict(
                    batch=batch,
                    steps=args.steps,
                    evaluations=evaluations,
                    gflop_a_batch=flops / 1e9,
                    arms=results,
                    table=lines,
                )
            )
    info = machine(device, dtype, peak)
    print(info)
    if args.json:
        command = "python benchmarks/generate_throughput.py " + " ".join(sys.argv[1:])
        Path(args.json).write_text(json.dumps(dict(command=command, **info, runs=records), indent=1) + "\n")


if __name__ == "__main__":
    main()
