"""Export of trained generators and autoencoders as diffusers folders."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from detdiffusion.utils.errors import UserError

if TYPE_CHECKING:
    from detdiffusion.models.editors.detdiffusion.backbones import Backbone

_DTYPES = dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)


def export_diffusers(
    config: str,
    checkpoint: str,
    out_dir: str | Path,
    dtype: str = "fp32",
    cfg_options: Sequence[str] | None = None,
    license: str | None = None,
    results: Sequence = (),
) -> dict[str, int]:
    """Export a trained model as a folder of safetensors files that diffusers can load.

    A generator is exported as ``model_index.json``, ``vae``, ``text_encoder``, ``tokenizer``, ``unet``, ``scheduler``
    and ``layout_config.json`` (how layouts are turned into prompts; configs that start from the folder read it); LoRA
    updates are merged. ``pipeline.py`` (:mod:`.layout_pipeline`), for backbones that have one, generates images of
    layouts without this package; ``README.md`` is the model card (:mod:`.model_card`). An autoencoder is exported as
    ``vae``, with its scaling factor fitted to 256 training images.

    Args:
        config: config that the model was trained with.
        checkpoint: mmengine checkpoint; its averaged (EMA) weights are used if it has any.
        out_dir: folder to write; existing parts are replaced.
        dtype: dtype of the saved weights, ``fp32``, ``fp16`` or ``bf16``.
        cfg_options: ``key=value`` overrides of the config.
        license: licence of the weights for the model card, as an identifier of the Hugging Face hub.
        results: figures for the model card, rows of :func:`detdiffusion.evaluation.results.read_result_file`.

    Returns:
        Bytes written for each part.

    Raises:
        UserError: the checkpoint does not match the config, the model is neither a generator nor an autoencoder, or
            its weights overflow in ``dtype``.
    """
    from mmengine.registry import init_default_scope

    import detdiffusion.models  # noqa: F401  registers the models
    from detdiffusion.models.editors.detdiffusion.layout_config import write_layout_config
    from detdiffusion.models.editors.detdiffusion.lora import merge_lora
    from detdiffusion.registry import MODELS
    from detdiffusion.utils.checkpoint import check_finite, load_checkpoint, load_strictly, stored_classes
    from detdiffusion.utils.config import config_errors, load_config
    from detdiffusion.utils.config_kind import kind_of
    from detdiffusion.utils.image_rules import rules_of_config

    from .model_card import CardFacts, write_model_card

    cfg = load_config(config, cfg_options)
    if (kind := kind_of(cfg)).startswith("a detector") or not cfg.get("model"):
        raise UserError(f"config {config} is {kind}; only generators and autoencoders can be exported")
    init_default_scope("detdiffusion")
    with config_errors(config):
        model = MODELS.build(cfg.model)
    stored = load_checkpoint(checkpoint)
    load_strictly(model, stored, f"checkpoint {checkpoint}, config {config}")
    model.eval()
    classes = stored_classes(stored, f"checkpoint {checkpoint}")
    out_dir = Path(out_dir)
    if hasattr(model, "fit_scaling_factor"):
        if not model.freeze_encoder:
            with rules_of_config(cfg, config):
                model.fit_scaling_factor(_training_images(cfg, 256))
        parts = dict(vae=model.vae)
    elif hasattr(model, "backbone"):
        for name in model.backbone.trained:
            merge_lora(getattr(model, name))
        parts = model.backbone.folder_parts()
        _write_index(parts, out_dir, model.backbone)
        write_layout_config(
            out_dir, model.layout_tokenizer, **model.backbone.stored_condition(), **_about(cfg, classes)
        )
        if model.backbone.layout_pipeline:
            _write_pipeline(out_dir, model.backbone.layout_pipeline)
        facts = CardFacts(
            out_dir.resolve().name,
            cfg,
            Path(checkpoint),
            stored.get("meta") or {},
            classes,
            dtype,
            license,
            results,
        )
        write_model_card(out_dir, model, facts)
    else:
        raise UserError(f"{config}: its model {cfg.model.type} is neither a generator nor an autoencoder")
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            part.to(_DTYPES[dtype])
            check_finite(part.state_dict(), f"{name} as {dtype}", "Export with --dtype fp32 or bf16.")
        part.save_pretrained(out_dir / name)
        _forget_origin(out_dir / name)
    return {
        name: sum(file.stat().st_size for file in (out_dir / name).rglob("*") if file.is_file())
        for name in parts
    }


def _forget_origin(folder: Path) -> None:
    """Remove the path that a part was loaded from from its configuration files."""
    for file in folder.glob("*.json"):
        content = json.loads(file.read_text())
        if isinstance(content, dict) and (content.keys() & {"_name_or_path", "name_or_path"}):
            kept = {k: v for k, v in content.items() if k not in ("_name_or_path", "name_or_path")}
            file.write_text(json.dumps(kept, indent=2) + "\n")


def _training_images(cfg, count: int) -> torch.Tensor:
    """Return evenly spaced images of the training set, the same in every call: (count, 3, H, W) in [-1, 1]."""
    import detdiffusion.datasets  # noqa: F401  registers the data sets
    from detdiffusion.datasets.samplers import SeededIndex
    from detdiffusion.registry import DATASETS

    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    count = min(count, len(dataset))
    images = [dataset[SeededIndex(k * len(dataset) // count, k)]["inputs"] for k in range(count)]
    return torch.stack(images).float() / 127.5 - 1


def _about(cfg, classes: Sequence[str]) -> dict:
    """Return the classes of the training data and the config's filters, each only if known."""
    about = {}
    if classes:
        about["classes"] = list(classes)
    filters = cfg.get("train_dataloader", {}).get("dataset", {}).get("filter_cfg")
    if filters:
        about["filter_cfg"] = dict(filters)
    return about


def _write_pipeline(out_dir: Path, name: str) -> None:
    """Write ``pipeline.py``: the module of a pipeline that takes layouts, and what it imports of the package."""
    folder = Path(__file__).parent
    files = (
        folder.with_name("detdiffusion") / "blueprint.py",
        folder / "layout_prompts.py",
        folder / f"{name}.py",
    )
    code = "\n\n".join(re.sub(r"^from \..*\n", "", file.read_text(), flags=re.MULTILINE) for file in files)
    (out_dir / "pipeline.py").write_text(code)


def _write_index(parts: dict, out_dir: Path, backbone: Backbone) -> None:
    import diffusers

    out_dir.mkdir(parents=True, exist_ok=True)
    index = dict(_class_name=backbone.pipeline, _diffusers_version=diffusers.__version__)
    for name, part in parts.items():
        library = type(part).__module__.split(".")[0]
        index[name] = [library, type(part).__name__]
    index.update(backbone.pipeline_options)
    (out_dir / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
