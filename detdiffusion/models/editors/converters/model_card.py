"""The model card (``README.md``) of an exported generator, in the form of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import detdiffusion
from detdiffusion.structures import Layout
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.numbers import is_number
from detdiffusion.utils.tables import markdown_table
from detdiffusion.utils.training_logs import TrainingLogs

from ..detdiffusion.layout_config import FIELDS

if TYPE_CHECKING:
    from mmengine.config import Config

    from ..detdiffusion import DetDiffusion

_LOGGED = (
    "step",
    "iter",
    "epoch",
    "time",
    "data_time",
    "lr",
    "memory",
)  # in a log, but not figures of the model
_NOT_STATED = "not stated"
_SCRATCH = "random weights"
_EXAMPLE = """import torch
from diffusers import DiffusionPipeline

folder = "."  # where this file lies
pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline="pipeline", trust_remote_code=True)
images = pipeline(
    boxes={boxes},  # x1, y1, x2, y2 as fractions of the sides
    names={names},
{attributes}    num_inference_steps=50,
    generator=torch.Generator().manual_seed(0),
).images
images[0].save("example.png")
"""
_STOCK_EXAMPLE = """import torch
from diffusers import {pipeline}

folder = "."  # where this file lies
pipeline = {pipeline}.from_pretrained(folder)
images = pipeline(
    {prompt},
    num_inference_steps=50,
    guidance_scale=3.5,
    generator=torch.Generator().manual_seed(0),
).images
images[0].save("example.png")
"""


@dataclass
class CardFacts:
    """What is known about a generator besides its weights.

    Attributes:
        title: name of the model.
        config: the config that it was trained with.
        checkpoint: the path of its weights.
        meta: ``meta`` of the checkpoint.
        classes: classes of the training data; empty if unknown.
        dtype: dtype of the exported weights.
        license: licence of the exported weights, as an identifier of the Hugging Face hub.
        results: rows of result files about this model, :class:`~detdiffusion.evaluation.results.MethodResult`.
    """

    title: str
    config: Config
    checkpoint: Path
    meta: Mapping[str, Any]
    classes: Sequence[str]
    dtype: str
    license: str | None = None
    results: Sequence = field(default_factory=tuple)


def write_model_card(folder: str | Path, model: DetDiffusion, facts: CardFacts) -> None:
    """Write ``README.md``: use, data, recipe, figures and licences; what is not known is called so.

    Args:
        folder: the exported folder.
        model: the generator.
        facts: what is known about it.

    Raises:
        UserError: the file cannot be written, or the training's log is damaged.
    """
    parts = [
        _header(facts),
        f"# {facts.title}",
        _summary(model, facts),
        "## Use",
        _use(model),
        f"```python\n{_example(model, facts.classes)}```",
        "## Training data",
        markdown_table(("", "value"), _data(model, facts)),
        "## Recipe",
        markdown_table(("", "value"), _recipe(model, facts)),
        "## Figures",
        _figures(facts),
        "## Licence",
        markdown_table(("part", "licence"), _licences(facts)),
        "The terms of the weights that the training started from, and of its images, hold for these weights too.",
    ]
    write_atomic(Path(folder) / "README.md", ("\n\n".join(parts) + "\n").encode())


def _header(facts: CardFacts) -> str:
    lines = [
        "library_name: diffusers",
        "pipeline_tag: text-to-image",
        f"license: {facts.license or 'unknown'}",
    ]
    base = _base(facts)
    if base.startswith("hub://"):
        lines.append(f"base_model: {base.removeprefix('hub://')}")
    lines += ["tags:", *(f"- {tag}" for tag in ("layout-to-image", "object-detection", "detdiffusion"))]
    return "\n".join(["---", *lines, "---"])


def _summary(model: DetDiffusion, facts: CardFacts) -> str:
    words, blueprint = model.backbone.attribute_words, model.backbone.blueprint
    height, width = model.image_size
    text = f"A layout-to-image diffusion model for images of {width} x {height} pixels. "
    if words:
        levels = ", ".join(f"`{word}`" for word in words[:-1])
        text += (
            f"Each object has a class, a box and an attribute: {levels} (how well a detector finds it, best first) or "
            "`background` (the detector does not know its class). "
        )
    elif model.layout_tokenizer.template == "caption" and blueprint is None:
        text += "It reads class names only, no boxes. "
    else:
        text += "Each object has a class and a box; the model was trained without attributes. "
    if blueprint is not None:
        text += "Layouts are drawn at the network's input, which has channels for them. "
    return f"{text}Exported by detdiffusion {detdiffusion.__version__} from `{facts.checkpoint.name}`."


def _use(model: DetDiffusion) -> str:
    backbone = model.backbone
    whole = "A copy on the hub has to be downloaded as a whole (`huggingface_hub.snapshot_download`)."
    stock = f"`{backbone.pipeline}` loads the folder"
    if backbone.layout_pipeline:
        text = (
            "Boxes, names and attributes go in, images come out; `pipeline.py` needs diffusers, transformers and torch "
            "only. `layout_config.json` says how layouts become prompts"
        )
        return (
            f"{text}. {whole}"
            if backbone.blueprint
            else f"{text}, and {stock} too, for prompts in that form. {whole}"
        )
    if backbone.blueprint:
        return f"{stock}, but does not draw layouts at the network's input: start a config of detdiffusion from it."
    return f"{stock}, for prompts in the form that `layout_config.json` says. {whole}"


def _example(model: DetDiffusion, classes: Sequence[str]) -> str:
    words = model.backbone.attribute_words
    names = (list(classes) or ["person", "dog"])[:2]
    boxes = [[0.1, 0.3, 0.5, 0.8], [0.4, 0.1, 0.9, 0.7]][: len(names)]
    words = [words[-2], words[0]][: len(names)] if words else None
    if not model.backbone.layout_pipeline:
        prompt = model.layout_tokenizer.encode([Layout(boxes, names, words)]).prompts[0]
        return _STOCK_EXAMPLE.format(
            pipeline=model.backbone.pipeline, prompt=json.dumps(prompt, ensure_ascii=False)
        )
    attributes = f"    attributes={json.dumps(words)},\n" if words else ""
    return _EXAMPLE.format(boxes=boxes, names=json.dumps(names, ensure_ascii=False), attributes=attributes)


def _data(model: DetDiffusion, facts: CardFacts) -> list[tuple[str, str]]:
    dataset = _dict(_dict(facts.config.get("train_dataloader")).get("dataset"))
    files = dataset.get("ann_files") or dataset.get("ann_file") or ()
    files = [files] if isinstance(files, str) else files
    words = model.backbone.attribute_words
    return [
        ("annotations", ", ".join(f"`{Path(file).name}`" for file in files) or _NOT_STATED),
        ("classes", f"{len(facts.classes)}: {', '.join(facts.classes)}" if facts.classes else _NOT_STATED),
        ("attributes", ", ".join(words) or "none"),
        ("filter", _plain(dataset.get("filter_cfg")) or "none"),
    ]


def _recipe(model: DetDiffusion, facts: CardFacts) -> list[tuple[str, str]]:
    cfg, meta = facts.config, facts.meta
    settings = _dict(cfg.get("model"))
    optimizer = _dict(_dict(cfg.get("optim_wrapper")).get("optimizer"))
    hooks = [_kind(hook) for hook in cfg.get("custom_hooks") or ()]
    perception = model.perception_loss
    config = Path(cfg.filename).name if cfg.filename else "config"
    iterations, batch = meta.get("iter"), _dict(cfg.get("train_dataloader")).get("batch_size")
    tokenizer = {name: getattr(model.layout_tokenizer, name) for name in FIELDS if name != "attribute_words"}
    tokenizer.update(model.backbone.stored_condition())
    return [
        ("config", f"`{config}`"),
        ("starts from", _base(facts)),
        ("iterations", str(iterations) if is_number(iterations) else _NOT_STATED),
        ("batch size of a process", str(batch or _NOT_STATED)),
        (
            "optimizer",
            f"{_kind(optimizer)}, learning rate {optimizer.get('lr')}" if optimizer else _NOT_STATED,
        ),
        ("noise loss", _plain(settings.get("noise_loss")) or "default"),
        ("perception-aware loss", "no" if perception is None else f"yes, weight {perception.loss_weight}"),
        ("grounding loss", "no" if model.grounding_loss is None else "yes"),
        ("low-rank updates", _plain(settings.get("lora")) or "no"),
        ("averaged weights (EMA)", "yes" if "EMAHook" in hooks else "no"),
        ("seed", str(_dict(cfg.get("randomness")).get("seed", _NOT_STATED))),
        ("prompts", _plain(tokenizer)),
        ("prediction", f"{model.scheduler.config.prediction_type}"),
        ("sampler", type(model.test_scheduler).__name__),
        ("exported weights", facts.dtype),
    ]


def _figures(facts: CardFacts) -> str:
    """Return tables of the figures in the records: the training's log beside the checkpoint, and result files."""
    rows = [("training log", name, f"{value:.4g}") for name, value in _logged(facts).items()]
    for result in facts.results:
        source = f"`{Path(result.file).name}`: {result.method}, {result.dataset}, {result.protocol}"
        rows += [(source, name, f"{value:.4g}") for name, value in result.metrics.items()]
    if not rows:
        return "Not measured: there is no log beside the checkpoint, and no result file was given."
    return markdown_table(("source", "figure", "value"), rows) + (
        "\n\nAP is in [0, 1]. Losses are those logged last before the checkpoint. What is not listed is not measured."
    )


