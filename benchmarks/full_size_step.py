"""Run one training step of the full-size model on a CPU: SD 1.5's architecture with random weights, with the P.A. loss.

    python benchmarks/full_size_step.py --json benchmarks/results/full_size_step.json

Forward and backward of `configs/_base_/models/detdiffusion_sd15.py` with batch size 1 and 256 x 256 pixels in float32,
including the VAE; needs 10 GB of memory and no files of Stable Diffusion. The optimizer's step is omitted, because its
moments would need another 8 GB.
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
sys.path.insert(0, str(ROOT))

WORDS = "an image with easy hard background person dog tree sky grass".split()


def build(folder: str, checkpointing: bool):
    """Build the editor of the paper's configuration with random weights instead of Stable Diffusion's."""
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    import detdiffusion.models  # noqa: F401
    from detdiffusion.models.editors.detdiffusion.single_file import sd1_part
    from detdiffusion.models.editors.detdiffusion.single_file_configs import SD1_CONFIGS
    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer
    from detdiffusion.registry import MODELS

    write_small_tokenizer(folder, WORDS)
    model = Config.fromfile(ROOT / "configs/_base_/models/detdiffusion_sd15.py").model.to_dict()
    parts = {role: sd1_part(role) for role in SD1_CONFIGS}
    parts["unet"]["sample_size"] = 32
    parts["tokenizer"] = dict(type="CLIPTokenizer", from_pretrained=folder)
    init_default_scope("detdiffusion")
    return MODELS.build({**model, **parts, "dtype": "fp32", "gradient_checkpointing": checkpointing})


def batch() -> dict:
    """Return one image of 256 x 256 pixels and its layout of five objects with masks."""
    import torch
    from mmengine.structures import BaseDataElement

    from detdiffusion.models.losses import boxes_to_masks
    from detdiffusion.structures import Layout

    corners = torch.rand(5, 2, 2)
    boxes = torch.cat((corners.amin(1), corners.amax(1)), dim=1)
    layout = Layout(
        boxes,
        ["person", "dog", "tree", "sky", "grass"],
        ["easy", "hard", "easy", "background", "background"],
        masks=boxes_to_masks(boxes, 256, 256),
    )
    sample = BaseDataElement()
    sample.set_data(dict(layout=layout))
    image = torch.randint(0, 256, (3, 256, 256), dtype=torch.uint8)
    return dict(inputs=[image], data_samples=[sample])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()

    import torch

    def lap() -> dict:
        nonlocal wall, cpu
        before = wall, cpu
        wall, cpu = time.perf_counter(), time.process_time()
        return dict(seconds=round(wall - before[0], 1), cpu_seconds=round(cpu - before[1], 1))

    wall, cpu = time.perf_counter(), time.process_time()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        editor = build(folder, args.gradient_checkpointing).train()
    phases = dict(build=lap())
    data = editor.data_preprocessor(batch(), True)
    losses = editor(**data, mode="loss")
    phases["forward"] = lap()
    total = sum(losses.values())
    total.backward()
    phases["backward"] = lap()
    parameters = {
        name: sum(p.numel() for p in getattr(editor, name).parameters())
        for name in ("unet", "text_encoder", "vae", "mask_head")
    }
    trained = [p for p in editor.parameters() if p.requires_grad]
    reached = editor.unet.conv_in.weight.grad
    result = dict(
        date=time.strftime("%Y-%m-%d"),
        command=" ".join(["python", "benchmarks/full_size_step.py", *sys.argv[1:]]),
        hardware=f"{platform.machine()} CPU, {torch.get_num_threads()} threads, other work beside it",
        torch=torch.__version__,
        parameters=parameters,
        trained_parameters=sum(p.numel() for p in trained),
        without_gradient=sum(p.grad is None for p in trained),
        losses={name: value.item() for name, value in losses.items()},
        finite=bool(torch.isfinite(total)) and bool(torch.isfinite(reached).all()),
        phases=phases,
        peak_memory_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    )
    for name, value in result.items():
        print(f"{name}: {value}")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
