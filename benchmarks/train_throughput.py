"""Compare our training step with a plain diffusers training loop, alternating in one run.

    OMP_NUM_THREADS=1 python benchmarks/train_throughput.py --json benchmarks/results/train_throughput_cpu.json
    python benchmarks/train_throughput.py --size sd15 --device cuda --batch-sizes 4 16 64 --workers 8

`plain` corresponds to diffusers' text-to-image script: images are read and encoded by the VAE in every step, prompts
are padded, and UNet and text encoder are trained by AdamW with plain MSE and gradient clipping at 1. `ours` trains the
same parts on layouts from cached latents, `ours + P.A.` adds masks, mask head and loss. Dtype, batch, checkpointing and
attention (SDPA) are the same. Utilisation counts the multiply-adds of the UNet and the text encoder only, forward and
backward, for all arms.
"""

import argparse
import json
import sys
import tempfile
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]


class PlainImages:
    """A plain torch data set of randomly mirrored images with captions."""

    def __init__(self, folder: Path, side: int) -> None:
        data = [json.loads((folder / f"{kind}.json").read_text()) for kind in ("instances", "stuff")]
        names = {c["id"]: c["name"] for d in data for c in d["categories"]}
        words: dict[int, list[str]] = {}
        for annotation in (a for d in data for a in d["annotations"]):
            words.setdefault(annotation["image_id"], []).append(names[annotation["category_id"]])
        self.items = [
            (folder / "images" / image["file_name"], "An image with " + " ".join(words.get(image["id"], [])))
            for image in data[0]["images"]
        ]
        self.side = side

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        import numpy as np
        import torch
        from PIL import Image

        path, caption = self.items[index]
        image = Image.open(path).convert("RGB").resize((self.side, self.side))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
        return (pixels.flip(-1) if torch.rand(()) < 0.5 else pixels), caption


