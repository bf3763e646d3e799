"""The mask head: shapes, gradients of every parameter, masked attention, layout queries, learning."""

import pytest
import torch
from torch.nn import functional as F

from detdiffusion.models.editors.detdiffusion.mask_head import Attention, sine_positions
from detdiffusion.models.losses import PerceptionAwareLoss, boxes_to_masks
from detdiffusion.registry import MODELS
from detdiffusion.utils.errors import UserError

CHANNELS = [12, 8, 4]


def build(**options):
    torch.manual_seed(0)
    config = dict(type="MaskHead", in_channels=CHANNELS, hidden=32, num_queries=20, num_layers=2, ffn=64)
    return MODELS.build({**config, **options})


def features(batch=2, sizes=((4, 5), (8, 10), (15, 19)), seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, c, h, w, generator=g) for c, (h, w) in zip(CHANNELS, sizes)]


def without_gradient(module):
    return [name for name, p in module.named_parameters() if p.grad is None]


@pytest.mark.parametrize("upsample", [1, 2])
def test_shapes(upsample):
    assert build(upsample=upsample)(features()).shape == (2, 20, 15 * upsample, 19 * upsample)
    masks, classes = build(num_classes=7)(features())
    assert masks.shape == (2, 20, 30, 38) and classes.shape == (2, 20, 8)
    assert [f.shape for f in build().fuse(features())] == [(2, 32, 4, 5), (2, 32, 8, 10), (2, 32, 15, 19)]


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_every_parameter_gets_a_gradient(layers):
    head = build(num_layers=layers)
    loss = PerceptionAwareLoss()(head(features()), [torch.rand(2, 30, 38) > 0.5] * 2, torch.ones(2))
    loss.backward()
    assert without_gradient(head) == []
    assert all(p.grad.any() for name, p in head.named_parameters() if not name.endswith("to_k.bias"))


@pytest.mark.parametrize(
    "options",
    [{}, dict(num_classes=5), dict(queries="layout", layout_classes=5)],
    ids=["learned", "class", "layout"],
)
def test_no_masks_still_touch_every_parameter(options):
    head = build(**options)
    empty = dict(boxes=[torch.zeros(0, 4)] * 2, labels=[torch.zeros(0, dtype=torch.long)] * 2)
    output = head(features(), **empty)
    logits, classes = output if isinstance(output, tuple) else (output, None)
    masks = [torch.zeros(0, 30, 38, dtype=torch.bool)] * 2
    loss = PerceptionAwareLoss(class_weight=float(classes is not None))(
        logits, masks, torch.ones(2), classes, empty["labels"]
    )
    assert loss.item() == 0
    loss.backward()
    assert without_gradient(head) == []
    assert not any(p.grad.any() for p in head.parameters())


def test_attention_equals_torch_multihead_attention():
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([m.weight for m in (ours.to_q, ours.to_k, ours.to_v)]))
        theirs.in_proj_bias.copy_(torch.cat([m.bias for m in (ours.to_q, ours.to_k, ours.to_v)]))
        theirs.out_proj.load_state_dict(ours.to_out.state_dict())
    q, k, v = torch.randn(2, 3, 16), torch.randn(2, 7, 16), torch.randn(2, 7, 16)
    allowed = torch.rand(2, 3, 7) > 0.4
    allowed[..., 0] = True
    expected = theirs(q, k, v, attn_mask=~allowed.repeat_interleave(4, 0))[0]
    torch.testing.assert_close(ours(q, k, v, allowed[:, None]), expected, rtol=1e-5, atol=1e-6)


def test_fusion_equals_equation_3_by_hand():
    head, (f1, f2, f3) = build().eval(), features()
    result = head.laterals[0](f1)
    for lateral, fusion, f in zip(head.laterals[1:], head.fusions, (f2, f3)):
        up = F.interpolate(result, f.shape[-2:], mode="bilinear")
        x = torch.cat((lateral(f), up), 1)
        y = F.conv2d(x, fusion.conv1.weight, padding=1)
        y = fusion.norm1(y).relu()
        y = fusion.norm2(F.conv2d(y, fusion.conv2.weight, padding=1))
        result = (y + F.conv2d(x, fusion.shortcut.weight)).relu()
    torch.testing.assert_close(head.fuse([f1, f2, f3])[-1], result)


