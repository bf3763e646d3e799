"""The names of an OpenCLIP text encoder's tensors, SDXL's second one in a single file."""

from __future__ import annotations

from torch import Tensor

_NAMES = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_LAYER_NAMES = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
_LAYER_NAMES["attn.out_proj"] = "self_attn.out_proj"


def open_clip_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an OpenCLIP text encoder under the names of ``CLIPTextModelWithProjection``.

    Args:
        state: tensors with OpenCLIP's names; queries, keys and values of a layer are one tensor.
    """
    renamed = {}
    for name, value in state.items():
        if name in _NAMES:
            renamed[_NAMES[name]] = value
        elif name == "text_projection":
            renamed["text_projection.weight"] = value.T.contiguous()
        elif name.startswith("transformer.resblocks."):
            number, _, rest = name.removeprefix("transformer.resblocks.").partition(".")
            layer = f"text_model.encoder.layers.{number}"
            part, _, kind = rest.rpartition(".")
            if part in _LAYER_NAMES:
                renamed[f"{layer}.{_LAYER_NAMES[part]}.{kind}"] = value
            elif rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
                kind = rest.removeprefix("attn.in_proj_")
                for projection, rows in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3)):
                    renamed[f"{layer}.self_attn.{projection}.{kind}"] = rows.contiguous()
    return renamed
