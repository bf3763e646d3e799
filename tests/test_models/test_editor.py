"""The editor: its sampler against the stock pipeline, its losses, its determinism."""

import copy

import pytest
import torch
from mmengine.structures import BaseDataElement
from tiny_editor import build_editor, layouts

from detdiffusion.utils.errors import UserError


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def batch(with_masks=True):
    torch.manual_seed(5)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    samples = []
    for layout in layouts(with_masks):
        sample = BaseDataElement(metainfo=dict(img_path=f"{layout.image_id}.png", flip=False))
        sample.set_data(dict(layout=layout))
        samples.append(sample)
    return dict(inputs=list(images), data_samples=samples)


def test_attributes_change_the_image_and_the_prompt(tmp_path):
    editor = build_editor(tmp_path).eval()
    easy = layouts()[0]
    hard = easy.with_attributes(["hard", "background"])
    result = editor.infer([easy, hard], num_inference_steps=4, generators=generators(1, 1))
    assert "[easy]" in result["prompts"][0] and "[hard]" in result["prompts"][1]
    assert (result["samples"][0] - result["samples"][1]).abs().max() > 0


def test_a_training_step_moves_everything_but_the_vae(tmp_path):
    editor = build_editor(tmp_path).train()
    data = editor.data_preprocessor(batch(), True)
    assert data["inputs"].min() >= -1 and data["inputs"].max() <= 1
    torch.manual_seed(0)
    losses = editor(**data, mode="loss")
    assert set(losses) == {"loss_ldm", "loss_pa"}
    sum(losses.values()).backward()
    assert all(parameter.grad is None for parameter in editor.vae.parameters())
    for part in (editor.unet, editor.text_encoder, editor.mask_head):
        touched = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters()]
        assert sum(touched) > 0.7 * len(touched)
    attributes = editor.text_encoder.get_input_embeddings().weight.grad[
        editor.tokenizer.convert_tokens_to_ids("[easy]")
    ]
    assert attributes.abs().sum() > 0


@pytest.mark.parametrize(
    "options",
    [
        dict(taps="down+up"),
        dict(mask_head=dict(queries="layout"), perception_loss=dict(assign="fixed")),
        dict(mask_head=dict(num_classes=3), perception_loss=dict(class_weight=0.5)),
        dict(perception_loss=dict(use_dice=False)),
        dict(perception_loss=dict(weight_by=None)),
        dict(perception_on_null_text=False),
    ],
    ids=["down+up", "fixed", "classes", "without-dice", "without-weights", "not-on-null-text"],
)
def test_every_option_of_the_perception_loss_trains_the_unet(tmp_path, options):
    head = dict(type="MaskHead", hidden=16, num_queries=6, num_heads=2, ffn=32, num_layers=2)
    parts = dict(
        mask_head={**head, **options.get("mask_head", {})},
        perception_loss=dict(type="PerceptionAwareLoss", **options.get("perception_loss", {})),
    )
    editor = build_editor(tmp_path, null_text_prob=0.0, **{**options, **parts}).train()
    data = editor.data_preprocessor(batch(), True)
    for sample in data["data_samples"]:
        sample.layout.labels = torch.arange(len(sample.layout)) % 3
    torch.manual_seed(0)
    loss = editor(**data, mode="loss")["loss_pa"]
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    assert editor.unet.conv_in.weight.grad.abs().sum() > 0


def test_head_and_loss_have_to_fit(tmp_path):
    with pytest.raises(UserError, match="assign='fixed'.*queries='layout'"):
        build_editor(tmp_path, perception_loss=dict(type="PerceptionAwareLoss", assign="fixed"))
    with pytest.raises(UserError, match="class_weight=0.1 needs mask_head.num_classes"):
        build_editor(tmp_path, perception_loss=dict(type="PerceptionAwareLoss", class_weight=0.1))


def test_geodiffusion_is_the_same_code_without_attributes_and_head(tmp_path):
    editor = build_editor(
        tmp_path,
        layout_tokenizer=dict(bins=(4, 4), max_length=32, attributes=False),
        mask_head=None,
        perception_loss=None,
    )
    torch.manual_seed(0)
    losses = editor(**editor.data_preprocessor(batch(), True), mode="loss")
    assert set(losses) == {"loss_ldm"}
    assert "[easy]" not in editor.tokenizer.get_vocab()


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_autocast_keeps_trained_weights_and_gradients_in_float32(tmp_path, dtype):
    editor = build_editor(tmp_path, dtype=dtype).train()
    seen = []
    editor.unet.conv_in.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    sum(editor(**editor.data_preprocessor(batch(), True), mode="loss").values()).backward()
    assert seen == [dict(bf16=torch.bfloat16, fp16=torch.float16)[dtype]]
    trained = [p for p in editor.parameters() if p.requires_grad]
    assert (
        {p.dtype for p in trained} == {p.grad.dtype for p in trained if p.grad is not None} == {torch.float32}
    )
    exact = build_editor(tmp_path)
    losses = []
    for model in (editor, exact):
        torch.manual_seed(0)
        losses.append(model(**model.data_preprocessor(batch(), True), mode="loss")["loss_ldm"].item())
    assert losses[0] == pytest.approx(losses[1], rel=0.03)