def plain_arm(spec: dict, folder: Path, args, batch: int, device, dtype):
    """Return a step function of the plain loop, and its loss function (for counting operations)."""
    import torch
    from throughput_parts import drawn_on
    from torch.nn import functional as F

    from detdiffusion.models.editors.detdiffusion.components import build_component

    parts = drawn_on(device, spec["parts"])
    parts = {name: build_component(part, name) for name, part in parts.items()}
    # as in the editor: trained weights are float32, whatever dtype their files have
    vae, text, unet = (parts[name].float().to(device) for name in ("vae", "text_encoder", "unet"))
    vae.requires_grad_(False).to(dtype)
    unet.train(), text.train()
    if args.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW([*unet.parameters(), *text.parameters()], lr=1e-5, weight_decay=1e-2)
    loader = torch.utils.data.DataLoader(
        PlainImages(folder, spec["side"]), batch, shuffle=True, drop_last=True, num_workers=args.workers
    )
    batches = (b for _ in cycle([0]) for b in loader)
    scheduler, tokenizer = parts["scheduler"], parts["tokenizer"]

    def loss(latents, ids):
        noise = torch.randn_like(latents)
        steps = torch.randint(0, scheduler.config.num_train_timesteps, (len(latents),), device=device)
        noisy = scheduler.add_noise(latents, noise, steps)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            prediction = unet(noisy, steps, text(ids)[0], return_dict=False)[0]
        return F.mse_loss(prediction.float(), noise)

    def inputs():
        images, captions = next(batches)
        padding = dict(
            padding="max_length",
            max_length=spec["layout_tokenizer"]["max_length"],
            truncation=True,
            return_tensors="pt",
        )
        ids = tokenizer(list(captions), **padding).input_ids.to(device)
        with torch.no_grad():
            latents = vae.encode(images.to(device, dtype)).latent_dist.sample() * vae.config.scaling_factor
        return latents.float(), ids

    def step():
        value = loss(*inputs())
        value.backward()
        torch.nn.utils.clip_grad_norm_([*unet.parameters(), *text.parameters()], 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def model_only():
        latents, ids = inputs()
        return lambda: loss(latents, ids).backward() or optimizer.zero_grad()

    return step, model_only


def our_editor(spec: dict, args, device, dtype):
    """Return the editor with its perception-aware branch, in training mode."""
    import torch
    from throughput_parts import build_editor, perception_branch

    return build_editor(
        spec,
        {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype],
        device,
        **perception_branch(args.size),
        gradient_checkpointing=args.gradient_checkpointing,
        cache_latents=True,
        channels_last=args.channels_last,
        compile=args.compile,
    ).train()


def our_arms(editor, spec: dict, folder: Path, work: Path, args, batch: int):
    """Return step functions of one model without and with the perception-aware loss, sharing one cache."""
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import build_optim_wrapper

    from detdiffusion.datasets import LayoutCocoDataset
    from detdiffusion.engine import LatentCacheHook

    side = spec["side"]
    optimizer = dict(type="AdamW", lr=1e-5, weight_decay=1e-2, fused=True)
    wrapper = build_optim_wrapper(editor, dict(optimizer=optimizer, clip_grad=dict(max_norm=1.0)))
    pipelines = {}
    for masks in (False, True):
        steps = [
            dict(type="LoadLayoutImage", size=(side, side)),
            *([dict(type="LoadLayoutMasks")] if masks else []),
        ]
        steps += [dict(type="LoadPerceptionAttributes", attributes_file=str(folder / "attributes.json"))]
        steps += [dict(type="RandomFlipLayout"), dict(type="PackLayoutInputs")]
        data = LayoutCocoDataset(
            ["instances.json", "stuff.json"], "images", str(folder), steps, filter_cfg=dict(min_objects=1)
        )
        loader = torch.utils.data.DataLoader(
            data, batch, shuffle=True, drop_last=True, num_workers=args.workers, collate_fn=pseudo_collate
        )
        runner = SimpleNamespace(
            model=editor, train_loop=SimpleNamespace(dataloader=loader), work_dir=str(work)
        )
        LatentCacheHook().before_train(runner)
        pipelines[masks] = (b for loader in cycle([loader]) for b in loader)
    parts = editor.mask_head, editor.perception_loss

    def step(masks: bool):
        editor.mask_head, editor.perception_loss = parts if masks else (None, None)
        editor.train_step(next(pipelines[masks]), wrapper)
        editor.mask_head, editor.perception_loss = parts

    return {"ours": lambda: step(False), "ours + P.A.": lambda: step(True)}


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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of each arm per round")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--workers", type=int, default=0, help="workers of each data loader")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--channels-last", action="store_true", help="ours only")
    parser.add_argument("--compile", action="store_true", help="ours only")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()

    import torch
    from throughput_parts import flops_of, interleave, machine, measured_peak, specs, table, write_scenes

    device = torch.device(args.device)
    names = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
    dtype = names[args.dtype or ("bf16" if device.type == "cuda" else "fp32")]
    peak = measured_peak(device, dtype)
    records = []
    with tempfile.TemporaryDirectory() as work:
        spec = specs(args.size, Path(work))
        folder = write_scenes(Path(work) / "data", max(args.images, max(args.batch_sizes)), spec["side"])
        for batch in args.batch_sizes:
            torch.manual_seed(0)
            plain, model_only = plain_arm(spec, folder, args, batch, device, dtype)
            flops = flops_of(model_only())
            editor = our_editor(spec, args, device, dtype)
            arms = {"plain": plain, **our_arms(editor, spec, folder, Path(work), args, batch)}
            results = interleave(arms, args.rounds, args.steps, device, args.compile)
            lines = table(results, batch, flops, peak, "plain", device)
            key = "seconds" if device.type == "cuda" else "cpu_seconds"
            overhead = results["ours + P.A."][key] / results["ours"][key] - 1
            print(f"\nbatch {batch}, {flops / 1e9:.1f} GFLOP a step; P.A. adds {overhead:.1%}")
            print("\n".join(lines), flush=True)
            records.append(
                dict(batch=batch, gflop_a_step=flops / 1e9, pa_overhead=overhead, arms=results, table=lines)
            )
            del plain, model_only, editor, arms
    info = machine(device, dtype, peak)
    print(info)
    if args.json:
        command = "python benchmarks/train_throughput.py " + " ".join(sys.argv[1:])
        Path(args.json).write_text(json.dumps(dict(command=command, **info, runs=records), indent=1) + "\n")


if __name__ == "__main__":
    main()
