"""Building of diffusers and transformers components from config dicts."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detdiffusion.utils.checkpoint import check_finite
from detdiffusion.utils.compat import fit_clip_names, fit_tokenizer_arguments
from detdiffusion.utils.errors import UserError, first_line, some
from detdiffusion.utils.zoo import resolve_source

from .layout_tokenizer import LayoutTokenizer, sincos_grid
from .single_file import is_single_file, load_single_file, tokenizer_source

HUB = "hub://"


def build_component(spec: Any, role: str) -> Any:
    """Build a diffusers or transformers object from its config.

    Args:
        spec: an object (returned unchanged) or a dict with ``type``, the name of a class that diffusers or
            transformers exports, and either ``from_pretrained`` or the configuration of the class.
            ``from_pretrained`` is a local folder, ``zoo://NAME`` or ``hub://OWNER/NAME``, with ``subfolder`` and other
            keywords of that method; or a single safetensors file of SD 1.x or SDXL, see :mod:`.single_file`. A
            transformers model built from its configuration accepts ``embedding_std``, the standard deviation of its
            initial token and position embeddings: CLIP's default of 0.02 is negligible next to the location tokens'
            0.7, which slows down the training of a small model.
        role: name of the editor's argument, for error messages.

    Raises:
        UserError: the type is unknown, nothing can be loaded from ``from_pretrained``, or weights are not finite.
    """
    if not isinstance(spec, dict):
        return spec
    spec = dict(spec)
    kind, source = spec.pop("type", None), spec.pop("from_pretrained", None)
    import diffusers
    import transformers

    cls = getattr(diffusers, str(kind), None) or getattr(transformers, str(kind), None)
    if cls is None:
        raise UserError(f"{role}: type {kind!r} is neither a diffusers nor a transformers class")
    if source is None:
        if hasattr(cls, "config_class") and cls.config_class is not None:  # a transformers model
            embedding_std = spec.pop("embedding_std", None)
            model = cls(cls.config_class(**spec))
            for module in model.modules() if embedding_std else ():
                if isinstance(module, nn.Embedding):
                    nn.init.normal_(module.weight, std=embedding_std)
            return model
        if hasattr(cls, "from_config"):
            return cls.from_config(spec)
        return cls(**fit_tokenizer_arguments(cls, spec))
    source = resolve_source(source, spec.get("subfolder"))
    part = _load_part(cls, kind, role, source, spec)
    if isinstance(part, nn.Module):
        where = source if is_single_file(source) else Path(source) / spec.get("subfolder", "")
        hint = "Use other weights: these come from a training that diverged, or a damaged or overflowed copy."
        check_finite(part.state_dict(), f"{role}: {where}", hint)
    return part


def _load_part(cls, kind: str, role: str, source: str, spec: dict):
    """Load a part from a folder, a hub id or a single file."""
    import transformers

    if is_single_file(source):
        spec = {k: v for k, v in spec.items() if k != "subfolder"}
        if not role.startswith("tokenizer"):
            return load_single_file(cls, role, source, **spec)
        source, extra = tokenizer_source(source, role)
        spec = {**extra, **spec}
    folder = _local_folder(source, spec.get("subfolder", ""), role)
    if (
        kind == "CLIPTokenizer"
        and folder is not None
        and (folder / "tokenizer.json").is_file()
        and not (folder / "vocab.json").is_file()
    ):
        cls = getattr(
            transformers, "CLIPTokenizerFast", cls
        )  # saved by transformers 5: 4's slow class cannot read it
    source = str(source).removeprefix(HUB)
    try:
        if not issubclass(cls, transformers.PreTrainedModel):
            return cls.from_pretrained(source, **spec)
        model, info = cls.from_pretrained(source, output_loading_info=True, **spec)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise UserError(
            f"{role}: {HUB}{source} cannot be loaded from the Hugging Face hub ({reason})"
            if folder is None
            else f"{role}: cannot load {kind} from {str(folder)!r}: {reason}"
        ) from error
    if info["missing_keys"]:
        _load_renamed(model, folder or Path(source), role)
    return model


def check_sources(model: Mapping) -> None:
    """Check that the folders named by a generator's config exist, before anything is loaded.

    Args:
        model: the ``model`` of a config.

    Raises:
        UserError: a folder does not exist.
    """
    backbone = model.get("backbone")
    parts = {**model, **(backbone if isinstance(backbone, Mapping) else {})}
    for role, spec in parts.items():
        source = spec.get("from_pretrained") if isinstance(spec, Mapping) else None
        if isinstance(source, str) and not is_single_file(source):
            subfolder = spec.get("subfolder") or ""
            _local_folder(resolve_source(source, subfolder), subfolder, role)


def _local_folder(source: str, subfolder: str, role: str) -> Path | None:
    """Return the folder of a part's weights, or None for a model of the hub (``hub://``).

    Raises:
        UserError: the folder does not exist.
    """
    if str(source).startswith(HUB):
        return None
    folder = Path(source) / subfolder
    if not folder.is_dir():
        is_name = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(source)) and not Path(source).parent.is_dir()
        asked = f" (for a model of the Hugging Face hub, write {HUB}{source})" if is_name else ""
        raise UserError(
            f"{role}: no folder {str(folder)!r}; it should be a diffusers folder (model_index.json, unet/, vae/, "
            "text_encoder/, tokenizer/, scheduler/), for example a download of Stable Diffusion 1.5; set the config's "
            f"variable to your copy{asked}"
        )
    return folder


def without_weights(spec: Any, role: str) -> Any:
    """Return a part's config with the architecture of its folder in place of ``from_pretrained``.

    Args:
        spec: as for :func:`build_component`.
        role: name of the part, for error messages.

    Raises:
        UserError: the folder does not exist, or the architecture is not in a local folder.
    """
    if not isinstance(spec, dict) or "from_pretrained" not in spec:
        return spec
    spec = dict(spec)
    source, subfolder = spec.pop("from_pretrained"), spec.pop("subfolder", "")
    if is_single_file(source) or str(source).startswith(HUB):
        raise UserError(f"{role}: the size of {source} is known only when it is loaded")
    folder = _local_folder(resolve_source(source, subfolder), subfolder, role)
    config = json.loads((folder / "config.json").read_text())
    return {**{key: value for key, value in config.items() if key[0] != "_"}, **spec}


def build_sampling_scheduler(spec: Any, like: Any, role: str) -> Any:
    """Build the scheduler used for sampling images.

    Args:
        spec: an object; a config for :func:`build_component` with ``from_pretrained``; a dict without it, completed by
            the betas and the prediction type of ``like``; or None for a copy of ``like``.
        like: the diffusers scheduler that the model was trained with.
        role: name of the argument, for error messages.

    Raises:
        UserError: diffusers has no such scheduler, or nothing can be loaded from ``from_pretrained``.
    """
    if spec is None:
        return copy.deepcopy(like)
    if not isinstance(spec, dict) or "from_pretrained" in spec:
        return build_component(spec, role)
    import diffusers

    options = dict(spec)
    kind = options.pop("type", None)
    cls = getattr(diffusers, str(kind), None)
    if cls is None:
        raise UserError(f"{role}: diffusers has no class {kind!r}")
    if not (isinstance(cls, type) and issubclass(cls, diffusers.SchedulerMixin)):
        raise UserError(
            f"{role}: diffusers' {kind} is not a scheduler; use one like DPMSolverMultistepScheduler"
        )
    return cls.from_config(like.config, **options)


def _load_renamed(model: nn.Module, folder: Path, role: str) -> None:
    """Load weights saved under other names, which the installed transformers would leave randomly initialised.

    Raises:
        UserError: some weights are missing under both names.
    """
    from safetensors.torch import load_file

    file, expected = folder / "model.safetensors", model.state_dict()
    state = load_file(file) if file.is_file() else {}
    fit_clip_names(state, expected)
    missing = [name for name in expected if name not in state]
    if missing:
        raise UserError(f"{role}: {file} lacks {len(missing)} tensors ({some(missing)})")
    model.load_state_dict(state)


def source_folder(spec: Any) -> str | None:
    """Return the local diffusers folder named by ``from_pretrained`` in a part's config, or None."""
    source = spec.get("from_pretrained") if isinstance(spec, dict) else None
    if source is None or is_single_file(source):
        return None
    return resolve_source(source)