def test_noise_offset_shifts_whole_channels(tmp_path, monkeypatch):
    editor = build_editor(tmp_path, noise_offset=3.0, mask_head=None, perception_loss=None)
    seen = []
    add_noise = editor.scheduler.add_noise
    monkeypatch.setattr(editor.scheduler, "add_noise", lambda x, n, t: seen.append(n) or add_noise(x, n, t))
    torch.manual_seed(0)
    editor._losses(torch.zeros(2, 4, 8, 8), layouts())
    torch.manual_seed(0)
    plain = torch.randn(2, 4, 8, 8)
    offset = seen[0] - plain
    assert torch.allclose(offset, offset[:, :, :1, :1].expand_as(offset), atol=1e-5)
    assert offset[:, :, 0, 0].abs().mean() > 1


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_perception_loss_reaches_the_unet(tmp_path, checkpointing):
    editor = build_editor(tmp_path, gradient_checkpointing=checkpointing).train()
    torch.manual_seed(0)
    editor(**editor.data_preprocessor(batch(), True), mode="loss")["loss_pa"].backward()
    for name in ("conv_in", "down_blocks.0.resnets.0.conv1", "mid_block.resnets.0.conv1"):
        assert editor.unet.get_submodule(name).weight.grad.abs().sum() > 0


def test_chunked_layouts_train_with_all_their_objects(tmp_path):
    """Windows of 14 tokens hold two objects: the second layout needs two of them."""
    editor = build_editor(
        tmp_path,
        layout_tokenizer=dict(bins=(4, 4), max_length=14, overflow="chunk"),
        grounding_loss=dict(type="AttentionGroundingLoss", min_size=2),
    ).train()
    counts, lengths = [], []
    perception, unet = editor.perception_loss.forward, editor.unet.forward

    def count(logits, masks, *args):
        counts.append([len(mask) for mask in masks])
        return perception(logits, masks, *args)

    def measure(*args, encoder_hidden_states, encoder_attention_mask, **kwargs):
        lengths.append((encoder_hidden_states.shape[1], encoder_attention_mask.sum(1).tolist()))
        return unet(
            *args,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            **kwargs,
        )

    editor.perception_loss.forward, editor.unet.forward = count, measure
    losses = editor(**editor.data_preprocessor(batch(), True), mode="loss")
    assert set(losses) == {"loss_ldm", "loss_pa", "loss_grounding"}
    assert all(torch.isfinite(value) for value in losses.values())
    assert counts == [[2, 3]] and lengths == [(28, [14, 28])]


def test_masks_fall_back_to_boxes(tmp_path):
    editor = build_editor(tmp_path)
    torch.manual_seed(0)
    losses = editor(**editor.data_preprocessor(batch(with_masks=False), True), mode="loss")
    assert torch.isfinite(losses["loss_pa"])


def test_attribute_tokens_start_from_their_words(tmp_path):
    editor = build_editor(tmp_path)
    weight = editor.text_encoder.get_input_embeddings().weight
    ids = editor.tokenizer.convert_tokens_to_ids
    assert torch.equal(weight[ids("[hard]")], weight[ids("hard</w>")])
    assert weight[ids("<l0>")].abs().max() == 1  # cos(0) of the sine-cosine grid


def test_it_can_be_copied_for_averaging(tmp_path):
    editor = build_editor(tmp_path)
    data = editor.data_preprocessor(batch(), True)
    clone = copy.deepcopy(editor)
    values = []
    for model in (editor, clone):
        torch.manual_seed(0)
        values.append(model(**data, mode="loss")["loss_pa"].item())
    assert values[0] == values[1]


def test_prompts_longer_than_the_text_encoder_are_refused(tmp_path):
    with pytest.raises(UserError, match="max_length is 77, but the text encoder has 48 positions"):
        build_editor(tmp_path, layout_tokenizer=dict(bins=(4, 4), max_length=77))


def test_a_missing_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(UserError, match="unet: no folder .*it should be a diffusers folder"):
        build_editor(
            tmp_path,
            unet=dict(type="UNet2DConditionModel", from_pretrained="/nowhere/sd15", subfolder="unet"),
        )
