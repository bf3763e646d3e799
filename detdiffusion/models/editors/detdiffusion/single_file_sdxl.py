"""Configurations of Stable Diffusion XL's parts, and the names of its second text encoder in a single file."""

from __future__ import annotations

from torch import Tensor

SDXL_CONFIGS = dict(
    unet=dict(
        _class_name="UNet2DConditionModel",
        sample_size=128,
        in_channels=4,
        out_channels=4,
        block_out_channels=[320, 640, 1280],
        layers_per_block=2,
        attention_head_dim=[5, 10, 20],
        cross_attention_dim=2048,
        transformer_layers_per_block=[1, 2, 10],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        down_block_types=["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
        up_block_types=["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
    ),
    vae=dict(
        _class_name="AutoencoderKL",
        sample_size=1024,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=[128, 256, 512, 512],
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        scaling_factor=0.13025,
        force_upcast=True,
    ),
    text_encoder=dict(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        projection_dim=768,
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=49407,
    ),
    text_encoder_2=dict(
        vocab_size=49408,
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=20,
        max_position_embeddings=77,
        hidden_act="gelu",
        projection_dim=1280,
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=0,
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
