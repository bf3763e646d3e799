"""`DetDiffusionInferencer`: results, seeds, comparison sheets, and errors that name what is known."""

import json

import numpy as np
import pytest
import torch
from mmengine.infer import BaseInferencer
from PIL import Image
from tiny_editor import layouts, trained_editor

from detdiffusion import DetDiffusionInferencer, Layout
from detdiffusion.apis.inferencer import _seeds
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.sampling_plan import read_plan

FAST = dict(num_inference_steps=2)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return DetDiffusionInferencer(*trained_editor(tmp_path_factory.mktemp("editor")), "cpu")


@pytest.fixture(scope="module")
def result(generator):
    return generator(layouts(), seed=3, return_vis=True, **FAST)


def test_it_is_an_inferencer_of_mmengine(generator):
    assert isinstance(generator, BaseInferencer)
    assert generator.classes == ("ball", "pine tree", "sky")
    assert generator.attribute_words == ("easy", "hard", "background")


def test_the_result_has_images_and_what_they_show(result):
    assert result["samples"].shape == (2, 3, 32, 32) and result["kept"] == [[0, 1], [0, 1, 2]]
    for image, sample in zip(result.images, result["samples"]):
        pixels = torch.from_numpy(np.asarray(image)).permute(2, 0, 1) / 255
        assert (pixels - sample).abs().max() <= 0.5 / 255 + 1e-6
    first = json.loads(json.dumps(result["predictions"]))[0]
    assert first["labels"] == ["ball", "sky"] and first["attributes"] == ["easy", "background"]
    assert first["bboxes"][1] == pytest.approx([0, 0, 32, 12.8]) and first["seed"] == 3
    assert (first["width"], first["height"]) == (32, 32) and first["prompt"] == result["prompts"][0]
    assert [picture.size for picture in result["visualization"]] == [(256, 256)] * 2


def test_an_image_depends_on_its_own_seed_only(generator, result):
    again = generator(layouts()[::-1], seed=[4, 3], batch_size=1, **FAST)
    assert (again["samples"].flip(0) - result["samples"]).abs().max() < 1e-5
    noise = [torch.Generator().manual_seed(4)]
    alone = generator(layouts()[1], noise, **FAST)
    assert (alone["samples"][0] - result["samples"][1]).abs().max() < 1e-5
    assert alone["predictions"][0]["seed"] is None


def test_a_plan_is_its_settings_and_arguments_beat_it(generator, result):
    def samples(**options):
        return generator(layouts(), seed=3, **options)["samples"]

    settings = dict(num_inference_steps=2, guidance_interval=(0.5, 1.0), guidance_rescale=0.7)
    plan = "steps=2,guidance_interval=0.5:1,guidance_rescale=0.7"
    planned = samples(plan=plan)
    assert torch.equal(planned, samples(**settings)) and not torch.equal(planned, result["samples"])
    assert torch.equal(planned, samples(plan=read_plan(plan)))
    whole = dict(guidance_interval=(0.0, 1.0), guidance_rescale=0.0)
    assert torch.equal(samples(plan=plan, **whole), result["samples"])


def test_seeds_of_any_whole_numbers():
    assert _seeds(np.int64(3), 2) == _seeds(np.array([3, 4]), 2) == [3, 4] and _seeds(None, 2) is None
    assert all(type(seed) is int for seed in _seeds(np.arange(2), 2))
    for seed in (1.5, "12", [1], [1, 2.0]):
        with pytest.raises(UserError, match="`seed` must be a whole number, or 2 of them"):
            _seeds(seed, 2)


def test_saving(generator, result, tmp_path):
    files = result.save(tmp_path / "drawn")
    listed = json.loads((tmp_path / "drawn/predictions.json").read_text())
    assert [file.name for file in files] == [one["file_name"] for one in listed] == ["00000.png", "00001.png"]
    assert np.array_equal(Image.open(files[1]), result.images[1])
    with pytest.raises(UserError, match=r"a\.png: 2 images do not go into one file"):
        result.save(tmp_path / "a.png")
    one = generator(layouts()[0], seed=0, out_dir=tmp_path / "one.jpg", **FAST)
    assert Image.open(tmp_path / "one.jpg").size == one.images[0].size


def test_comparison_shares_noise_and_changes_attributes(generator, monkeypatch):
    drawn = []
    forward = generator.forward
    monkeypatch.setattr(
        generator, "forward", lambda batch, **options: drawn.append(batch) or forward(batch, **options)
    )
    sheet = generator.compare(layouts(), ["origin", "easy", "hard"], seed=1, **FAST)
    assert sheet.width > 3 * 256 and sheet.height > 2 * 256
    attributes = [[layout.attributes for layout in batch] for batch, _ in drawn]
    assert attributes[0] == [layout.attributes for layout in layouts()]
    assert attributes[2] == [["hard", "background"], ["hard", "hard", "background"]]
    seeds = [[noise.initial_seed() for noise in generators] for _, generators in drawn]
    assert seeds == [[1, 2]] * 3
    without = Layout(layouts()[0].boxes, ["ball", "sky"])
    assert generator.compare(without, ["easy"], boxes=False, **FAST).width == 256
    for words, message in (
        (["hrd"], "did you mean hard"),
        ("hard", "must be a list"),
        ([], "must be a list"),
    ):
        with pytest.raises(UserError, match=message):
            generator.compare(without, words, **FAST)
    with pytest.raises(UserError, match=r"`inputs`\[0\] must be a Layout, got 'ball'"):
        generator.compare(["ball"])


def one(names=("ball",), attributes=("easy",)):
    return Layout([[0, 0, 1, 1]], list(names), None if attributes is None else list(attributes))


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ([], {}, "`inputs` must be a Layout or a list of them"),
        ("ball", {}, "`inputs` must be a Layout"),
        (["ball"], {}, r"`inputs`\[0\] must be a Layout, got 'ball'"),
        (one(["bal"]), {}, "does not know the class 'bal'; near matches: ball"),
        ([one(), one(["car"])], {}, "layout 1: .* class 'car'; available names: ball, pine tree, sky"),
        (
            one(attributes=["hrd"]),
            {},
            "unknown attribute 'hrd', did you mean hard.* known: easy, hard, background",
        ),
        (
            one(attributes=None),
            {},
            "layout 0 has no attributes; the model needs one of easy, hard, background",
        ),
        (
            one(),
            dict(num_inference_steps=0),
            "`num_inference_steps` must be a whole number of at least 1, it is 0",
        ),
        (one(), dict(guidance_scale=float("nan")), "`guidance_scale` must be a finite number"),
        (one(), dict(batch_size=0), "`batch_size` must be a whole number of at least 1"),
        (
            one(),
            dict(num_inference_step=2),
            "unknown argument `num_inference_step`; did you mean num_inference_steps",
        ),
        (one(), dict(plan="fats"), "no sampling plan 'fats'; there are: paper, fast"),
        (one(), dict(height=30), "divisible by 4, got 30 x 32"),
        (one(), dict(seed=[1, 2]), "`seed` must be a whole number, or 1 of them"),
        (one(), dict(seed=1, generators=[torch.Generator()]), "`seed` or `generators`, not both"),
        (one(), dict(generators=[]), "1 layouts need 1 generators, got 0"),
    ],
)
def test_errors_name_what_is_known(generator, inputs, options, message):
    with pytest.raises(UserError, match=message):
        generator(inputs, **options)


def test_names_are_compared_as_the_prompt_writes_them(generator):
    assert generator(one(["pine-tree"]), **FAST)["kept"] == [[0]]
