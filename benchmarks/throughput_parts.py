"""Code shared by both throughput benchmarks: models of two sizes, data, timing, and the machine's peak."""

from __future__ import annotations

import json
import platform
import resource
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
SCENE_WORDS = ["an", "image", "with", "easy", "hard", "background"]


def specs(size: str, folder: Path) -> dict:
    """Return config dicts of vae, text_encoder, tokenizer, unet and scheduler, image side and layout tokenizer options.

    ``tiny`` is the zoo's base, that diffusers' pipeline runs too; ``sd15`` has Stable Diffusion 1.5's architecture with
    random weights (tokenizer and embeddings are smaller, which does not change the time of a step).
    """
    if size == "tiny":
        zoo = dict(from_pretrained="zoo://miniscenes_base")
        kinds = dict(
            vae="AutoencoderKL",
            text_encoder="CLIPTextModel",
            tokenizer="CLIPTokenizer",
            unet="UNet2DConditionModel",
        )
        parts = {name: dict(type=kind, subfolder=name, **zoo) for name, kind in kinds.items()}
        parts["scheduler"] = dict(type="DDPMScheduler", subfolder="scheduler", **zoo)
        tokenizer = recipe_of("detdiffusion_small").layout_tokenizer.to_dict()
        return dict(parts=parts, side=64, layout_tokenizer=tokenizer)
    from detdiffusion.datasets.miniscenes import STUFF, THINGS
    from detdiffusion.models.editors.detdiffusion.single_file import sd1_part
    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer

    words = sorted(
        {word for name in (*THINGS, *STUFF) for word in name.replace("-", " ").split()} | {*SCENE_WORDS}
    )
    vocabulary = write_small_tokenizer(folder / "tokenizer", words)
    special = dict(bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1)
    parts = dict(
        vae=sd1_part("vae"),
        text_encoder=sd1_part("text_encoder", vocab_size=vocabulary, **special),
        tokenizer=dict(type="CLIPTokenizer", from_pretrained=str(folder), subfolder="tokenizer"),
        unet=sd1_part("unet", sample_size=32),
        scheduler=sd1_part("scheduler"),
    )
    return dict(parts=parts, side=256, layout_tokenizer=dict(bins=(256, 256), max_length=77))


def build_editor(spec: dict, dtype: str, device: torch.device, **options) -> torch.nn.Module:
    """Build the editor of :func:`specs`; ``options`` are further arguments of ``DetDiffusion``."""
    from mmengine.registry import init_default_scope

    import detdiffusion.models  # noqa: F401
    from detdiffusion.registry import MODELS

    init_default_scope("detdiffusion")
    parts = drawn_on(device, spec["parts"])
    config = dict(type="DetDiffusion", **parts, layout_tokenizer=spec["layout_tokenizer"], dtype=dtype)
    return MODELS.build({**config, **options}).to(device)


def drawn_on(device: torch.device, parts: dict) -> dict:
    """Build the UNet and the VAE of ``parts`` if they have no weights: a GPU draws a billion of them in a second."""
    from detdiffusion.models.editors.detdiffusion.components import build_component

    def build(name: str, part: dict):
        if name not in ("unet", "vae") or "from_pretrained" in part:
            return part
        with device:
            return build_component(part, name)

    return {name: build(name, part) for name, part in parts.items()}


def perception_branch(size: str) -> dict:
    """Return the editor's arguments for the branch of the paper's config, or of the small generator's."""
    recipe = recipe_of("detdiffusion_small" if size == "tiny" else "detdiffusion_sd15")
    return dict(mask_head=recipe.mask_head.to_dict(), perception_loss=recipe.perception_loss.to_dict())


def recipe_of(name: str):
    """Return the ``model`` of a file of ``configs/_base_/models``."""
    from detdiffusion.utils.config import load_config

    return load_config(str(ROOT / f"configs/_base_/models/{name}.py")).model


def write_scenes(folder: Path, count: int, side: int) -> Path:
    """Write MiniScenes with made-up attributes; return the split's folder, which contains ``attributes.json``."""
    from detdiffusion.datasets.miniscenes import write_miniscenes

    split = Path(write_miniscenes(folder, "train", count, size=side))
    attributes = {}
    for kind, words in (("instances", ("easy", "hard")), ("stuff", ("background",))):
        for annotation in json.loads((split / f"{kind}.json").read_text())["annotations"]:
            attributes[annotation["id"]] = words[annotation["id"] % len(words)]
    (split / "attributes.json").write_text(json.dumps(dict(info={}, attributes=attributes)))
    return split