def _logged(facts: CardFacts) -> dict[str, float]:
    """Return the last losses up to the checkpoint's iteration, and the metrics of the validation at it.

    A validation is logged with its iteration as ``step``, in epoch-based training with its epoch.
    """
    iteration, losses, metrics = facts.meta.get("iter"), {}, {}
    steps = [iteration, *([facts.meta["epoch"]] if facts.meta.get("epoch") else [])]
    if not is_number(iteration):
        return {}
    for entry in TrainingLogs.read(facts.checkpoint.parent).entries:
        numbers = {k: float(v) for k, v in entry.values.items() if is_number(v) and k not in _LOGGED}
        if "loss" in entry.values:
            if entry.iteration <= iteration:
                losses = {name: value for name, value in numbers.items() if name.startswith("loss")}
        elif entry.values.get("step") in steps:
            metrics.update(numbers)
    return {**losses, **metrics}


def _licences(facts: CardFacts) -> list[tuple[str, str]]:
    base = _base(facts)
    start = [] if base == _SCRATCH else [(f"{base}, where the training started", _NOT_STATED)]
    return [
        ("these weights", facts.license or _NOT_STATED),
        *start,
        ("training images and annotations", _NOT_STATED),
        ("`pipeline.py`", "Apache-2.0"),
    ]


def _base(facts: CardFacts) -> str:
    """Return what the UNet's weights started from; of a local path only the name."""
    source = _dict(_dict(facts.config.get("model")).get("unet")).get("from_pretrained")
    if source is None:
        return _SCRATCH
    return str(source) if "://" in str(source) else Path(source).name


def _kind(value: Any) -> str:
    kind = _dict(value).get("type", "")
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _plain(value: Any) -> str:
    """Return a config's dict as ``key=value, ...``."""
    return ", ".join(f"{name}={content}" for name, content in _dict(value).items())


def _dict(value: Any) -> Mapping:
    return value if isinstance(value, Mapping) else {}
