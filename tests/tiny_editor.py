"""A complete editor at tiny size: real diffusers and transformers classes, fresh seeded weights."""

import torch

from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer
from detdiffusion.structures import Layout

WORDS = ["an", "image", "with", "easy", "hard", "background", "ball", "pine", "tree", "sky"]


def editor_config(folder, levels=3, **overrides):
    """Config dict of a DetDiffusion with a 32 px image, 8 x 8 x 4 latents and a 4 x 4 location grid."""
    size = write_small_tokenizer(folder / "tokenizer", WORDS)
    channels = [16, 32, 32, 32][:levels]
    down = ["CrossAttnDownBlock2D"] * (levels - 1) + ["DownBlock2D"]
    up = ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * (levels - 1)
    config = dict(
        type="DetDiffusion",
        vae=dict(
            type="AutoencoderKL",
            block_out_channels=[8, 16, 16],
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=32,
        ),
        text_encoder=dict(
            type="CLIPTextModel",
            vocab_size=size,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=48,
            bos_token_id=size - 2,
            eos_token_id=size - 1,
            pad_token_id=size - 1,
            embedding_std=0.5,
        ),
        tokenizer=dict(type="CLIPTokenizer", from_pretrained=str(folder), subfolder="tokenizer"),
        unet=dict(
            type="UNet2DConditionModel",
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=channels,
            layers_per_block=1,
            attention_head_dim=2,
            cross_attention_dim=16,
            norm_num_groups=8,
            down_block_types=down,
            up_block_types=up,
        ),
        scheduler=dict(
            type="DDPMScheduler",
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            num_train_timesteps=1000,
            clip_sample=False,
            steps_offset=1,
        ),
        test_scheduler=dict(type="DPMSolverMultistepScheduler"),
        layout_tokenizer=dict(bins=(4, 4), max_length=32),
        mask_head=dict(type="MaskHead", hidden=16, num_queries=6, num_heads=2, ffn=32, num_layers=2),
        perception_loss=dict(type="PerceptionAwareLoss"),
    )
    return {**config, **overrides}


def build_editor(folder, seed=0, **overrides):
    """The editor itself, in our scope."""
    from mmengine.registry import init_default_scope

    import detdiffusion.models  # noqa: F401
    from detdiffusion.registry import MODELS

    init_default_scope("detdiffusion")
    torch.manual_seed(seed)
    return MODELS.build(editor_config(folder, **overrides))


def layouts(masks=True):
    """Two layouts of different length."""

    def with_masks(layout):
        if masks:
            size = 32
            grid = (torch.arange(size) + 0.5) / size
            x1, y1, x2, y2 = (c[:, None] for c in layout.boxes.unbind(1))
            inside_x, inside_y = (grid > x1) & (grid < x2), (grid > y1) & (grid < y2)
            layout.masks = inside_y[:, :, None] & inside_x[:, None, :]
        return layout

    first = Layout(
        [[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 0.4]], ["ball", "sky"], ["easy", "background"], image_id=7
    )
    second = Layout(
        [[0.3, 0.3, 0.9, 0.9], [0.5, 0.1, 0.8, 0.5], [0.0, 0.0, 1.0, 1.0]],
        ["pine tree", "ball", "sky"],
        ["hard", "easy", "background"],
        image_id=8,
    )
    return [with_masks(first), with_masks(second)]


def trained_editor(folder, **overrides):
    """Paths of a config and a checkpoint of it, whose weights a few steps have moved."""
    config = editor_config(folder, **overrides)
    config["tokenizer"]["model_max_length"] = 32
    head = "default_scope = 'detdiffusion'\ncustom_imports = dict(imports=['detdiffusion.models'])\n"
    data = "train_dataloader = dict(dataset=dict(filter_cfg=dict(max_objects=8)))\n"
    (folder / "config.py").write_text(f"{head}{data}model = {config!r}\n")
    editor = build_editor(folder, **overrides)
    optimizer = torch.optim.AdamW([p for p in editor.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(2):
        sum(editor._losses(torch.randn(2, 4, 8, 8), layouts()).values()).backward()
        optimizer.step()
    meta = dict(iter=2, dataset_meta=dict(classes=("ball", "pine tree", "sky")))
    torch.save(dict(state_dict=editor.state_dict(), meta=meta), folder / "weights.pth")
    return str(folder / "config.py"), folder / "weights.pth"
