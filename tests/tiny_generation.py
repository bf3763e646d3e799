"""A tiny editor, MiniScenes layouts, attributes and weights: what tools/generate.py needs, in a second."""

import json

import numpy as np
import torch
from option_values import take_groups
from PIL import Image

from detdiffusion import apis
from detdiffusion.datasets.miniscenes import write_miniscenes

CONFIG = """
default_scope = 'detdiffusion'
custom_imports = dict(imports=['detdiffusion.models', 'detdiffusion.datasets'], allow_failed_imports=False)
model = dict(
    type='DetDiffusion',
    vae=dict(type='AutoencoderKL', block_out_channels=[8, 8], down_block_types=['DownEncoderBlock2D'] * 2,
             up_block_types=['UpDecoderBlock2D'] * 2, latent_channels=4, norm_num_groups=4, sample_size=32),
    text_encoder=dict(type='CLIPTextModel', vocab_size=64, hidden_size=16, intermediate_size=32,
                      num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=MAX_LENGTH,
                      bos_token_id=0, eos_token_id=1),
    tokenizer=dict(type='CLIPTokenizer', vocab_file='ROOT/vocab.json', merges_file='ROOT/merges.txt'),
    unet=dict(type='UNet2DConditionModel', sample_size=16, block_out_channels=[8, 16], layers_per_block=1,
              down_block_types=['CrossAttnDownBlock2D', 'DownBlock2D'],
              up_block_types=['UpBlock2D', 'CrossAttnUpBlock2D'], cross_attention_dim=16,
              attention_head_dim=4, norm_num_groups=4, in_channels=4, out_channels=4),
    scheduler=dict(type='DDPMScheduler', num_train_timesteps=100),
    test_scheduler=dict(type='DPMSolverMultistepScheduler'),
    layout_tokenizer=dict(bins=(8, 8), max_length=MAX_LENGTH, attributes=ATTRIBUTES),
)
layout_datasets = dict(
    train=dict(type='LayoutCocoDataset', ann_files=['ROOT/train/instances.json', 'ROOT/train/stuff.json'],
               img_dir='ROOT/train/images', filter_cfg=dict(min_objects=1)),
)
"""


def write_tokenizer(root):
    """A real CLIPTokenizer over single letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    (root / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (root / "merges.txt").write_text("#version: 0.2\n")


def write_config(root, name="config.py", attributes=True, max_length=200):
    text = CONFIG.replace("ROOT", str(root)).replace("MAX_LENGTH", str(max_length))
    (root / name).write_text(text.replace("ATTRIBUTES", str(attributes)))
    return str(root / name)


def write_world(root, images=14):
    """Data, tokenizer, config, attributes and a checkpoint, as the tools before this one leave them."""
    write_miniscenes(root, "train", images, size=32)
    write_tokenizer(root)
    config = write_config(root)
    attributes = {}
    for name in ("instances", "stuff"):
        data = json.loads((root / f"train/{name}.json").read_text())
        for k, annotation in enumerate(data["annotations"]):
            attributes[annotation["id"]] = "background" if name == "stuff" else ("easy", "hard")[k % 2]
    things = [c["name"] for c in json.loads((root / "train/instances.json").read_text())["categories"]]
    (root / "attributes.json").write_text(json.dumps(dict(info=dict(nameable=things), attributes=attributes)))
    torch.manual_seed(0)
    model = apis.DetDiffusionInferencer(config, None).model
    torch.save(dict(state_dict=model.state_dict(), meta={}), root / "weights.pth")
    return root


def draw(world, out, strategy="hard", **kwargs):
    defaults = dict(
        config=str(world / "config.py"),
        checkpoint=str(world / "weights.pth"),
        attributes=str(world / "attributes.json"),
        batch_size=4,
        steps=2,
        limit=6,
        device="cpu",
        progress=False,
    )
    return generate(out=out, strategy=strategy, **{**defaults, **kwargs})


def generate(launcher=None, progress=True, **settings):
    """:func:`generate_dataset` with the settings of all groups by name."""
    groups = ("GeneratorOptions", "LayoutOptions", "ContentOptions", "SetFiles", "SamplingOptions")
    return apis.generate_dataset(*take_groups(settings, groups), launcher=launcher, progress=progress)


def pixels(out):
    return {p.name: np.asarray(Image.open(p)).astype(int) for p in sorted((out / "images").iterdir())}
