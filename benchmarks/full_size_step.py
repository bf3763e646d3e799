"""Run one step of a full-size model with random weights: Stable Diffusion 1.5 or XL as in the configs, with P.A. loss.

    python benchmarks/full_size_step.py --json benchmarks/results/full_size_step.json
    python benchmarks/full_size_step.py --model sdxl --forward-only --dtype bf16 --side 256     # fits 24 GB of memory
    python benchmarks/full_size_step.py --model sdxl --device cuda --dtype bf16 --optimizer --steps 3

Forward and backward of `configs/_base_/models/detdiffusion_sd15.py` at 256 x 256 pixels, or of
`detdiffusion_sdxl.py` at 1024 x 1024 with its LoRA and gradient checkpointing, including the VAE; needs no files of
Stable Diffusion. SD 1.5 in float32 needs 10 GB of memory. `--optimizer` adds AdamW's step, whose moments need 8 bytes
for each trained parameter. `--forward-only` converts all weights to the dtype and only predicts the noise.
"""

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

WORDS = "an image with easy hard background person dog tree sky grass".split()
SIDES = dict(sd15=256, sdxl=1024)
OBJECTS = dict(person="easy", dog="hard", tree="easy", sky="background", grass="background")


def build(name: str, folder: str, side: int, device, **options):
    """Build the editor of the config `configs/_base_/models/detdiffusion_NAME.py` with random weights on a device.

    Args:
        name: `sd15` or `sdxl`.
        folder: where to write the tokenizer.
        side: side of the images in pixels.
        **options: overrides of the editor's arguments.
    """
    from mmengine.registry import init_default_scope
    from throughput_parts import drawn_on

    import detdiffusion.models  # noqa: F401
    from detdiffusion.models.editors.detdiffusion.single_file import sd1_part, sdxl_part
    from detdiffusion.models.editors.detdiffusion.single_file_configs import SD1_CONFIGS, SDXL_CONFIGS
    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer
    from detdiffusion.registry import MODELS
    from detdiffusion.utils.config import load_config

    write_small_tokenizer(folder, WORDS)
    model = load_config(str(ROOT / f"configs/_base_/models/detdiffusion_{name}.py")).model.to_dict()
    tokenizer = dict(type="CLIPTokenizer", from_pretrained=folder)
    if name == "sd15":
        parts = {role: sd1_part(role) for role in SD1_CONFIGS}
    else:
        parts = {role: sdxl_part(role) for role in SDXL_CONFIGS}
        model["backbone"] = dict(
            type="StableDiffusionXL",
            text_encoder_2=parts.pop("text_encoder_2"),
            tokenizer_2=dict(tokenizer, pad_token="!"),
        )
    parts["unet"]["sample_size"] = side // 8
    parts = drawn_on(device, {**parts, "tokenizer": tokenizer})
    init_default_scope("detdiffusion")
    return MODELS.build({**model, **parts, **options}).to(device)


def batch(side: int, count: int) -> dict:
    """Return ``count`` images of ``side`` x ``side`` pixels and their layouts of five objects with masks."""
    import torch
    from mmengine.structures import BaseDataElement

    from detdiffusion.models.losses import boxes_to_masks
    from detdiffusion.structures import Layout

    samples, images = [], []
    for _ in range(count):
        corners = torch.rand(len(OBJECTS), 2, 2)
        boxes = torch.cat((corners.amin(1), corners.amax(1)), dim=1)
        layout = Layout(
            boxes,
            list(OBJECTS),
            list(OBJECTS.values()),
            masks=boxes_to_masks(boxes, side, side),
        )
        samples.append(BaseDataElement())
        samples[-1].set_data(dict(layout=layout))
        images.append(torch.randint(0, 256, (3, side, side), dtype=torch.uint8))
    return dict(inputs=images, data_samples=samples)


