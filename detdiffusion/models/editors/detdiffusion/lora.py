"""Low-rank adaptation (LoRA) with peft, applied to the modules in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from detdiffusion.utils.errors import UserError

from .layout_tokenizer import LayoutTokenizer

UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


def add_lora(
    unet: nn.Module,
    text_encoders: Mapping[str, nn.Module],
    layout_tokenizer: LayoutTokenizer,
    r: int = 16,
    lora_alpha: float | None = None,
    target_modules: Sequence[str] = UNET_TARGETS,
    text_target_modules: Sequence[str] = TEXT_TARGETS,
    lora_dropout: float = 0.0,
) -> None:
    """Freeze UNet and text encoders and add trainable low-rank updates (https://arxiv.org/abs/2106.09685).

    The embeddings of the location and attribute tokens, which are new to the model, remain fully trainable. The
    updates are initialised by ``peft`` and do not change the model's output before training.

    Args:
        unet: modified in place.
        text_encoders: by name, modified in place; they must already have embeddings of the layout tokens.
        layout_tokenizer: provides the ids of the layout tokens.
        r: rank of the updates.
        lora_alpha: scale of the updates times r; default r, a scale of 1.
        target_modules: suffixes of the names of the UNet's adapted layers, as in peft.
        text_target_modules: the same for the text encoders; if empty, only the layout tokens' embeddings are trained.
        lora_dropout: dropout probability at the input of the updates.

    Raises:
        UserError: no layer has such a name, the rank is below 1, or peft is not installed.
    """
    try:
        from peft import LoraConfig, TrainableTokensConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("lora needs peft: pip install peft") from error
    if r < 1:
        raise UserError(f"lora: r must be at least 1, got {r}")
    tokens = layout_tokenizer.layout_ids
    common = dict(r=r, lora_alpha=r if lora_alpha is None else lora_alpha, lora_dropout=lora_dropout)
    jobs = [("unet", unet, LoraConfig(target_modules=list(target_modules), **common))]
    for role, text_encoder in text_encoders.items():
        embedding = _name_of(text_encoder, text_encoder.get_input_embeddings())
        config = None
        if text_target_modules:
            rows = {embedding: tokens} if tokens else None
            config = LoraConfig(
                target_modules=list(text_target_modules), trainable_token_indices=rows, **common
            )
        elif tokens:
            config = TrainableTokensConfig(target_modules=[embedding], token_indices=tokens)
        jobs.append((role, text_encoder, config))
    for role, module, config in jobs:
        module.requires_grad_(False)
        if config is None:
            continue
        try:
            inject_adapter_in_model(config, module)
        except ValueError as error:  # peft's message names the targets
            raise UserError(f"lora: {role}: {str(error).splitlines()[0]}") from error


def merge_lora(model: nn.Module) -> None:
    """Merge the updates into the weights and remove peft's layers, in place; does nothing without updates."""
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
