"""Memory format and compiled blocks change nothing but the time, and the checkpoint's names stay as they are."""

import copy

import pytest
import torch
from mmengine.structures import BaseDataElement
from tiny_editor import build_editor, layouts

from detdiffusion.utils.errors import UserError


def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=[BaseDataElement(layout=layout) for layout in layouts()])


def losses_and_gradient(editor):
    torch.manual_seed(3)
    losses = editor(**editor.data_preprocessor(batch(), True), mode="loss")
    sum(losses.values()).backward()
    gradient = editor.unet.down_blocks[0].resnets[0].conv1.weight.grad
    return torch.stack([losses["loss_ldm"], losses["loss_pa"]]).detach(), gradient.clone()


@pytest.mark.parametrize(
    "options",
    [
        dict(channels_last=True),
        dict(
            compile=dict(backend="eager")
        ),  # the graph as dynamo sees it, without minutes of code generation
        dict(compile=dict(backend="eager"), gradient_checkpointing=True),
    ],
    ids=["channels_last", "compile", "compile and checkpointing"],
)
def test_losses_gradients_and_names_stay(tmp_path, options):
    plain, fast = build_editor(tmp_path), build_editor(tmp_path, **options)
    assert list(plain.state_dict()) == list(fast.state_dict())
    fast.load_state_dict(plain.state_dict())
    for left, right in zip(losses_and_gradient(plain), losses_and_gradient(fast)):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)
    if "channels_last" in options:
        weight = fast.unet.conv_in.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    clone = copy.deepcopy(fast)  # for averaging
    assert list(clone.state_dict()) == list(plain.state_dict())


def test_attention_maps_cannot_be_compiled(tmp_path):
    with pytest.raises(UserError, match="grounding_loss needs the attention .* compile=False"):
        build_editor(tmp_path, compile=True, grounding_loss=dict(type="AttentionGroundingLoss"))
