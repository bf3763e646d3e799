"""The direct id mapping against the stock tokenizer, and the policies around it."""

import random

import pytest
import torch
from tiny_editor import WORDS, layouts
from transformers import CLIPTokenizer, CLIPTokenizerFast

from detdiffusion.models.editors.detdiffusion.layout_tokenizer import LayoutTokenizer, sincos_grid
from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError


@pytest.fixture(params=[CLIPTokenizer, CLIPTokenizerFast], ids=["slow", "fast"])
def clip_tokenizer(tmp_path, request):
    write_small_tokenizer(tmp_path, WORDS)
    return request.param.from_pretrained(tmp_path)


def random_layout(rng, count):
    corners = torch.tensor([[rng.random() for _ in range(4)] for _ in range(count)]).reshape(count, 2, 2)
    boxes = torch.cat((corners.min(1).values, corners.max(1).values), dim=1)
    names = [rng.choice(["ball", "pine tree", "sky", "traffic-light"]) for _ in range(count)]
    return Layout(boxes, names, [rng.choice(["easy", "hard", "background"]) for _ in range(count)])


@pytest.mark.parametrize("template", ["compact", "paper", "caption"])
@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("position", ["last", "first"])
def test_ids_equal_the_stock_tokenizers(clip_tokenizer, template, attributes, position):
    tokenizer = LayoutTokenizer(
        clip_tokenizer,
        bins=(8, 16),
        template=template,
        attributes=attributes,
        attribute_position=position,
        max_length=400,
    )
    rng = random.Random(0)
    encoded = tokenizer.encode([random_layout(rng, count) for count in (0, 1, 3, 8) for _ in range(5)], rng)
    stock = clip_tokenizer(encoded.prompts, padding="max_length", max_length=400, return_tensors="pt")
    assert torch.equal(stock.input_ids, encoded.input_ids)


@pytest.mark.parametrize("position", ["last", "first"])
def test_where_the_attribute_stands(clip_tokenizer, position):
    tokenizer = LayoutTokenizer(clip_tokenizer, bins=(4, 4), attribute_position=position)
    layout = Layout(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), ["pine tree"], ["hard"])
    text = dict(last="pine tree <l0> <l15> [hard]", first="[hard] pine tree <l0> <l15>")[position]
    encoded = tokenizer.encode([layout])
    assert encoded.prompts == [f"An image with {text}"]
    start, end = encoded.spans[0][0]
    ids = clip_tokenizer(text, add_special_tokens=False).input_ids
    assert encoded.input_ids[0, start:end].tolist() == ids


def test_an_attribute_is_one_token(clip_tokenizer):
    LayoutTokenizer(clip_tokenizer, bins=(4, 4))
    assert (
        len(clip_tokenizer("[easy] [hard] [background] <l0> <l15>", add_special_tokens=False).input_ids) == 5
    )


def test_location_bins_are_rows_times_columns(clip_tokenizer):
    tokenizer = LayoutTokenizer(clip_tokenizer, bins=(4, 8))
    bins = tokenizer.location_bins(torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.4, 0.52, 1.0]]))
    assert bins == [
        (0, 31),
        (1 * 8 + 4, 3 * 8 + 4),
    ]  # round(.5 * 7) = 4 by banker's rule, round(.4 * 3) = 1


def test_shuffling_keeps_the_objects(clip_tokenizer):
    tokenizer = LayoutTokenizer(clip_tokenizer, bins=(4, 4))
    orders = {tuple(tokenizer.encode([layouts()[1]], random.Random(seed)).kept[0]) for seed in range(20)}
    assert len(orders) > 3 and all(sorted(order) == [0, 1, 2] for order in orders)


def test_overflow_keeps_the_largest_and_counts(clip_tokenizer):
    tokenizer = LayoutTokenizer(clip_tokenizer, bins=(4, 4), max_length=4 + 4 + 4 + 1)
    layout = Layout(
        [[0, 0, 0.1, 0.1], [0, 0, 1, 1], [0, 0, 0.5, 0.5]],
        ["ball", "sky", "ball"],
        ["easy", "background", "hard"],
    )
    assert tokenizer.encode([layout]).kept == [[1, 2]]
    assert tokenizer.dropped == {"ball": 1}
    with pytest.raises(UserError, match="3 objects need 12 tokens, but the prompt has room for 8"):
        LayoutTokenizer(clip_tokenizer, bins=(4, 4), max_length=13, overflow="error").encode([layout])