def extend_text_encoder(text_encoder: nn.Module, layout_tokenizer: LayoutTokenizer) -> None:
    """Add embeddings to the text encoder for the tokens that the layout tokenizer added.

    Location tokens are initialised as a 2-D sine-cosine grid (paper 4.1, not rescaled), an attribute token as the mean
    of its word's embeddings.

    Raises:
        UserError: prompts are longer than the number of positions of the text encoder.
    """
    positions = getattr(
        text_encoder.config, "max_position_embeddings", None
    )  # None: relative positions, as T5
    if positions is not None and layout_tokenizer.max_length > positions:
        raise UserError(
            f"layout_tokenizer.max_length is {layout_tokenizer.max_length}, but the text encoder has {positions} "
            "positions: lower it, and set overflow='chunk' for more objects"
        )
    rows = text_encoder.get_input_embeddings().weight.shape[0]
    size = 1 + max(layout_tokenizer.tokenizer.get_vocab().values())  # ids may have gaps
    if size > rows:
        text_encoder.resize_token_embeddings(size, mean_resizing=False)
    weight = text_encoder.get_input_embeddings().weight
    added = layout_tokenizer.added
    with torch.no_grad():
        if added["location"]:
            grid = sincos_grid(weight.shape[1], *layout_tokenizer.bins)
            weight[added["location"]] = grid.to(weight)
        for token in added["attribute"]:
            word = layout_tokenizer.tokenizer.convert_ids_to_tokens(token).strip("[]")
            weight[token] = weight[layout_tokenizer.words(word)].mean(dim=0)
