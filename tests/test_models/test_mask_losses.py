"""Mask losses, matching and the perception-aware loss against closed forms and naive loops."""

import itertools
import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from detdiffusion.models.losses import PerceptionAwareLoss, resize_masks
from detdiffusion.models.losses.mask_losses import mask_bce, mask_dice, pairwise_mask_bce, pairwise_mask_dice
from detdiffusion.models.losses.matching import match_queries
from detdiffusion.registry import MODELS
from detdiffusion.utils.errors import UserError


def naive_pair(logits, target, use_mask=True, use_dice=True):
    """BCE + dice of one flat pair, cell by cell in float64 Python."""
    bce = inter = total = 0.0
    for x, t in zip(logits.flatten().tolist(), target.flatten().tolist()):
        p = 1 / (1 + math.exp(-x))
        bce -= t * math.log(p) + (1 - t) * math.log(1 - p)
        inter += p * t
        total += p + t
    return use_mask * bce / logits.numel() + use_dice * (1 - (2 * inter + 1) / (total + 1))


def naive_loss(logits, targets, scale, use_mask=True, use_dice=True):
    """The whole loss without lambda: the best of all assignments by brute force."""
    samples = []
    for x, t, s in zip(logits, targets, scale.tolist()):
        if len(t) == 0:
            samples.append(0.0)
            continue
        pairs = [[naive_pair(q, m, use_mask, use_dice) for q in x] for m in t]
        best = min(
            sum(pairs[j][q] for j, q in enumerate(queries))
            for queries in itertools.permutations(range(len(x)), len(t))
        )
        samples.append(s * best / len(t))
    return sum(samples) / len(samples)


