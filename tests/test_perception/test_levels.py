"""Levels of difficulty: from the continuous score to tokens that a generator is trained with."""

import json

import numpy as np
import pytest
from option_values import extract
from test_attributes import make_set

from detdiffusion.perception import AttributesFile, Levels, perception_attributes
from detdiffusion.structures import ATTRIBUTES, Layout
from detdiffusion.utils.errors import UserError


def test_an_object_belongs_to_the_first_level_whose_threshold_its_score_exceeds():
    levels = Levels.parse(["easy=0.6", "medium=0.3", "hard"])
    assert levels.words_of(np.array([0.61, 0.6, 0.31, 0.3, 0.0, 1.0])).tolist() == [
        "easy", "medium", "medium", "hard", "hard", "easy",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [2, 3, 5])
def test_names_alone_make_equal_shares(count):
    scores = np.random.default_rng(0).uniform(size=1000)
    words = Levels(tuple(f"level-{k}" for k in range(count))).words_of(scores)
    for k in range(count):
        own = scores[words == f"level-{k}"]
        assert abs(len(own) - 1000 / count) <= 1
        assert k == 0 or own.max() < scores[words == f"level-{k - 1}"].min()


@pytest.mark.parametrize(
    "texts",
    [
        ["easy"], ["easy=0.3", "medium=0.6", "hard"], ["easy=0.6", "medium", "hard"], ["easy=0.6", "hard=0.3"],
        ["easy=x", "hard"], ["easy=1.0", "hard"], ["easy=-1", "hard"], ["easy", "easy"], ["Easy", "hard"],
        ["very hard", "hard"], ["easy=0.3", "background"],
    ],
)  # fmt: skip
def test_bad_levels_are_one_clear_message(texts):
    with pytest.raises(UserError, match="levels"):
        Levels.parse(texts)


def test_equal_shares_that_cannot_be_made_say_why():
    with pytest.raises(UserError, match="70% of them have score 0"):
        Levels(("a", "b", "c")).fitted(np.r_[np.zeros(70), np.linspace(0.1, 0.9, 30)])


def test_attributes_in_levels_follow_the_continuous_score():
    annotations, predictions = make_set(0)
    plain = perception_attributes(annotations, predictions, {1, 2, 4})
    levels = Levels(("easy", "medium", "hard"), (0.5, 0.1))
    result = perception_attributes(annotations, predictions, {1, 2, 4}, levels=levels)
    assert result.scores == plain.scores and result.words == ("easy", "medium", "hard", "background")
    for key, word in result.attributes.items():
        if plain.attributes[key] == "background":
            assert word == "background"
        else:
            score = result.scores[key]
            assert word == ("easy" if score > 0.5 else "medium" if score > 0.1 else "hard")
    assert sum(result.counts.values()) == len(annotations) and min(result.counts.values()) > 0
    assert plain.words == ATTRIBUTES


@pytest.fixture
def coco(tmp_path):
    """Ten objects in one image, predicted at scores 0.1 to 1 with IoU 1."""
    boxes = [[10 * k, 0, 8, 8] for k in range(10)]
    data = dict(
        images=[dict(id=1, file_name="a.png", width=100, height=10)],
        annotations=[dict(id=k + 1, image_id=1, category_id=1, bbox=b) for k, b in enumerate(boxes)],
        categories=[dict(id=1, name="cat")],
    )
    (tmp_path / "ann.json").write_text(json.dumps(data))
    results = [dict(image_id=1, category_id=1, bbox=b, score=(k + 1) / 10) for k, b in enumerate(boxes)]
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path


def write(folder, **options):
    return extract(
        [folder / "ann.json"], folder / "attributes.json", predictions=folder / "results.json", **options
    )


def test_the_file_carries_its_words_to_the_transform(coco, capsys):
    write(coco, levels=["easy=0.65", "medium=0.35", "hard"])
    out = capsys.readouterr().out
    assert "easy above 0.65, medium above 0.35, hard below" in out and "medium" in out
    file = AttributesFile.read(coco / "attributes.json")
    assert file.words == ("easy", "medium", "hard", "background")
    assert [file.attributes[k] for k in range(1, 11)] == ["hard"] * 3 + ["medium"] * 3 + ["easy"] * 4
    assert file.info["level_thresholds"] == [0.65, 0.35] and "score_thr" not in file.info

    from detdiffusion.datasets.transforms import LoadPerceptionAttributes

    layout = Layout(boxes=[[0, 0, 1, 1]], names=["cat"], ids=[5])
    loaded = LoadPerceptionAttributes(str(coco / "attributes.json"), missing="medium")(dict(layout=layout))
    assert loaded["layout"].attributes == ["medium"]
    with pytest.raises(UserError, match="one of easy, medium, hard, background"):
        LoadPerceptionAttributes(str(coco / "attributes.json"), missing="odd")


def test_the_default_file_is_as_it_was(coco):
    file = write(coco)
    assert (
        "words" not in file.info
        and file.words == ATTRIBUTES
        and set(file.attributes.values()) == {"easy", "hard"}
    )


def test_the_summary_is_drawn(coco):
    from PIL import Image

    write(coco, levels=["easy", "medium", "hard"])
    picture = np.asarray(Image.open(coco / "attributes.png").convert("RGB")).astype(int)
    for colour in ((26, 150, 65), (214, 47, 39)):  # the ends of the scale: green and red
        assert (abs(picture - colour).sum(axis=2) < 30).sum() > 500


@pytest.mark.parametrize(
    "words", [["easy"], "easy", ["easy", "easy", "background"], ["background", "easy"], [3]]
)
def test_a_broken_vocabulary_is_refused(words, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(dict(info=dict(words=words), attributes={})))
    with pytest.raises(UserError, match="info.words"):
        AttributesFile.read(tmp_path / "a.json")


def test_more_levels_are_trained_by_config(tmp_path):
    """The tokenizer takes the file's words; the default stays the paper's three."""
    from transformers import CLIPTokenizer

    from detdiffusion.models.editors.detdiffusion.layout_tokenizer import LayoutTokenizer
    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer

    words = ("easy", "medium", "hard", "background")
    write_small_tokenizer(tmp_path, ["an", "image", "with", "cat", *words])

    def build(**options):
        return LayoutTokenizer(CLIPTokenizer.from_pretrained(tmp_path), bins=(4, 4), **options)

    tokenizer = build(attribute_words=words)
    names = tokenizer.tokenizer.convert_ids_to_tokens(tokenizer.added["attribute"])
    assert names == [f"[{word}]" for word in words]
    layout = Layout(boxes=[[0, 0, 1, 1]], names=["cat"], attributes=["medium"])
    encoded = tokenizer.encode([layout])
    assert encoded.prompts == ["An image with cat <l0> <l15> [medium]"]
    stock = tokenizer.tokenizer(encoded.prompts[0], padding="max_length", max_length=77).input_ids
    assert encoded.input_ids[0].tolist() == stock
    assert build().tokenizer.convert_ids_to_tokens(build().added["attribute"]) == [
        f"[{w}]" for w in ATTRIBUTES
    ]
    with pytest.raises(UserError, match="medium"):
        build().encode([layout])
    with pytest.raises(UserError, match="attribute_words"):
        build(attribute_words=("easy", "hard"))