def test_forward_equals_the_decoder_by_hand():
    """All masks of all layers with gradients, keys with positions added in every layer, as in Mask2Former."""
    head, x = build(num_layers=3).eval(), features()
    fused = head.fuse(x)
    query, position = (p.expand(2, -1, -1) for p in (head.queries.features, head.queries.positions))

    def masks(query):
        return torch.einsum("bqc,bchw->bqhw", head.mask_mlp(head.norm(query)), fused[-1])

    for i, layer in enumerate(head.layers):
        level = fused[1:][i % 2]
        keys = level.flatten(2).transpose(1, 2)
        placed = keys + sine_positions(*level.shape[-2:], 32, keys)
        seen = F.interpolate(masks(query), level.shape[-2:], mode="bilinear").flatten(2) > 0
        seen = seen | ~seen.any(-1, keepdim=True)
        query = layer.norm1(query + layer.cross(query + position, placed, keys, seen[:, None]))
        at = query + position
        query = layer.norm2(query + layer.self_attention(at, at, query, None))
        query = layer.norm3(query + layer.ffn(query))
    expected = F.interpolate(masks(query), scale_factor=2, mode="bilinear")
    logits = head(x)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    left = torch.autograd.grad(logits.square().mean(), list(head.parameters()))
    right = torch.autograd.grad(expected.square().mean(), list(head.parameters()))
    for a, b in zip(left, right):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6 + 1e-5 * float(b.abs().max()))


def test_sine_positions_separate_rows_and_columns():
    grid = sine_positions(3, 5, 16, torch.zeros(1)).reshape(3, 5, 16)
    assert torch.equal(grid[:, :1, :8].expand(-1, 5, -1), grid[..., :8])
    assert torch.equal(grid[:1, :, 8:].expand(3, -1, -1), grid[..., 8:])
    assert torch.cdist(grid.reshape(15, 16), grid.reshape(15, 16)).fill_diagonal_(9).min() > 0.1


def layout():
    boxes = [
        torch.tensor([[0.1, 0.1, 0.4, 0.5], [0.5, 0.5, 0.9, 1.0], [0.0, 0.6, 0.3, 0.8]]),
        torch.zeros(0, 4),
    ]
    return boxes, [torch.tensor([2, 0, 4]), torch.zeros(0, dtype=torch.long)]


def test_layout_queries_follow_the_objects_order_and_ignore_padding():
    head = build(queries="layout", layout_classes=5).eval()
    boxes, labels = layout()
    logits = head(features(), boxes, labels)
    assert logits.shape[:2] == (2, 3) and logits.isfinite().all()
    order = torch.tensor([2, 0, 1])
    shuffled = head(features(), [boxes[0][order], boxes[1]], [labels[0][order], labels[1]])
    torch.testing.assert_close(shuffled[0], logits[0, order], rtol=1e-4, atol=1e-4)
    # the same two objects beside a sample of three: the empty third slot changes nothing
    first = [f[:1] for f in features()]
    alone = head(first, [boxes[0][:2]], [labels[0][:2]])
    twice = [f.repeat(2, 1, 1, 1) for f in first]
    padded = head(twice, [boxes[0][:2], boxes[0]], [labels[0][:2], labels[0]])
    torch.testing.assert_close(padded[0, :2], alone[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="needs the boxes"):
        head(features())


@pytest.mark.parametrize("queries, assign", [("learned", "hungarian"), ("layout", "fixed")])
def test_a_tiny_head_learns_masks(queries, assign):
    head = build(queries=queries, upsample=1, num_heads=4)
    boxes = [layout()[0][0], layout()[0][0][:2]]
    masks = [boxes_to_masks(b, 15, 19) for b in boxes]
    x, criterion = features(), PerceptionAwareLoss(loss_weight=1.0, assign=assign)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    losses = []
    for _ in range(100):
        loss = criterion(head(x, boxes), masks, torch.ones(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_autocast_and_deterministic_repeat():
    head = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(features())
    assert logits.isfinite().all()
    logits.float().square().mean().backward()
    assert without_gradient(head) == []
    assert torch.equal(head(features()), head(features()))


def test_errors():
    with pytest.raises(UserError, match=r"\[4, 8, 12\] channels, built for \[12, 8, 4\]"):
        build()(features()[::-1])
    with pytest.raises(UserError, match="hidden=20"):
        build(hidden=20)
    with pytest.raises(UserError, match="'boxes'"):
        build(queries="boxes")
    with pytest.raises(UserError, match="at least 1"):
        build(num_layers=0)