def batch(counts=(3, 0, 1), queries=5, size=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(len(counts), queries, size, size, generator=g)
    masks = [torch.rand(n, size, size, generator=g) > 0.6 for n in counts]
    return logits, masks, torch.rand(len(counts), generator=g)


def test_closed_forms():
    target = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    even = torch.zeros(1, 4)
    assert mask_bce(even, target).item() == pytest.approx(math.log(2))
    # p = 1/2: overlap 1, |p| = |t| = 2 -> 1 - (2 + 1) / (4 + 1)
    assert mask_dice(even, target).item() == pytest.approx(1 - 3 / 5)
    right = torch.tensor([[60.0, 60.0, -60.0, -60.0]])
    assert mask_bce(right, target).item() == pytest.approx(0, abs=1e-6)
    assert mask_dice(right, target).item() == pytest.approx(0, abs=1e-6)
    # all wrong: 1 - 1 / (2 + 2 + 1); the BCE is the logit itself
    assert mask_dice(-right, target).item() == pytest.approx(0.8)
    assert mask_bce(-right, target).item() == pytest.approx(60)
    # an empty mask, predicted empty, costs nothing thanks to the smoothing
    assert mask_dice(torch.full((1, 4), -60.0), torch.zeros(1, 4)).item() == pytest.approx(0)


def test_pairwise_costs_equal_naive_loops():
    logits, _, _ = batch()
    targets = torch.rand(3, 4, 36, generator=torch.Generator().manual_seed(1))
    flat = logits.flatten(2)
    cost = pairwise_mask_bce(flat, targets) + pairwise_mask_dice(flat, targets)
    for b, q, m in itertools.product(range(3), range(5), range(4)):
        assert cost[b, q, m].item() == pytest.approx(naive_pair(flat[b, q], targets[b, m]), rel=1e-4)


def test_matching_equals_scipy_on_the_naive_matrix():
    logits, masks, _ = batch(counts=(4, 2, 5), seed=3)
    expected = []
    for x, t in zip(logits, masks):
        matrix = [[naive_pair(q, m.float()) for m in t] for q in x]
        queries, objects = linear_sum_assignment(matrix)
        expected += [q for _, q in sorted(zip(objects.tolist(), queries.tolist()))]
    padded = torch.nn.utils.rnn.pad_sequence([m.flatten(1).float() for m in masks], batch_first=True)
    flat = logits.flatten(2)
    cost = pairwise_mask_bce(flat, padded) + pairwise_mask_dice(flat, padded)
    assert match_queries(cost, [4, 2, 5], 5).tolist() == expected
    assert match_queries(None, [2, 0, 3], 5, "fixed").tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("use_mask, use_dice", [(True, True), (True, False), (False, True)])
def test_loss_equals_brute_force(use_mask, use_dice):
    logits, masks, scale = batch()
    loss = PerceptionAwareLoss(use_mask=use_mask, use_dice=use_dice)(logits, masks, scale)
    expected = naive_loss(logits, [m.float() for m in masks], scale, use_mask, use_dice)
    assert loss.item() == pytest.approx(0.01 * expected, rel=1e-4)


def test_weighting_switch():
    logits, masks, scale = batch()
    plain = PerceptionAwareLoss(loss_weight=1.0, weight_by=None)
    weighted = PerceptionAwareLoss(loss_weight=1.0)
    assert plain(logits, masks).item() == pytest.approx(
        naive_loss(logits, [m.float() for m in masks], torch.ones(3)), rel=1e-4
    )
    assert torch.allclose(weighted(logits, masks, torch.full((3,), 0.25)), plain(logits, masks) / 4)
    # the weight is per sample: a sample of pure noise contributes nothing
    only_last = torch.tensor([0.0, 0.0, 1.0])
    assert torch.allclose(weighted(logits, masks, only_last), plain(logits[2:], masks[2:]) / 3)


def test_permutation_of_masks_changes_nothing():
    logits, masks, scale = batch(counts=(5, 3, 2))
    loss = PerceptionAwareLoss(loss_weight=1.0)
    shuffled = [m[torch.randperm(len(m), generator=torch.Generator().manual_seed(4))] for m in masks]
    assert torch.allclose(loss(logits, masks, scale), loss(logits, shuffled, scale), rtol=1e-6)
    queries = torch.randperm(5, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(loss(logits, masks, scale), loss(logits[:, queries], masks, scale), rtol=1e-6)


def test_fixed_assignment_takes_query_j_for_object_j():
    logits, masks, scale = batch()
    loss = PerceptionAwareLoss(loss_weight=1.0, assign="fixed")(logits, masks, scale)
    first = sum(naive_pair(logits[0, j], masks[0][j].float()) for j in range(3)) / 3
    last = naive_pair(logits[2, 0], masks[2][0].float())
    assert loss.item() == pytest.approx((first * scale[0] + last * scale[2]).item() / 3, rel=1e-4)


def test_zero_masks_give_zero_with_a_graph():
    logits = torch.randn(2, 4, 5, 5, requires_grad=True)
    loss = PerceptionAwareLoss()(logits, [torch.zeros(0, 9, 9, dtype=torch.bool)] * 2, torch.ones(2))
    assert loss.item() == 0 and loss.requires_grad
    loss.backward()
    assert logits.grad is not None and not logits.grad.any()


def test_half_precision_logits_are_computed_in_fp32():
    logits, masks, scale = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = PerceptionAwareLoss()(logits.bfloat16(), masks, scale)
    assert low.dtype == torch.float32
    assert torch.equal(low, PerceptionAwareLoss()(logits.bfloat16().float(), masks, scale))


def test_gradient_descends_to_the_masks():
    _, masks, scale = batch()
    logits = torch.zeros(3, 5, 6, 6, requires_grad=True)
    torch.nn.init.normal_(logits, std=0.1, generator=torch.Generator().manual_seed(0))
    loss, optimizer = PerceptionAwareLoss(loss_weight=1.0), torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(logits, masks, scale)
        value.backward()
        optimizer.step()
    assert value.item() < 0.01


def test_resized_masks_are_area_shares():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, :, :3] = True
    soft = resize_masks([mask], 4, 4)
    assert soft[0, 0].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert resize_masks([mask], 4, 4, soft=False)[0, 0].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert resize_masks([mask], 16, 16)[0, 0].tolist() == [1.0] * 6 + [0.0] * 10
    mixed = resize_masks([mask, torch.zeros(0, 3, 3), torch.ones(2, 5, 7)], 4, 4)
    assert mixed.shape == (3, 4, 4) and torch.equal(mixed[:1], soft) and bool((mixed[1:] == 1).all())


def test_class_loss_equals_a_loop():
    logits, masks, scale = batch()
    class_logits = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(7))
    labels = [torch.tensor([2, 0, 1]), torch.zeros(0, dtype=torch.long), torch.tensor([2])]
    loss = PerceptionAwareLoss(loss_weight=1.0, class_weight=2.0, assign="fixed")
    masks_only = PerceptionAwareLoss(loss_weight=1.0, assign="fixed")(logits, masks, scale)
    value = loss(logits, masks, scale, class_logits, labels)
    expected = 0.0
    for b in (0, 2):
        top = bottom = 0.0
        for q in range(5):
            target = labels[b][q].item() if q < len(labels[b]) else 3
            weight = 0.1 if target == 3 else 1.0
            top -= weight * class_logits[b, q].log_softmax(0)[target].item()
            bottom += weight
        expected += 2.0 * scale[b].item() * top / bottom / 3
    assert (value - masks_only).item() == pytest.approx(expected, rel=1e-4)
    # with matching, a decisive class logit moves object 0 to the query that names its class
    hungarian = PerceptionAwareLoss(loss_weight=1.0, class_weight=100.0)
    sure = torch.zeros(1, 5, 4)
    sure[0, 3, 1] = 50.0
    x = logits[:1].clone().requires_grad_()
    hungarian(x, [masks[0][:1]], scale[:1], sure, [torch.tensor([1])]).backward()
    assert x.grad[0].abs().sum((1, 2)).nonzero().flatten().tolist() == [3]


def test_errors_name_the_values():
    logits, masks, scale = batch()
    with pytest.raises(UserError, match="sample 0 .* 6 masks.* 5 queries"):
        PerceptionAwareLoss()(logits, [torch.ones(6, 6, 6), *masks[1:]], scale)
    with pytest.raises(UserError, match="not finite"):
        PerceptionAwareLoss()(logits * float("nan"), masks, scale)
    with pytest.raises(UserError, match="3 values, got None"):
        PerceptionAwareLoss()(logits, masks)
    with pytest.raises(UserError, match="3 samples of logits but 2"):
        PerceptionAwareLoss()(logits, masks[:2], scale)
    with pytest.raises(UserError, match="class_logits"):
        PerceptionAwareLoss(class_weight=1.0)(logits, masks, scale)
    for bad in (dict(assign="greedy"), dict(weight_by="alpha"), dict(use_mask=False, use_dice=False)):
        with pytest.raises(UserError):
            MODELS.build(dict(type="PerceptionAwareLoss", **bad))
