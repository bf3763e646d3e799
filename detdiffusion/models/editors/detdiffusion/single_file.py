"""Parts of a Stable Diffusion 1.x checkpoint in one safetensors file, without any download.

diffusers converts the weights (``from_single_file``); the configurations that it would fetch from the hub are here:
all models of the 1.x family have the same.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from torch import nn

from detdiffusion.utils.compat import fit_clip_names
from detdiffusion.utils.errors import UserError, some

TOKENIZER = "hub://openai/clip-vit-large-patch14"
_TEXT = "cond_stage_model.transformer."
_CROSS = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"

SD1_CONFIGS = dict(
    unet=dict(
        _class_name="UNet2DConditionModel",
        sample_size=64,
        in_channels=4,
        out_channels=4,
        block_out_channels=[320, 640, 1280, 1280],
        layers_per_block=2,
        attention_head_dim=8,
        cross_attention_dim=768,
        down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    ),
    vae=dict(
        _class_name="AutoencoderKL",
        sample_size=512,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=[128, 256, 512, 512],
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        scaling_factor=0.18215,
    ),
    text_encoder=dict(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=49407,
    ),
    scheduler=dict(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        steps_offset=1,
    ),
)


def sd1_part(role: str, **changes) -> dict:
    """Config of a part of Stable Diffusion 1.x with fresh weights, for :func:`.components.build_component`.

    Args:
        role: a key of ``SD1_CONFIGS``.
        **changes: of the configuration.
    """
    kinds = dict(text_encoder="CLIPTextModel", scheduler="DDPMScheduler")
    config = dict(SD1_CONFIGS[role])
    return dict(type=config.pop("_class_name", None) or kinds[role], **{**config, **changes})


def is_single_file(source: str | Path) -> bool:
    """Whether ``from_pretrained`` names a file of weights rather than a folder or a model of the hub."""
    return Path(str(source)).suffix in (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def tokenizer_source(path: str | Path) -> str:
    """Where the tokenizer of a single file is: ``tokenizer`` beside it, else CLIP's on the hub (or in its cache)."""
    folder = Path(path).parent / "tokenizer"
    return str(folder) if folder.is_dir() else TOKENIZER


def load_single_file(
    cls: type, role: str, path: str | Path, config: str | None = None, subfolder: str | None = None, **kwargs
):
    """One part of a checkpoint.

    Args:
        cls: a diffusers or transformers class.
        role: ``unet``, ``vae``, ``text_encoder`` or a scheduler.
        path: a safetensors file with the names of the original Stable Diffusion code.
        config: diffusers folder with the configurations of another model of the same form; default: SD 1.x.
        subfolder: of ``config``; default ``role``.
        kwargs: for the class's ``from_single_file`` or ``from_config``, over the configuration.

    Raises:
        UserError: no such file, another format, another model, or tensors missing.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{role}: no file {str(path)!r}; it should be a safetensors checkpoint of SD 1.x, or a folder"
        )
    if path.suffix != ".safetensors":
        raise UserError(
            f"{role}: {path} is a pickle file, which may run code: convert it to safetensors or name a diffusers folder"
        )
    names = _names(path)
    if config is None and "scheduler" in role:
        return cls.from_config(SD1_CONFIGS["scheduler"], **kwargs)
    if config is None and (shape := names.get(_CROSS)) != [320, 768]:
        found = "no such tensor" if shape is None else f"shape {shape}"
        raise UserError(
            f"{role}: {path} is not a Stable Diffusion 1.x checkpoint ({_CROSS}: {found}, it should be [320, 768]); "
            "name a diffusers folder of the model instead"
        )
    with tempfile.TemporaryDirectory() as folder:
        if config is None:
            (Path(folder) / "config.json").write_text(json.dumps(SD1_CONFIGS[role]))
            config, subfolder = folder, None
        else:
            subfolder = subfolder or role
        if "scheduler" in role:
            return cls.from_pretrained(config, subfolder=subfolder, **kwargs)
        if role == "text_encoder":
            return _text_encoder(cls, path, names, Path(config) / (subfolder or ""))
        return _diffusers_part(cls, role, path, config, subfolder, kwargs)


def _names(path: Path) -> dict[str, list[int]]:
    """Shapes of all tensors, by name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from error


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


def _text_encoder(cls, path: Path, names: dict, folder: Path) -> nn.Module:
    from safetensors import safe_open

    own = [name for name in names if name.startswith(_TEXT)]
    if not own:
        raise UserError(
            f"text_encoder: {path} has no tensors {_TEXT}*; name a diffusers folder of the model instead"
        )
    with safe_open(path, "pt") as file:
        state = {name.removeprefix(_TEXT): file.get_tensor(name) for name in own}
    model = cls(cls.config_class.from_pretrained(folder))
    fit_clip_names(state, model.state_dict())
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"text_encoder: {path} does not fit: {reason}") from error
    return model
