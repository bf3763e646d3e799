"""Images that are none: numbers that overflow on the way stop the drawing instead of leaving black pictures."""

import pytest
import torch
from mmengine.structures import BaseDataElement
from tiny_editor import build_editor, layouts
from tiny_generation import draw as draw_set
from tiny_generation import write_world

from detdiffusion.models.editors.interface import draw, predict_batch
from detdiffusion.utils.errors import UserError


@pytest.fixture
def editor(tmp_path):
    return build_editor(tmp_path).eval()


@pytest.mark.parametrize("part", ["vae", "unet", "text_encoder"])
def test_weights_that_overflow(part, editor):
    last = [p for p in getattr(editor, part).parameters() if p.ndim > 1][-1]
    assert draw(editor, layouts(), num_inference_steps=1)["samples"].isfinite().all()
    with torch.no_grad():
        last.fill_(3e38)  # finite, but no sum of them is
    editor.eval()  # forgets the text states of the earlier weights
    with pytest.raises(UserError, match=r"2 of 2 images came out with NaN .* id 7, 8\).*model.dtype"):
        draw(editor, layouts(), num_inference_steps=1)
    with pytest.raises(UserError, match="1 of 1 images"):
        draw(editor, layouts()[0], num_inference_steps=1)


def test_validation_and_one_image_of_a_batch(editor):
    editor.test_cfg = dict(num_inference_steps=1)
    infer = editor.infer

    def spoilt(*args, **kwargs):  # one pixel of one image, as fp16 overflows
        drawn = infer(*args, **kwargs)
        drawn["samples"][1, 2, 3, 4] = float("inf")
        return drawn

    editor.infer = spoilt
    samples = [BaseDataElement(layout=layout) for layout in layouts()]
    with pytest.raises(UserError, match=r"1 of 2 images .* id 8\)"):
        predict_batch(editor, 32, 32, samples)


@pytest.mark.parametrize(
    ("value", "match"), [(float("nan"), "weights.pth: 1 of .* not finite"), (3e38, "came out")]
)
def test_the_tool_writes_no_image(value, match, tmp_path):
    world = write_world(tmp_path / "world", images=3)
    stored = torch.load(world / "weights.pth", weights_only=True)
    name = [name for name in stored["state_dict"] if name.startswith("unet.") and name.endswith("weight")][-1]
    stored["state_dict"][name][:] = value
    torch.save(stored, world / "weights.pth")
    with pytest.raises(UserError, match=match):
        draw_set(world, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))
