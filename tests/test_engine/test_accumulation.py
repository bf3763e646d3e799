"""Gradients accumulated over small batches are those of the large batch."""

import torch
from mmengine.optim import build_optim_wrapper
from test_distributed import RankDraws
from tiny_editor import build_editor, layouts


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    from mmengine.structures import BaseDataElement

    samples = [BaseDataElement(layout=layout) for layout in layouts()]
    return dict(inputs=list(images), data_samples=samples)


def test_two_batches_of_two_step_as_one_of_four(tmp_path, monkeypatch):
    """The optimizer waits for the second batch; with plain SGD its step is minus the large batch's gradient."""
    editor = build_editor(tmp_path, layout_tokenizer=dict(bins=(4, 4), max_length=32, shuffle=False)).train()
    wrapper = build_optim_wrapper(editor, dict(optimizer=dict(type="SGD", lr=1.0), accumulative_counts=2))
    wrapper.initialize_count_status(editor, 0, 4)
    start = {name: p.detach().clone() for name, p in editor.named_parameters() if p.requires_grad}
    states, batches = [], [batch(0), batch(1)]
    for i, data in enumerate(batches):
        torch.manual_seed(10 + i)
        states.append(torch.get_rng_state())
        editor.train_step(data, wrapper)
        moved = any(not torch.equal(start[name], dict(editor.named_parameters())[name]) for name in start)
        assert moved == (i == 1)
    steps = {name: start[name] - p.detach() for name, p in editor.named_parameters() if name in start}

    with torch.no_grad():
        for name, p in editor.named_parameters():
            if name in start:
                p.copy_(start[name])
                p.grad = None
    large = {key: batches[0][key] + batches[1][key] for key in batches[0]}
    with monkeypatch.context() as patched:
        RankDraws(states, patched)
        losses = editor(**editor.data_preprocessor(large, True), mode="loss")
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in editor.named_parameters() if p.grad is not None}
    scale = float(max(g.abs().max() for g in gradients.values()))
    assert len(gradients) > 50
    for name, gradient in gradients.items():
        torch.testing.assert_close(steps[name], gradient, atol=2e-5 * scale, rtol=2e-3, msg=name)