def layouts_of(folder: Path, count: int) -> list:
    """Return layouts of :func:`write_scenes`'s folder, all objects easy; they repeat where there are too few."""
    from detdiffusion.datasets import LayoutCocoDataset

    data = LayoutCocoDataset(
        ["instances.json", "stuff.json"], "images", str(folder), filter_cfg=dict(min_objects=1)
    )
    chosen = [data.layouts[i % len(data)] for i in range(count)]
    return [layout.with_attributes(["easy"] * len(layout)) for layout in chosen]


@lru_cache
def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measure FLOP/s of a large matrix product, the reference of utilisation; on a CPU, per processor second."""
    on_cpu = 2048 if dtype == torch.float32 else 512  # without instructions of its own, bfloat16 is very slow
    n = 8192 if device.type == "cuda" else on_cpu
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        _sync(device)
        start = clock()
        a @ b
        _sync(device)
        best = min(best, clock() - start)
    return 2 * n**3 / best


def interleave(
    arms: dict[str, Callable[[], object]],
    rounds: int,
    steps: int,
    device: torch.device,
    compiled: bool = False,
) -> dict[str, dict]:
    """Run ``steps`` calls of each arm in turn, ``rounds`` times, after a warm-up.

    Args:
        arms: the functions to call.
        rounds, steps: number of rounds, and of calls of each arm in a round.
        device: device that they run on.
        compiled: whether some arms are compiled; then each is warmed up by three calls instead of one, as CUDA graphs
            are recorded from the second call on.

    Returns:
        By arm: ``seconds`` (per step, median of the rounds), ``cpu_seconds`` (of this process, per step),
        ``spread`` (lowest and highest seconds, or processor seconds on a CPU, of a round), ``warm_up_seconds`` (of
        all warm-up calls, with all compilation) and ``extra_gb`` (additional CUDA memory, None on a CPU).
    """
    times: dict[str, list] = {name: [] for name in arms}
    memory: dict[str, float | None] = dict.fromkeys(arms)
    warm_up = {}
    for name, step in arms.items():
        start = time.perf_counter()
        for _ in range(3 if compiled else 1):
            step()
        _sync(device)
        warm_up[name] = time.perf_counter() - start
    for _ in range(rounds):
        for name, step in arms.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
                before = torch.cuda.memory_allocated(device)
            _sync(device)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(steps):
                step()
            _sync(device)
            times[name].append(((time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps))
            if device.type == "cuda":
                extra = (torch.cuda.max_memory_allocated(device) - before) / 1e9
                memory[name] = max(memory[name] or 0.0, extra)
    middle = {
        name: torch.tensor(pairs, dtype=torch.float64).median(dim=0).values.tolist()
        for name, pairs in times.items()
    }
    clock = 0 if device.type == "cuda" else 1
    return {
        n: dict(
            seconds=middle[n][0],
            cpu_seconds=middle[n][1],
            spread=[end(pair[clock] for pair in times[n]) for end in (min, max)],
            warm_up_seconds=warm_up[n],
            extra_gb=memory[n],
        )
        for n in arms
    }


def flops_of(call: Callable[[], object]) -> int:
    """Count the multiply-adds, as two operations each, of one call's matrix products, convolutions and attention."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def table(
    results: dict[str, dict],
    batch: int,
    flops: int | dict[str, float],
    peak: float,
    base: str,
    device: torch.device,
) -> list[str]:
    """Return a markdown table; on a CPU, times are processor seconds, which depend least on other processes.

    ``flops`` are the operations of a batch, of all arms or of each.
    """
    key = "seconds" if device.type == "cuda" else "cpu_seconds"
    lines = [
        "| arm | images/s | s a step | speed | warm-up s | extra GB | utilisation |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, r in results.items():
        speed = results[base][key] / r[key]
        operations = flops[name] if isinstance(flops, dict) else flops
        extra = "n/a" if r["extra_gb"] is None else f"{r['extra_gb']:.2f}"
        lines.append(
            f"| {name} | {batch / r[key]:.2f} | {r[key]:.4f} | {speed:.2f} x | {r['warm_up_seconds']:.1f} | {extra} "
            f"| {operations / r[key] / peak:.1%} |"
        )
    return lines


def machine(device: torch.device, dtype: torch.dtype, peak: float) -> dict:
    """Return a description of the machine."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU {platform.machine()}"
    return dict(
        date=time.strftime("%Y-%m-%d"),
        device=name,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        dtype=str(dtype).removeprefix("torch."),
        peak_tflops=round(peak / 1e12, 3),
        peak_is="best of 6 large matrix products here, in this dtype",
        process_peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        times="wall" if device.type == "cuda" else "processor seconds of the process",
    )


def _sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
