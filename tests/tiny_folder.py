"""A diffusers folder like Stable Diffusion's, at tiny size, for configs that load their parts from one."""

from tiny_editor import build_editor

from detdiffusion.models.editors.converters.diffusers_folder import _write_index
from detdiffusion.models.editors.detdiffusion.layout_config import write_layout_config


def save_parts(editor, folder):
    """The editor's parts, each in its subfolder; returns them by name."""
    names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    parts = {name: getattr(editor, name) for name in names}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    return parts


def write_diffusers_folder(folder):
    """Parts of ``tiny_editor`` without any layout token; returns ``folder``."""
    tokenizer = dict(template="caption", max_length=48)
    editor = build_editor(folder / "parts", layout_tokenizer=tokenizer, mask_head=None, perception_loss=None)
    parts = save_parts(editor, folder)
    _write_index(parts, folder, editor.backbone)
    write_layout_config(folder, editor.layout_tokenizer)
    return folder
