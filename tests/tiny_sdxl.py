"""The parts of Stable Diffusion XL at tiny size: real classes, fresh seeded weights, for ``tiny_editor``."""

from tiny_editor import editor_config


def sdxl_parts(folder, **second):
    """Arguments of ``build_editor`` for SDXL; ``second`` overrides the second text encoder's configuration.

    The second text encoder states the end token's id as SDXL's own file does, wrongly.
    """
    config = editor_config(folder)
    size = config["text_encoder"]["vocab_size"]
    tokenizer = dict(config["tokenizer"], model_max_length=32)
    encoder = dict(
        config["text_encoder"], type="CLIPTextModelWithProjection", hidden_size=24, num_hidden_layers=3
    )
    encoder.update(projection_dim=20, hidden_act="gelu", eos_token_id=2, pad_token_id=0, **second)
    unet = dict(
        config["unet"],
        down_block_types=["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
        up_block_types=["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
        attention_head_dim=[2, 4, 4],
        transformer_layers_per_block=[1, 1, 2],
        cross_attention_dim=16 + 24,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 20,
    )
    assert encoder["vocab_size"] == size
    backbone = dict(type="StableDiffusionXL", text_encoder_2=encoder)
    backbone["tokenizer_2"] = dict(tokenizer, pad_token="!")
    return dict(unet=unet, tokenizer=tokenizer, backbone=backbone)
