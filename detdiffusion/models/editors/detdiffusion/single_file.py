"""Loading of Stable Diffusion 1.x and XL from a single safetensors file, without downloads.

diffusers converts the weights (``from_single_file``). The configurations that it would download from the hub are
those of :mod:`.single_file_configs`, as they are the same for all models of a family.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from torch import nn

from detdiffusion.utils.compat import fit_clip_names
from detdiffusion.utils.errors import UserError, some

from .open_clip import open_clip_state
from .single_file_configs import SD1_CONFIGS, SDXL_CONFIGS

TOKENIZER = "hub://openai/clip-vit-large-patch14"
_CROSS = "model.diffusion_model.input_blocks.{}.1.transformer_blocks.0.attn2.to_k.weight"

FAMILIES = (  # configurations, and the tensor and shape by which a file is recognised
    (SD1_CONFIGS, _CROSS.format(1), [320, 768]),
    (SDXL_CONFIGS, _CROSS.format(4), [640, 2048]),
)
_TEXT_PREFIXES = dict(
    text_encoder=("cond_stage_model.transformer.", "conditioner.embedders.0.transformer."),
    text_encoder_2=("conditioner.embedders.1.model.",),
)


def sd1_part(role: str, **changes) -> dict:
    """Return the config of a randomly initialised part of SD 1.x, for :func:`.components.build_component`.

    Args:
        role: a key of ``SD1_CONFIGS``.
        **changes: overrides of the configuration.
    """
    return _random_part(SD1_CONFIGS, role, changes)


def sdxl_part(role: str, **changes) -> dict:
    """Return the config of a randomly initialised part of SDXL, see :func:`sd1_part`.

    Args:
        role: a key of ``SDXL_CONFIGS``.
        **changes: overrides of the configuration.
    """
    return _random_part(SDXL_CONFIGS, role, changes)


def _random_part(configs: dict, role: str, changes: dict) -> dict:
    kinds = dict(
        text_encoder="CLIPTextModel",
        text_encoder_2="CLIPTextModelWithProjection",
        scheduler="DDPMScheduler",
    )
    config = dict(configs[role])
    return dict(type=config.pop("_class_name", None) or kinds[role], **{**config, **changes})


def is_single_file(source: str | Path) -> bool:
    """Return whether ``from_pretrained`` is a file of weights rather than a folder or a model of the hub."""
    return Path(str(source)).suffix in (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def tokenizer_source(path: str | Path, role: str = "tokenizer") -> tuple[str, dict]:
    """Return the source of a single file's tokenizer, and keywords for loading it.

    The source is the folder ``role`` next to the file, else ``tokenizer`` there, else CLIP's on the hub. SDXL's
    ``tokenizer_2`` has the vocabulary of its first one, but pads by "!".
    """
    folder = Path(path).parent
    if (folder / role).is_dir():
        return str(folder / role), {}
    source = str(folder / "tokenizer") if (folder / "tokenizer").is_dir() else TOKENIZER
    return source, dict(pad_token="!") if role == "tokenizer_2" else {}


def load_single_file(
    cls: type, role: str, path: str | Path, config: str | None = None, subfolder: str | None = None, **kwargs
):
    """Load one part of a checkpoint.

    Args:
        cls: a diffusers or transformers class.
        role: ``unet``, ``vae``, ``text_encoder``, ``text_encoder_2`` or a scheduler.
        path: a safetensors file with the tensor names of the original Stable Diffusion code.
        config: diffusers folder with the configurations of another model of the same architecture; default: those of
            SD 1.x or SDXL, by the file's tensors.
        subfolder: subfolder of ``config``; default ``role``.
        kwargs: arguments of the class's ``from_single_file`` or ``from_config``, which override the configuration.

    Raises:
        UserError: the file does not exist, has another format, holds another model, or lacks tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{role}: no file {str(path)!r}; it should be a safetensors checkpoint of SD 1.x or SDXL, or a folder"
        )
    if path.suffix != ".safetensors":
        raise UserError(
            f"{role}: {path} is a pickle file, which may run code: convert it to safetensors or name a diffusers folder"
        )
    names = _names(path)
    if config is None:
        known = _configs(names, f"{role}: {path}")
        if role not in known and "scheduler" not in role:
            raise UserError(
                f"{role}: {path} is of a family without this part; leave it out, or use an SDXL file"
            )
    if config is None and "scheduler" in role:
        return cls.from_config(known["scheduler"], **kwargs)
    with tempfile.TemporaryDirectory() as folder:
        if config is None:
            (Path(folder) / "config.json").write_text(json.dumps(known[role]))
            config, subfolder = folder, None
        else:
            subfolder = subfolder or role
        if "scheduler" in role:
            return cls.from_pretrained(config, subfolder=subfolder, **kwargs)
        if role in _TEXT_PREFIXES:
            return _text_encoder(cls, role, path, names, Path(config) / (subfolder or ""))
        return _diffusers_part(cls, role, path, config, subfolder, kwargs)


def _names(path: Path) -> dict[str, list[int]]:
    """Return the shapes of all tensors, by name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from error


def _configs(names: dict[str, list[int]], where: str) -> dict[str, dict]:
    """Return the configurations of the family that the tensors belong to."""
    for configs, tensor, shape in FAMILIES:
        if names.get(tensor) == shape:
            return configs
    found = "; ".join(
        f"{tensor}: {f'shape {names[tensor]}' if tensor in names else 'no such tensor'}, it should be {shape}"
        for _, tensor, shape in FAMILIES
    )
    raise UserError(
        f"{where} is not a Stable Diffusion 1.x checkpoint nor one of SDXL ({found}); name a diffusers folder of the "
        "model instead"
    )


def _diffusers_part(
    cls, role: str, path: Path, config: str, subfolder: str | None, kwargs: dict
) -> nn.Module:
    try:
        part = cls.from_single_file(
            str(path), config=config, subfolder=subfolder, local_files_only=True, **kwargs
        )
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{role}: cannot read {cls.__name__} from {path}: {type(error).__name__} {reason}"
        ) from error
    missing = [name for name, value in part.state_dict().items() if value.is_meta]
    if missing:
        raise UserError(f"{role}: {path} lacks {len(missing)} tensors ({some(missing)})")
    return part


def _text_encoder(cls, role: str, path: Path, names: dict, folder: Path) -> nn.Module:
    from safetensors import safe_open

    prefixes = _TEXT_PREFIXES[role]
    prefix = next((p for p in prefixes if any(name.startswith(p) for name in names)), None)
    if prefix is None:
        raise UserError(
            f"{role}: {path} has no tensors {'* or '.join(prefixes)}*; name a diffusers folder of the model instead"
        )
    with safe_open(path, "pt") as file:
        state = {
            name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(prefix)
        }
    if role == "text_encoder_2":
        state = open_clip_state(state)
    model = cls(cls.config_class.from_pretrained(folder))
    fit_clip_names(state, model.state_dict())
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{role}: {path} does not match the model: {reason}") from error
    return model
