"""diffusers and transformers components from config dicts: a folder, a model of the hub, or a plain configuration."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detdiffusion.utils.checkpoint import check_finite
from detdiffusion.utils.compat import fit_clip_names, fit_tokenizer_arguments
from detdiffusion.utils.errors import UserError, some

from .layout_tokenizer import LayoutTokenizer, sincos_grid
from .single_file import is_single_file, load_single_file, tokenizer_source

ZOO = "zoo://"
HUB = "hub://"
ZOO_FOLDER = Path(__file__).resolve().parents[3] / "zoo"
ZOO_VAE = "miniscenes_vae"  # the one of all models of the zoo that have none of their own


def resolve_source(source: str, subfolder: str | None = None) -> str:
    """``zoo://NAME`` as the folder of the weights that ship with the package; anything else as it is.

    Args:
        source: ``from_pretrained`` of a part.
        subfolder: of the part; ``vae`` is looked up in :data:`ZOO_VAE` where the zoo's folder has none.

    Raises:
        UserError: the zoo has no such folder.
    """
    if not str(source).startswith(ZOO):
        return source
    folder = ZOO_FOLDER / str(source).removeprefix(ZOO)
    if not folder.is_dir():
        names = sorted(f"{ZOO}{path.name}" for path in ZOO_FOLDER.iterdir() if path.is_dir())
        raise UserError(f"no weights {source!r} in the package; it has: {', '.join(names)}")
    if subfolder == "vae" and not (folder / "vae").is_dir():
        folder = ZOO_FOLDER / ZOO_VAE
    return str(folder)


def build_component(spec: Any, role: str) -> Any:
    """A diffusers or transformers object from its config.

    Args:
        spec: an object (returned as it is) or a dict with ``type``, a top-level name of diffusers or
            transformers, and either ``from_pretrained`` (local folder, ``zoo://NAME`` or ``hub://OWNER/NAME``;
            with ``subfolder`` and other keywords of ``from_pretrained``; or a single safetensors file of SD 1.x, see
            :mod:`.single_file`) or the class's own configuration. A transformers model
            made from its configuration may name ``embedding_std``, the deviation of its fresh token and position
            embeddings: CLIP's own 0.02 vanishes beside the location tokens' 0.7 and costs a small model many
            steps.
        role: the editor's argument name, for messages.

    Raises:
        UserError: unknown type, nothing to load at ``from_pretrained``, or weights that are not finite.
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
        hint = (
            "Take other weights: these come from a training that diverged, or a damaged or overflowed copy."
        )
        check_finite(part.state_dict(), f"{role}: {where}", hint)
    return part


def _load_part(cls, kind: str, role: str, source: str, spec: dict):
    """What :func:`build_component` loads from a folder, a hub id or a single file."""
    import transformers

    if is_single_file(source):
        spec = {k: v for k, v in spec.items() if k != "subfolder"}
        if role != "tokenizer":
            return load_single_file(cls, role, source, **spec)
        source = tokenizer_source(source)
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
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{role}: {HUB}{source} cannot be loaded from the Hugging Face hub ({reason})"
            if folder is None
            else f"{role}: cannot load {kind} from {str(folder)!r}: {reason}"
        ) from error
    if info["missing_keys"]:
        _load_renamed(model, folder or Path(source), role)
    return model


def check_sources(model: Mapping) -> None:
    """Looks for the folders that a generator's config names, before anything is loaded.

    Args:
        model: the ``model`` of a config.

    Raises:
        UserError: one of them does not exist.
    """
    for role, spec in model.items():
        source = spec.get("from_pretrained") if isinstance(spec, Mapping) else None
        if isinstance(source, str) and not is_single_file(source):
            _local_folder(resolve_source(source), spec.get("subfolder") or "", role)


def _local_folder(source: str, subfolder: str, role: str) -> Path | None:
    """Where a part's weights lie; None for a model of the hub, which only ``hub://`` asks for.

    Raises:
        UserError: no such folder.
    """
    if str(source).startswith(HUB):
        return None
    folder = Path(source) / subfolder
    if not folder.is_dir():
        is_name = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(source)) and not Path(source).parent.is_dir()
        asked = f" (a model of the Hugging Face hub is written {HUB}{source})" if is_name else ""
        raise UserError(
            f"{role}: no folder {str(folder)!r}; it should be a diffusers folder (model_index.json, unet/, vae/, "
            "text_encoder/, tokenizer/, scheduler/), for example a download of Stable Diffusion 1.5; set the config's "
            f"variable to your copy{asked}"
        )
    return folder


def build_sampling_scheduler(spec: Any, like: Any, role: str) -> Any:
    """The scheduler that images are sampled with.

    Args:
        spec: an object; a dict of :func:`build_component` with ``from_pretrained``; a dict without it, which takes
            the betas and the prediction type of ``like``; or None, a copy of ``like``.
        like: a diffusers scheduler, the one that the model was trained with.
        role: for messages.

    Raises:
        UserError: diffusers has no such scheduler, or nothing to load at ``from_pretrained``.
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
            f"{role}: diffusers' {kind} is no scheduler; take one like DPMSolverMultistepScheduler"
        )
    return cls.from_config(like.config, **options)


def _load_renamed(model: nn.Module, folder: Path, role: str) -> None:
    """Weights that the installed transformers does not find by their names, which it would leave random.

    Raises:
        UserError: the folder lacks some under either name.
    """
    from safetensors.torch import load_file

    file, own = folder / "model.safetensors", model.state_dict()
    state = load_file(file) if file.is_file() else {}
    fit_clip_names(state, own)
    missing = [name for name in own if name not in state]
    if missing:
        raise UserError(f"{role}: {file} lacks {len(missing)} tensors ({some(missing)})")
    model.load_state_dict(state)


def source_folder(spec: Any) -> str | None:
    """The local diffusers folder that a part's config names by ``from_pretrained``, or None."""
    source = spec.get("from_pretrained") if isinstance(spec, dict) else None
    if source is None or is_single_file(source):
        return None
    return resolve_source(source)


def extend_text_encoder(text_encoder: nn.Module, layout_tokenizer: LayoutTokenizer) -> None:
    """Give the text encoder rows for the tokens that the layout tokenizer added.

    Location tokens start as a 2-D sine-cosine grid (paper 4.1, not rescaled), an attribute token from the mean of
    its word's embeddings.

    Raises:
        UserError: prompts are longer than what the text encoder has positions for.
    """
    positions = text_encoder.config.max_position_embeddings
    if layout_tokenizer.max_length > positions:
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
