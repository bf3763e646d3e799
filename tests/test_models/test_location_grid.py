"""Finer grids of location tokens: positions interpolated, words and attributes untouched."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from tiny_editor import build_editor, layouts
from tiny_folder import save_parts

from detdiffusion.models.editors.converters.location_grid import resize_grid, resize_location_grid
from detdiffusion.models.editors.detdiffusion.layout_config import write_layout_config
from detdiffusion.utils.errors import UserError

TOOL = Path(__file__).resolve().parents[2] / "tools/model_converters/resize_location_grid.py"


def test_resize_grid_is_exact_on_what_is_linear_in_the_place():
    def plane(rows, columns):
        y = torch.linspace(0, 1, rows)[:, None].expand(rows, columns)
        x = torch.linspace(0, 1, columns)[None].expand(rows, columns)
        return torch.stack((3 * x - y, y + 2), dim=2).flatten(0, 1)

    torch.testing.assert_close(resize_grid(plane(4, 6), (4, 6), (9, 5)), plane(9, 5))
    torch.testing.assert_close(resize_grid(plane(4, 6), (4, 6), (4, 6)), plane(4, 6))


@pytest.mark.parametrize("words", [None, ["easy", "medium", "hard", "background"]], ids=["paper", "levels"])
def test_folder_on_a_finer_grid(tmp_path, monkeypatch, capsys, words):
    custom = {} if words is None else dict(attribute_words=words)
    coarse = dict(bins=(4, 4), max_length=32, **custom)
    editor = build_editor(tmp_path / "parts", layout_tokenizer=coarse, mask_head=None, perception_loss=None)
    source, out = tmp_path / "coarse", tmp_path / "fine"
    save_parts(editor, source)
    write_layout_config(source, editor.layout_tokenizer)

    monkeypatch.setattr(sys, "argv", [str(word) for word in (TOOL, source, out, "--bins", 7, 7)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert stopped.value.code == 0 and capsys.readouterr().out == f"{out}: 49 location tokens\n"
    fine = build_editor(
        tmp_path / "other",
        text_encoder=dict(type="CLIPTextModel", from_pretrained=str(out), subfolder="text_encoder"),
        tokenizer=dict(type="CLIPTokenizer", from_pretrained=str(out), subfolder="tokenizer"),
        layout_tokenizer=dict(bins=(7, 7), max_length=32),  # the folder says which words there are
    )
    old, new = (
        {t: m.text_encoder.get_input_embeddings().weight[i] for t, i in m.tokenizer.get_vocab().items()}
        for m in (editor, fine)
    )
    kept = [t for t in old if not t.startswith("<l")]
    assert set(new) - set(kept) == {f"<l{i}>" for i in range(49)}
    for token in kept:
        assert torch.equal(old[token], new[token]), token
    for word in words or ("easy", "hard", "background"):
        assert f"[{word}]" in kept
    # 7 bins have those of 4 at every second place
    for y, x in ((0, 0), (1, 2), (3, 3)):
        torch.testing.assert_close(new[f"<l{2 * y * 7 + 2 * x}>"], old[f"<l{y * 4 + x}>"])
    between = (old["<l0>"] + old["<l1>"]) / 2
    torch.testing.assert_close(new["<l1>"], between)
    assert json.loads((out / "layout_config.json").read_text())["bins"] == [7, 7]
    (prompt,) = fine.layout_tokenizer.encode(layouts()[:1]).prompts
    assert "[easy]" in prompt

    with pytest.raises(UserError, match="exists"):
        resize_location_grid(source, out, (7, 7))
    with pytest.raises(UserError, match="at least 2"):
        resize_location_grid(source, tmp_path / "x", (1, 7))
    with pytest.raises(UserError, match="layout_config.json is missing"):
        resize_location_grid(tmp_path, tmp_path / "x", (7, 7))
