"""Low-rank adaptation by peft, in place: the modules keep their classes and the editor its code."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from detdiffusion.utils.errors import UserError

from .layout_tokenizer import LayoutTokenizer

UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


def add_lora(
    unet: nn.Module,
    text_encoder: nn.Module,
    layout_tokenizer: LayoutTokenizer,
    r: int = 16,
    lora_alpha: float | None = None,
    target_modules: Sequence[str] = UNET_TARGETS,
    text_target_modules: Sequence[str] = TEXT_TARGETS,
    lora_dropout: float = 0.0,
) -> None:
    """Freeze UNet and text encoder and give them trainable low-rank updates (https://arxiv.org/abs/2106.09685).

    The embeddings of the location and attribute tokens are new to the model and stay trainable in full. The weights
    are those of ``peft``; a fresh model gives the same output as without.

    Args:
        unet, text_encoder: changed in place; call it after the text encoder has rows for the layout's tokens.
        layout_tokenizer: says which tokens are the layout's.
        r: rank of the updates.
        lora_alpha: scale of the updates times r; default r, a scale of 1.
        target_modules: ends of the names of the UNet's layers that are adapted, as in peft.
        text_target_modules: the same for the text encoder; empty: only the tokens' embeddings are trained.
        lora_dropout: dropout in front of an update.

    Raises:
        UserError: no layer has such a name, a rank below 1, or peft is missing.
    """
    try:
        from peft import LoraConfig, TrainableTokensConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("lora needs peft: pip install peft") from error
    if r < 1:
        raise UserError(f"lora: r must be at least 1, got {r}")
    embedding = _name_of(text_encoder, text_encoder.get_input_embeddings())
    tokens = layout_tokenizer.layout_ids
    common = dict(r=r, lora_alpha=r if lora_alpha is None else lora_alpha, lora_dropout=lora_dropout)
    text_config = None
    if text_target_modules:
        rows = {embedding: tokens} if tokens else None
        text_config = LoraConfig(
            target_modules=list(text_target_modules), trainable_token_indices=rows, **common
        )
    elif tokens:
        text_config = TrainableTokensConfig(target_modules=[embedding], token_indices=tokens)
    unet_config = LoraConfig(target_modules=list(target_modules), **common)
    for role, module, config in (("unet", unet, unet_config), ("text_encoder", text_encoder, text_config)):
        module.requires_grad_(False)
        if config is None:
            continue
        try:
            inject_adapter_in_model(config, module)
        except ValueError as error:  # peft's message names the targets that it looked for
            raise UserError(f"lora: {role}: {str(error).splitlines()[0]}") from error


def merge_lora(model: nn.Module) -> None:
    """Write the updates into the weights and take peft's layers out, in place; nothing happens where there are none."""
    try:
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils import AuxiliaryTrainingWrapper
    except ImportError:
        return  # without peft nothing was injected
    for name, module in list(model.named_modules()):
        if isinstance(module, AuxiliaryTrainingWrapper):
            merged = module.unload_and_optionally_merge_module(
                merge=True, safe_merge=False, adapter_names=None
            )
        elif isinstance(module, BaseTunerLayer) and not name.endswith(".token_adapter"):
            module.merge()
            merged = module.get_base_layer()
        else:
            continue
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, merged)
    if hasattr(model, "peft_config"):
        del model.peft_config


def _name_of(model: nn.Module, part: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is part).rpartition(".")[2]
