"""A diffusers model as one file with the names of the original Stable Diffusion code."""

import re

import torch
from safetensors.torch import save_file

UNET_RESNET = dict(norm1="in_layers.0", conv1="in_layers.2", norm2="out_layers.0", conv2="out_layers.3")
UNET_RESNET |= dict(time_emb_proj="emb_layers.1", conv_shortcut="skip_connection")
UNET_ENDS = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
UNET_ENDS |= {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
UNET_ENDS |= {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(name, layers, cross_up):
    """A UNet tensor's original name; ``layers`` a block, ``cross_up``: whether each up block has attention."""
    for ours, theirs in UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    match = re.match(r"(down|up|mid)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.*)", name)
    side, block, kind, place, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "resnets":
        part, _, tail = rest.partition(".")
        rest = f"{UNET_RESNET[part]}.{tail}"
    if side == "mid":
        return f"middle_block.{1 if kind == 'attentions' else 2 * place}.{rest}"
    inner = "1" if kind == "attentions" else "0"
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(layers + 1) * (block + 1)}.0.{rest.replace('conv', 'op')}"
        return f"input_blocks.{(layers + 1) * block + place + 1}.{inner}.{rest}"
    if kind == "upsamplers":
        return f"output_blocks.{(layers + 1) * block + layers}.{2 if cross_up[block] else 1}.{rest}"
    return f"output_blocks.{(layers + 1) * block + place}.{inner}.{rest}"


def vae_name(name, blocks):
    """A VAE tensor's original name."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{blocks - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", name)
    match = re.match(r"(.*)mid_block\.attentions\.0\.(.*)\.(weight|bias)", name)
    return f"{match[1]}mid.attn_1.{VAE_ATTENTION[match[2]]}.{match[3]}" if match else name


def write_single_file(path, unet, vae, text_encoder):
    """One safetensors file of the three parts; returns ``path``."""
    cross_up = ["CrossAttn" in kind for kind in unet.config.up_block_types]
    state = {}
    for name, value in unet.state_dict().items():
        state[f"model.diffusion_model.{unet_name(name, unet.config.layers_per_block, cross_up)}"] = value
    for name, value in vae.state_dict().items():
        new = vae_name(name, len(vae.config.block_out_channels))
        if ".attn_1." in new and value.dim() == 2:
            value = value[:, :, None, None]  # the original attention is of 1 x 1 convolutions
        state[f"first_stage_model.{new}"] = value
    for name, value in text_encoder.state_dict().items():
        state[f"cond_stage_model.transformer.{name}"] = value
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path
