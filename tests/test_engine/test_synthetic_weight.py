"""The weight of samples in a detector's loss: its limits 1 and 0, linearity, and what cannot be weighed."""

import pytest
import torch
from mmengine.structures import InstanceData

from detdiffusion.engine import SyntheticWeightHook
from detdiffusion.engine.synthetic_weight_hook import weigh_samples
from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

DETECTORS = ("atss", "faster-rcnn", "fcos", "yolov4")


def build(model):
    compat.setup()
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.registry import DefaultScope

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(model)


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request, repo_root):
    """A small detector with fixed statistics and samplers that take every prior, so that images are independent."""
    model = load_config(str(repo_root / f"configs/detectors/{request.param}_miniscenes.py")).model
    if request.param == "faster-rcnn":
        model.train_cfg.rpn.sampler.num = model.train_cfg.rcnn.sampler.num = 10**6
    torch.manual_seed(0)
    model = build(model)
    model.init_weights()
    return model.eval()


def batch():
    """Four images, (4, 3, 64, 64), with one to four objects."""
    from mmdet.structures import DetDataSample

    generator = torch.Generator().manual_seed(1)
    samples = []
    for image in range(4):
        corner = torch.rand(image + 1, 2, generator=generator) * 30
        size = 12 + torch.rand(image + 1, 2, generator=generator) * 20
        shapes = dict.fromkeys(("img_shape", "pad_shape", "batch_input_shape"), (64, 64))
        sample = DetDataSample(metainfo=dict(img_id=image, **shapes))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + size], 1), labels=torch.arange(image + 1)
        )
        samples.append(sample)
    return torch.randn(4, 3, 64, 64, generator=generator), samples


def gradients(model, weights=None, images=slice(None), name=None):
    """Flat gradient of one loss, or of the sum of all, by name."""
    inputs, samples = batch()
    handles = [] if weights is None else weigh_samples(model, lambda: torch.tensor(weights))
    losses = model.loss(inputs[images], samples[images])
    losses = {key: sum(value) if isinstance(value, list) else value for key, value in losses.items()}
    losses = {key: value for key, value in losses.items() if "loss" in key}
    parameters = [p for p in model.parameters() if p.requires_grad]
    chosen = losses.values() if name is None else [losses[name]]
    found = torch.autograd.grad(sum(chosen), parameters, allow_unused=True)
    for handle in handles:
        handle.remove()
    flat = torch.cat(
        [torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(parameters, found)]
    )
    return flat, list(losses)


def test_weight_one_changes_no_bit(detector):
    plain, _ = gradients(detector)
    assert plain.abs().max() > 0
    assert torch.equal(gradients(detector, [1.0] * 4)[0], plain)
    assert torch.equal(gradients(detector)[0], plain)  # nothing is left of the weights


def test_weight_zero_is_the_loss_without_these_samples(detector):
    """Each loss is a sum over samples divided by a number of the batch: without the samples, the gradient has the same
    direction and is longer by the ratio of the two numbers."""
    for name in gradients(detector)[1]:
        weighted, _ = gradients(detector, [1.0, 1.0, 0.0, 0.0], name=name)
        alone, _ = gradients(detector, images=slice(0, 2), name=name)
        ratio = (weighted @ alone / (alone @ alone)).item()
        assert 0.05 < ratio < 1, name
        assert torch.allclose(weighted, ratio * alone, rtol=1e-3, atol=1e-5 * weighted.abs().max().item()), (
            name
        )


def test_the_gradient_is_linear_in_the_weights(detector):
    both, first, second = (gradients(detector, w)[0] for w in ([1.0] * 4, [1.0, 1, 0, 0], [0.0, 0, 1, 1]))
    mixed, _ = gradients(detector, [1.0, 1.0, 0.3, 0.3])
    close = dict(rtol=1e-3, atol=1e-5 * both.abs().max().item())
    assert torch.allclose(first + second, both, **close)
    assert torch.allclose(mixed, first + 0.3 * second, **close)


def test_a_mask_head_is_weighed_with_its_own_rois(repo_root):
    """Mask R-CNN and Cascade R-CNN on the meta device: every part with a loss is found."""
    for base, heads in (("mask-rcnn_r50_fpn", 3), ("cascade-rcnn_r50_fpn", 4)):
        model = load_config(f"mmdet::_base_/models/{base}.py").model
        model.backbone.init_cfg = None
        with torch.device("meta"):
            built = build(model)
        weigh_samples(built, lambda: torch.ones(1))
        hooked = [m for m in built.modules() if m._forward_hooks]
        assert len(hooked) == heads
        assert all(any(n.startswith("loss_") for n, _ in m.named_children()) for m in hooked)


def test_what_cannot_be_weighed(repo_root):
    for value in (-1, "half", float("inf"), True):
        with pytest.raises(UserError, match="weight must be a number of at least 0"):
            SyntheticWeightHook(weight=value)
    head = dict(type="DETRHead", num_classes=3, embed_dims=8)
    detr = torch.nn.Module()
    detr.bbox_head = build(head)
    with pytest.raises(UserError, match="the loss of Module cannot be weighed by sample .DETRHead.; leave"):
        weigh_samples(detr, lambda: torch.ones(1))
    with pytest.raises(UserError, match="it has no dense head"):
        weigh_samples(torch.nn.Linear(1, 1), lambda: torch.ones(1))
