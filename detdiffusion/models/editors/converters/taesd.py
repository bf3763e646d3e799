"""Conversion of TAESD, a tiny autoencoder for Stable Diffusion's latents, from its files to a diffusers folder."""

from __future__ import annotations

from pathlib import Path

from detdiffusion.utils.checkpoint import check_finite
from detdiffusion.utils.errors import UserError


def convert_taesd(encoder: str | Path, decoder: str | Path, out_dir: str | Path) -> int:
    """Write an ``AutoencoderTiny`` folder that the editor's ``vae`` can load with ``from_pretrained``.

    Args:
        encoder, decoder: ``taesd_encoder.safetensors`` and ``taesd_decoder.safetensors``
            (https://github.com/madebyollin/taesd), keys ``<layer>.…``.
        out_dir: folder to write (float32 safetensors and ``config.json``).

    Returns:
        The number of parameters.

    Raises:
        UserError: a file is missing or damaged, or its tensors are not those of TAESD, or not finite.
    """
    from diffusers import AutoencoderTiny

    vae = AutoencoderTiny()
    # diffusers' decoder does not count the initial clamp among its layers
    state = {f"encoder.layers.{key}": value for key, value in _read(encoder).items()}
    state.update({f"decoder.layers.{_shift(key, decoder)}": value for key, value in _read(decoder).items()})
    try:
        vae.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{encoder} and {decoder} are not TAESD's encoder and decoder: {reason}") from error
    vae.save_pretrained(out_dir)
    return sum(parameter.numel() for parameter in vae.parameters())


def _read(path: str | Path) -> dict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; it should be a safetensors file of TAESD")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from error
    check_finite(state, str(path), "Download the file again.")
    return state


def _shift(key: str, path: str | Path) -> str:
    """Decrement the layer number: ``3.conv.0.weight`` → ``2.conv.0.weight``."""
    layer, _, rest = key.partition(".")
    if not layer.isdigit():
        raise UserError(
            f"{path}: tensor {key!r} does not begin with a layer number, as those of TAESD's decoder do"
        )
    return f"{int(layer) - 1}.{rest}"