@pytest.mark.parametrize("template", ["compact", "paper"])
def test_chunks_hold_every_object_and_equal_the_stock_tokenizers(clip_tokenizer, template):
    tokenizer = LayoutTokenizer(
        clip_tokenizer, bins=(8, 16), template=template, overflow="chunk", max_length=77
    )
    rng = random.Random(1)
    samples = [random_layout(rng, count) for count in (3, 60, 0, 25)]
    encoded = tokenizer.encode(samples, rng)
    assert [sorted(kept) for kept in encoded.kept] == [list(range(len(sample))) for sample in samples]
    counts = [len(prompt.splitlines()) for prompt in encoded.prompts]
    assert counts[0] == counts[2] == 1 and counts[1] > counts[3] > 1
    assert encoded.input_ids.shape == (4, 77 * counts[1])
    assert tokenizer.windows == {1: 2, counts[1]: 1, counts[3]: 1} and not tokenizer.dropped
    windows = encoded.input_ids.reshape(4, counts[1], 77)
    for row, prompt, count in zip(windows, encoded.prompts, counts):
        stock = clip_tokenizer(prompt.splitlines(), padding="max_length", max_length=77, return_tensors="pt")
        assert torch.equal(row[:count], stock.input_ids)
        assert torch.equal(row[count:].flatten()[None], tokenizer.null_ids(1, counts[1] - count))
    assert encoded.attention_mask().sum(1).tolist() == [77 * count for count in counts]
    for sample, row, kept, spans in zip(samples, encoded.input_ids, encoded.kept, encoded.spans):
        for k, (start, end) in zip(kept, spans):
            words = sample.names[k].replace("-", " ")
            assert words in clip_tokenizer.decode(row[start:end]).replace("</w>", " ")
            assert len({place // 77 for place in range(start, end)}) == 1  # no object is cut
    assert tokenizer.encode(samples[:1]).attention_mask() is None
    room = LayoutTokenizer(clip_tokenizer, bins=(8, 16), template=template, overflow="chunk", max_length=8)
    with pytest.raises(UserError, match="alone needs .* tokens, but a window has room for 3"):
        room.encode([random_layout(rng, 3)])


def test_a_missing_attribute_is_an_error(clip_tokenizer):
    with pytest.raises(UserError, match="'ball' has no perception-aware attribute"):
        LayoutTokenizer(clip_tokenizer, bins=(4, 4)).encode([Layout([[0, 0, 1, 1]], ["ball"])])


def test_another_grid_than_the_checkpoints_is_an_error(clip_tokenizer):
    LayoutTokenizer(clip_tokenizer, bins=(4, 4))
    with pytest.raises(UserError, match="already has 16 location tokens"):
        LayoutTokenizer(clip_tokenizer, bins=(8, 8))


def test_a_saved_tokenizer_adds_nothing_again(clip_tokenizer, tmp_path):
    first = LayoutTokenizer(clip_tokenizer, bins=(4, 4))
    clip_tokenizer.save_pretrained(tmp_path / "saved")
    again = LayoutTokenizer(CLIPTokenizer.from_pretrained(tmp_path / "saved"), bins=(4, 4))
    assert again.added == {"location": [], "attribute": []}
    sample = layouts()
    assert torch.equal(again.encode(sample).input_ids, first.encode(sample).input_ids)


def test_sincos_grid_separates_x_and_y():
    grid = sincos_grid(16, 3, 5).reshape(3, 5, 16)
    assert torch.equal(grid[0, :, :8], grid[2, :, :8])  # x part does not depend on the row
    assert torch.equal(grid[:, 0, 8:], grid[:, 4, 8:])
    x = torch.arange(5, dtype=torch.float64)
    assert torch.allclose(grid[0, :, 0].double(), x.sin(), atol=1e-6)
    assert torch.allclose(grid[0, :, 5].double(), (x / 10000**0.25).cos(), atol=1e-6)
