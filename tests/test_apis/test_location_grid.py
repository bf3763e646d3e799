"""Finer grids of location tokens: positions interpolated, words and attributes untouched."""

import json

import pytest
import torch
from tiny_editor import build_editor

from detdiffusion.apis.location_grid import resize_grid, resize_location_grid
from detdiffusion.models.editors.detdiffusion.layout_config import write_layout_config
from detdiffusion.utils.errors import UserError


def test_resize_grid_is_exact_on_what_is_linear_in_the_place():
    def plane(rows, columns):
        y = torch.linspace(0, 1, rows)[:, None].expand(rows, columns)
        x = torch.linspace(0, 1, columns)[None].expand(rows, columns)
        return torch.stack((3 * x - y, y + 2), dim=2).flatten(0, 1)

    torch.testing.assert_close(resize_grid(plane(4, 6), (4, 6), (9, 5)), plane(9, 5))
    torch.testing.assert_close(resize_grid(plane(4, 6), (4, 6), (4, 6)), plane(4, 6))


def test_folder_on_a_finer_grid(tmp_path):
    editor = build_editor(tmp_path / "parts", mask_head=None, perception_loss=None)
    parts = dict(
        vae=editor.vae,
        text_encoder=editor.text_encoder,
        tokenizer=editor.tokenizer,
        unet=editor.unet,
        scheduler=editor.scheduler,
    )
    source, out = tmp_path / "coarse", tmp_path / "fine"
    for name, part in parts.items():
        part.save_pretrained(source / name)
    write_layout_config(source, editor.layout_tokenizer)

    assert resize_location_grid(source, out, (7, 7)) == 49
    fine = build_editor(
        tmp_path / "other",
        text_encoder=dict(type="CLIPTextModel", from_pretrained=str(out), subfolder="text_encoder"),
        tokenizer=dict(type="CLIPTokenizer", from_pretrained=str(out), subfolder="tokenizer"),
        layout_tokenizer=dict(bins=(7, 7), max_length=32),
    )
    old, new = (
        {t: m.text_encoder.get_input_embeddings().weight[i] for t, i in m.tokenizer.get_vocab().items()}
        for m in (editor, fine)
    )
    for token in [t for t in old if not t.startswith("<l")]:
        assert torch.equal(old[token], new[token]), token
    # 7 bins have those of 4 at every second place
    for y, x in ((0, 0), (1, 2), (3, 3)):
        torch.testing.assert_close(new[f"<l{2 * y * 7 + 2 * x}>"], old[f"<l{y * 4 + x}>"])
    between = (old["<l0>"] + old["<l1>"]) / 2
    torch.testing.assert_close(new["<l1>"], between)
    assert json.loads((out / "layout_config.json").read_text())["bins"] == [7, 7]

    with pytest.raises(UserError, match="exists"):
        resize_location_grid(source, out, (7, 7))
    with pytest.raises(UserError, match="at least 2"):
        resize_location_grid(source, tmp_path / "x", (1, 7))
    with pytest.raises(UserError, match="layout_config.json is missing"):
        resize_location_grid(tmp_path, tmp_path / "x", (7, 7))
