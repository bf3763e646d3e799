"""Resizing of a trained generator's grid of location tokens, by interpolating its embeddings."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.zoo import resolve_source


def resize_grid(rows_TD: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Resize a grid of location embeddings bilinearly.

    Bin i of n represents the coordinate i / (n - 1), so the outermost bins keep their embeddings
    (``align_corners=True``).

    Args:
        rows_TD: (rows * columns, D) embeddings, row-major.
        old: (rows, columns) of ``rows_TD``.
        new: (rows, columns) of the result.

    Returns:
        (new rows * new columns, D) embeddings of the same dtype.
    """
    grid = rows_TD.float().T.unflatten(1, old)[None]
    grid = F.interpolate(grid, size=new, mode="bilinear", align_corners=True)
    return grid[0].flatten(1).T.to(rows_TD.dtype)


def resize_location_grid(source: str | Path, out_dir: str | Path, bins: tuple[int, int]) -> int:
    """Copy an exported generator, without its model card, with a finer or coarser grid of location tokens.

    Embeddings of words and attribute tokens are kept, those of location tokens are interpolated by
    :func:`resize_grid`, and everything else is copied. To fine-tune the result, set ``layout_tokenizer.bins`` to the
    new grid.

    Args:
        source: folder that ``to_diffusers.py`` wrote (with ``layout_config.json``), or ``zoo://NAME``.
        out_dir: folder to write; must not exist.
        bins: (rows, columns) of the new grid, each at least 2.

    Returns:
        The number of location tokens.

    Raises:
        UserError: ``source`` does not exist or has no location tokens, or ``out_dir`` exists.
    """
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from detdiffusion.models.editors.detdiffusion.layout_config import NAME

    vae = Path(resolve_source(str(source), "vae"), "vae")
    source, out_dir = Path(resolve_source(str(source))), Path(out_dir)
    config_file = source / NAME
    if not config_file.is_file():
        raise UserError(f"{config_file} is missing; {source} should be a folder that to_diffusers.py wrote")
    if out_dir.exists():
        raise UserError(f"{out_dir} already exists; choose a new folder")
    if min(bins) < 2:
        raise UserError(
            f"a grid of {bins[0]} x {bins[1]} locations is too small; both sides must be at least 2"
        )
    config = json.loads(config_file.read_text())
    pairs = [(CLIPTextModel, "text_encoder", "tokenizer")]
    if (source / "text_encoder_2").is_dir():  # Stable Diffusion XL
        pairs.append((CLIPTextModelWithProjection, "text_encoder_2", "tokenizer_2"))
    parts = {}
    for cls, role, tokenizer in pairs:
        parts[role], parts[tokenizer] = _resized(cls, source, role, tokenizer, config, bins)
    shutil.copytree(source, out_dir, ignore=shutil.ignore_patterns(*parts, "README.md"))
    if vae.is_dir() and not (out_dir / "vae").is_dir():  # the models of the zoo share a VAE
        shutil.copytree(vae, out_dir / "vae")
    for name, part in parts.items():
        part.save_pretrained(out_dir / name)
    (out_dir / NAME).write_text(json.dumps({**config, "bins": list(bins)}, indent=2) + "\n")
    return bins[0] * bins[1]


def _resized(
    cls: type, source: Path, role: str, tokenizer: str, config: dict, bins: tuple[int, int]
) -> tuple:
    """Return a text encoder and its tokenizer with the new grid.

    Raises:
        UserError: the folder has no location tokens.
    """
    from transformers import CLIPTokenizer

    from detdiffusion.models.editors.detdiffusion.layout_tokenizer import LayoutTokenizer

    names = ("template", "attributes", "attribute_words", "max_length")
    tokens = {name: config[name] for name in names if name in config}
    old = LayoutTokenizer(CLIPTokenizer.from_pretrained(source / tokenizer), bins=config["bins"], **tokens)
    if old.added["location"] or config["template"] == "caption":
        raise UserError(f"{source} has no location tokens of a {config['bins']} grid")
    encoder = cls.from_pretrained(source / role)
    new = LayoutTokenizer(_plain_tokenizer(source / tokenizer), bins=bins, **tokens)
    weight = encoder.get_input_embeddings().weight.detach().clone()
    ids, wanted = old.tokenizer.get_vocab(), new.tokenizer.get_vocab()
    encoder.resize_token_embeddings(len(new.tokenizer), mean_resizing=False)
    locations = [f"<l{i}>" for i in range(old.bins[0] * old.bins[1])]
    grid = resize_grid(weight[[ids[token] for token in locations]], old.bins, new.bins)
    with torch.no_grad():
        rows = encoder.get_input_embeddings().weight
        for token, row in wanted.items():
            if token in ids:
                rows[row] = weight[ids[token]]
        rows[[wanted[f"<l{i}>"] for i in range(len(grid))]] = grid
    return encoder, new.tokenizer


def _plain_tokenizer(folder: Path):
    """Load the folder's tokenizer without its location and attribute tokens."""
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as plain:
        names = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
        for name in names:
            if (folder / name).is_file():
                shutil.copy(folder / name, plain)
        if not (folder / "vocab.json").is_file():  # saved by transformers 5
            model = json.loads((folder / "tokenizer.json").read_text())["model"]
            (Path(plain) / "vocab.json").write_text(json.dumps(model["vocab"]))
            merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
            (Path(plain) / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
        settings = Path(plain) / "tokenizer_config.json"
        config = json.loads(settings.read_text())
        config.pop("added_tokens_decoder", None)
        settings.write_text(json.dumps(config))
        return CLIPTokenizer.from_pretrained(plain)