def train(editor, side: int, args, lap) -> dict:
    """Run training steps; return the losses of the last one, and whether they and its gradients are finite."""
    import torch
    from mmengine.optim import build_optim_wrapper

    trained = [p for p in editor.parameters() if p.requires_grad]
    wrapper = None
    if args.optimizer:
        wrapper = build_optim_wrapper(editor, dict(optimizer=dict(type="AdamW", lr=1e-5, fused=True)))
    for step in range(args.steps):
        data = editor.data_preprocessor(batch(side, args.batch_size), True)
        losses = editor(**data, mode="loss")
        lap(f"forward {step + 1}")
        total = sum(losses.values())
        total.backward()
        lap(f"backward {step + 1}")
        found = dict(
            trained_parameters=sum(p.numel() for p in trained),
            without_gradient=sum(p.grad is None for p in trained),
            losses={name: value.item() for name, value in losses.items()},
            finite=all(bool(torch.isfinite(p.grad).all()) for p in trained if p.grad is not None)
            and bool(torch.isfinite(total)),
        )
        if wrapper:
            wrapper.step()
            lap(f"optimizer {step + 1}")
        editor.zero_grad(set_to_none=True)
    return found


def predict_noise(editor, side: int, args, lap) -> dict:
    """Predict the noise of one batch in ``--dtype``; return the prediction's shape, mean square and finiteness."""
    import torch

    dtype = getattr(torch, dict(fp32="float32", bf16="bfloat16")[args.dtype])
    editor.unet.to(dtype)
    for name in ("text_encoder", "text_encoder_2"):
        if hasattr(editor, name):
            getattr(editor, name).to(dtype)
    layouts = [sample.layout for sample in batch(side, args.batch_size)["data_samples"]]
    encoded = editor.layout_tokenizer.encode(layouts)
    channels = editor.unet.config.in_channels
    latents = torch.randn(len(layouts), channels, side // 8, side // 8, device=editor.device).to(dtype)
    lap("convert")
    with torch.no_grad():
        prompts = editor.backbone.encode_layouts(encoded, (side, side))
        lap("text")
        out = editor.backbone.predict(latents, torch.tensor([500], device=editor.device), prompts)
    lap("unet")
    return dict(
        shape=list(out.shape),
        mean_square=out.float().square().mean().item(),
        finite=bool(out.isfinite().all()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=list(SIDES), default="sd15")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--dtype", choices=["fp32", "bf16"], default="fp32", help="autocast of the training step"
    )
    parser.add_argument("--side", type=int, help="side of the images in pixels (default: 256, SDXL 1024)")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--gradient-checkpointing", action="store_true", help="SD 1.5; SDXL's config has it")
    parser.add_argument("--optimizer", action="store_true", help="with AdamW's step")
    parser.add_argument("--forward-only", action="store_true")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()
    if args.steps < 1 or args.batch_size < 1:
        parser.error("--steps and --batch-size must be at least 1")
    if args.forward_only and (args.optimizer or args.steps > 1):
        parser.error("--forward-only trains nothing: leave out --optimizer and --steps")

    import torch

    device, side = torch.device(args.device), args.side or SIDES[args.model]
    on_gpu = device.type == "cuda"
    phases: dict[str, dict] = {}
    clock = [time.perf_counter(), time.process_time()]

    def lap(name: str) -> None:
        if on_gpu:
            torch.cuda.synchronize(device)
        now = [time.perf_counter(), time.process_time()]
        phases[name] = dict(seconds=round(now[0] - clock[0], 2), cpu_seconds=round(now[1] - clock[1], 2))
        clock[:] = now

    torch.manual_seed(0)
    options: dict = dict(dtype=args.dtype)
    if args.gradient_checkpointing:
        options["gradient_checkpointing"] = True
    with tempfile.TemporaryDirectory() as folder:
        editor = build(args.model, folder, side, device, **options)
    lap("build")
    if args.forward_only:
        found = predict_noise(editor.eval(), side, args, lap)
    else:
        found = train(editor.train(), side, args, lap)
    names = ("unet", "text_encoder", "text_encoder_2", "vae", "mask_head")
    result = dict(
        date=time.strftime("%Y-%m-%d"),
        command=" ".join(["python", "benchmarks/full_size_step.py", *sys.argv[1:]]),
        hardware=torch.cuda.get_device_name(device)
        if on_gpu
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        torch=torch.__version__,
        model=args.model,
        side=side,
        parameters={
            name: sum(p.numel() for p in getattr(editor, name).parameters())
            for name in names
            if getattr(editor, name, None) is not None
        },
        **found,
        phases=phases,
        peak_memory_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    )
    if on_gpu:
        result["peak_gpu_memory_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
    for name, value in result.items():
        print(f"{name}: {value}")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
