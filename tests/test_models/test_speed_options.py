"""Memory format and compiled blocks change nothing but the time, and the checkpoint's names stay as they are."""

import copy

import pytest
import torch
from mmengine.structures import BaseDataElement
from tiny_editor import build_editor, layouts

from detdiffusion.models.editors.detdiffusion.regional_compile import start_cuda_graph_steps
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


@pytest.mark.parametrize(
    "options, mean, largest",
    [
        (dict(channels_last=True), 1e-4, 1e-3),
        (dict(compile=dict(backend="eager")), 1e-4, 1e-3),
        (dict(dtype="bf16"), 1e-2, 0.1),
    ],
    ids=["channels_last", "compile", "bf16"],
)
def test_images_stay(tmp_path, options, mean, largest):
    """Differences of pixels in [0, 1]: below a grey level in float32, 2.5 on average in bfloat16."""
    plain, fast = build_editor(tmp_path), build_editor(tmp_path, **options)
    fast.load_state_dict(plain.state_dict())
    left, right = (
        editor.infer(
            layouts(),
            num_inference_steps=3,
            generators=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
        )["samples"]
        for editor in (plain, fast)
    )
    difference = (left - right).abs()
    assert difference.mean() < mean and difference.max() < largest
    assert left.std() > 0.01


def test_a_pass_of_the_unet_is_a_step_of_cuda_graphs(tmp_path):
    unet = build_editor(tmp_path).unet
    start_cuda_graph_steps(unet, mode="max-autotune-no-cudagraphs")
    assert not unet._forward_pre_hooks
    start_cuda_graph_steps(unet, mode="reduce-overhead")
    assert len(unet._forward_pre_hooks) == 1
    assert list(copy.deepcopy(unet).state_dict()) == list(unet.state_dict())


def test_attention_maps_cannot_be_compiled(tmp_path):
    with pytest.raises(UserError, match="grounding_loss needs the attention .* compile=False"):
        build_editor(tmp_path, compile=True, grounding_loss=dict(type="AttentionGroundingLoss"))
