"""Cross-attention grounding: the taps against the UNet's own attention, the loss against a loop."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from tiny_editor import build_editor, layouts

from detdiffusion.models.editors.detdiffusion.attention_taps import AttentionTaps
from detdiffusion.models.losses.grounding_loss import (
    AttentionGroundingLoss,
    attention_grounding,
    covering_object,
    grounding_targets,
)
from detdiffusion.utils.errors import UserError


def test_taps_give_the_attention_that_the_layer_uses(tmp_path):
    unet = build_editor(tmp_path, mask_head=None, perception_loss=None).unet
    unet.set_attn_processor(AttnProcessor())
    seen = []
    layer = dict(unet.named_modules())["down_blocks.0.attentions.0.transformer_blocks.0.attn2"]
    scores = layer.get_attention_scores
    layer.get_attention_scores = lambda *args: seen.append(scores(*args)) or seen[-1]
    with AttentionTaps(unet) as taps, torch.no_grad():
        unet(torch.randn(2, 4, 8, 8), torch.tensor([3, 900]), encoder_hidden_states=torch.randn(2, 7, 16))
    torch.testing.assert_close(taps.probabilities[0].flatten(0, 1), seen[0], atol=1e-6, rtol=1e-5)
    assert [p.shape[2] for p in taps.probabilities] == [64, 16, 4, 16, 16, 64, 64]
    assert not any(module._forward_pre_hooks for module in unet.modules())


def test_loss_equals_a_loop():
    torch.manual_seed(0)
    h, w = 6, 5
    probabilities = torch.rand(2, 3, h * w, 9).softmax(-1)
    boxes = [torch.tensor([[0.0, 0.0, 1.0, 0.5], [0.2, 0.1, 0.6, 0.9]]), torch.tensor([[0.5, 0.5, 1.0, 1.0]])]
    spans = [[(1, 4), (4, 6)], [(2, 5)]]
    samples = []
    for b in range(2):
        terms = []
        for row in range(h):
            for column in range(w):
                x, y = (column + 0.5) / w, (row + 0.5) / h
                over = [
                    ((x2 - x1) * (y2 - y1), k)
                    for k, (x1, y1, x2, y2) in enumerate(boxes[b].tolist())
                    if x1 <= x < x2 and y1 <= y < y2
                ]
                if over:
                    start, end = spans[b][min(over)[1]]
                    paid = probabilities[b, :, row * w + column, start:end].sum(-1).mean()
                    terms.append(-torch.log(paid + 1e-4))
        samples.append(torch.stack(terms).mean())
    torch.testing.assert_close(
        attention_grounding(probabilities, grounding_targets(spans, boxes, h, w, probabilities.shape[3])),
        torch.stack(samples).mean(),
    )


def test_enough_attention_costs_nothing_and_the_last_token_can_be_asked_for():
    probabilities = torch.zeros(1, 2, 4, 5)
    probabilities[..., 3], probabilities[..., 1] = 0.6, 0.4
    boxes, spans = [torch.tensor([[0.0, 0.0, 1.0, 1.0]])], [[(1, 4)]]
    loss = AttentionGroundingLoss(loss_weight=1.0, min_size=2, tokens="last", enough=0.5)
    assert loss([probabilities], spans, boxes, (2, 2)) == 0
    strict = AttentionGroundingLoss(loss_weight=1.0, min_size=2, tokens="last")
    torch.testing.assert_close(strict([probabilities], spans, boxes, (2, 2)), -torch.tensor(0.6001).log())
    with pytest.raises(UserError, match="tokens must be 'all' or 'last'"):
        AttentionGroundingLoss(tokens="first")


def test_samples_without_tokens_or_boxes_have_no_targets():
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    boxes = [whole, whole, torch.zeros(0, 4), torch.cat((whole, whole / 2))]
    targets = grounding_targets([[(1, 3)], [], [], [(0, 2)]], boxes, 2, 2, 4)
    assert targets[0].tolist() == [[0, 1, 1, 0]] * 4 and not targets[1:3].any()
    # the second box, which has no tokens, owns the first cell
    assert targets[3].tolist() == [[0] * 4] + [[1, 1, 0, 0]] * 3


def test_the_smallest_box_owns_a_cell():
    owner = covering_object(
        torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.2, 0.2]]), 4, 4
    )
    assert owner.tolist() == [[2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert (covering_object(torch.zeros(0, 4), 2, 2) == -1).all()


def test_a_few_steps_turn_the_attention_to_the_boxes(tmp_path):
    editor = build_editor(
        tmp_path,
        mask_head=None,
        perception_loss=None,
        grounding_loss=dict(type="AttentionGroundingLoss", loss_weight=1.0),
    )
    optimizer = torch.optim.AdamW([p for p in editor.parameters() if p.requires_grad], lr=3e-3)
    latents = torch.randn(2, 4, 8, 8)
    values = []
    for _ in range(30):
        losses = editor._losses(latents, layouts())
        values.append(losses["loss_grounding"].item())
        optimizer.zero_grad()
        losses["loss_grounding"].backward()
        optimizer.step()
    assert sum(values[-5:]) < 0.8 * sum(values[:5])
