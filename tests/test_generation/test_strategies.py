"""Flip, mix and per-class strategies, edited layouts and repeat factors: shares, determinism, errors."""

import json
import random
from collections import Counter

import pytest
import torch

from detdiffusion.generation import NAMED_STRATEGIES, LayoutEdits, build_strategy
from detdiffusion.generation.identity import rng_of
from detdiffusion.generation.options import ContentOptions
from detdiffusion.generation.oversampling import repeat_factors, samples_of, samples_of_file
from detdiffusion.generation.planning import plan
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

CATEGORIES = [
    dict(id=1, name="ball", supercategory="thing"),
    dict(id=5, name="tent", supercategory="thing"),
    dict(id=6, name="kite", supercategory="thing"),
    dict(id=90, name="grass", supercategory="stuff"),
]
NAMEABLE = ["ball", "tent", "kite"]


def layout(image_id=7, names=("ball", "tent", "grass"), attributes=("easy", "hard", "background")):
    ids = {c["name"]: c["id"] for c in CATEGORIES}
    count = len(names)
    boxes = torch.tensor([[0.1 + 0.02 * i, 0.1, 0.5 + 0.02 * i, 0.6] for i in range(count)])
    return Layout(
        boxes=boxes,
        names=list(names),
        attributes=None if attributes is None else list(attributes),
        labels=torch.tensor([list(ids).index(name) for name in names]),
        ids=[image_id * 100 + i for i in range(count)],
        category_ids=[ids[name] for name in names],
        image_id=image_id,
        width=100,
        height=80,
    )


def test_flip_exchanges_and_keeps_background():
    flip = build_strategy("flip")
    assert flip(layout()).attributes == ["hard", "easy", "background"]
    assert flip(flip(layout())).attributes == layout().attributes
    with pytest.raises(UserError, match="strategy 'flip'.*which of its objects are easy and which are hard"):
        build_strategy("flip", nameable=NAMEABLE)(layout(attributes=None))


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("by", ["object", "image"])
def test_mix_has_its_ratio_and_repeats(ratio, by):
    mix = build_strategy("mix", NAMEABLE, ratio=ratio, by=by)
    results = [mix(layout(i, attributes=None), rng_of("strategy", i, 0, 0)) for i in range(400)]
    words = Counter(word for one in results for word in one.attributes)
    assert words["background"] == 400
    # three standard deviations of a binomial share, of objects or of images
    count = 800 if by == "object" else 400
    assert words["hard"] / 800 == pytest.approx(ratio, abs=3 * (ratio * (1 - ratio) / count) ** 0.5)
    again = [mix(layout(i), rng_of("strategy", i, 0, 0)) for i in range(400)]
    assert [one.attributes for one in again] == [one.attributes for one in results]
    if by == "image":
        assert all(len(set(one.attributes)) == 2 for one in results)


def test_per_class():
    chosen = build_strategy("per-class", attributes={"ball": "hard"}, default="easy")
    assert chosen(layout()).attributes == ["hard", "easy", "background"]
    keeping = build_strategy("per-class", attributes={"ball": "hard"})
    assert keeping(layout()).attributes == ["hard", "hard", "background"] and keeping.reads_attributes
    assert not chosen.reads_attributes and chosen.name != keeping.name
    with pytest.raises(UserError, match="'bal' is not one of the layouts' 4 classes; near matches: ball"):
        build_strategy("per-class", attributes={"bal": "hard"}).check_classes([c["name"] for c in CATEGORIES])


def test_names_tell_strategies_apart():
    built = [build_strategy(name) for name in NAMED_STRATEGIES if name != "per-class"]
    built += [build_strategy("mix", ratio=0.3), build_strategy("mix", ratio=0.3, by="image")]
    built += [build_strategy("mix", ratio=0.3, attribute="easy", other="hard")]
    built += [build_strategy("per-class", attributes={"ball": a}) for a in ("easy", "hard")]
    assert len({strategy.name for strategy in built}) == len(built)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("mix",), dict(ratio=1.3), r"ratio must be in \[0, 1\], got 1.3"),
        (("mix",), dict(share=0.3), "unknown option.s. share; it takes ratio, attribute, other, by"),
        (("mix",), dict(attribute="medium"), "option attribute: must be .*, got 'medium'"),
        (("mix",), dict(by="box"), "by must be 'object' or 'image'"),
        (("per-class",), {}, "no classes given; e.g. `strategy_options`"),
        (("hrad",), {}, "unknown strategy 'hrad', did you mean hard"),
        (("easy",), dict(ratio=1), "strategy UniformStrategy: unknown option"),
    ],
)
def test_bad_strategies(arguments, options, message):
    with pytest.raises(UserError, match=message):
        build_strategy(*arguments, **options)


# edits


def edited(options, count=1500, layouts=None, **context):
    layouts = layouts or [layout(i) for i in range(count)]
    context = {**dict(nameable=NAMEABLE, categories=CATEGORIES, layouts=layouts), **context}
    edit = LayoutEdits.from_options(options, **context)
    return layouts, [edit(one, rng_of("edit", one.image_id, 0, 0)) for one in layouts]


def test_flip_mirrors_with_its_probability():
    layouts, results = edited(dict(flip=0.25))
    flipped = sum(log.flipped for _, log in results)
    assert flipped / 1500 == pytest.approx(0.25, abs=3 * (0.25 * 0.75 / 1500) ** 0.5)
    for source, (result, log) in zip(layouts, results):
        assert torch.equal(result.boxes, source.flip().boxes if log.flipped else source.boxes)
        assert log.of_object(result.ids[2]) == ("flip" if log.flipped else "")  # stuff is mirrored too


def test_jitter_stays_in_the_image_and_leaves_stuff():
    border = [layout(i) for i in range(500)]
    for one in border:
        one.boxes = torch.tensor([[0.0, 0.0, 0.3, 0.3], [0.6, 0.6, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0]])
    layouts, results = edited(dict(jitter=0.3), layouts=border)
    moved = 0
    for source, (result, log) in zip(layouts, results):
        assert torch.equal(result.boxes[2], source.boxes[2]) and result.boxes.min() >= 0
        assert result.boxes.max() <= 1 and result.names == source.names
        size = (result.boxes[:2, 2:] - result.boxes[:2, :2]) / (source.boxes[:2, 2:] - source.boxes[:2, :2])
        assert (size.prod(dim=1) > 0.5 * 0.7**2 - 1e-5).all() and (size <= 1.3 + 1e-5).all()
        moved += len(log.jittered)
        for index in range(2):
            same = torch.equal(result.boxes[index], source.boxes[index])
            assert same == (result.ids[index] not in log.jittered)
    assert moved > 900


def test_drop_keeps_one_and_leaves_stuff():
    _, results = edited(dict(drop=0.4))
    assert sum(len(log.dropped) for _, log in results) / 3000 == pytest.approx(0.4, abs=0.03)
    assert all(result.ids[-1] % 100 == 2 for result, _ in results)
    assert all(len(result) + len(log.dropped) == 3 for result, log in results)
    _, all_things = edited(
        dict(drop=1.0), layouts=[layout(i, ("ball",) * 3, ("easy",) * 3) for i in range(20)]
    )
    assert {len(result) for result, _ in all_things} == {1}


def test_swap_goes_to_rarer_classes_of_the_supercategory():
    layouts = [layout(i) for i in range(900)] + [
        layout(900 + i, ("kite", "ball", "grass")) for i in range(90)
    ]
    _, results = edited(dict(swap=0.5), layouts=layouts)
    turned = Counter()
    for result, log in results:
        for index, key in enumerate(result.ids):
            if key in log.swapped:
                old = next(c["name"] for c in CATEGORIES if c["id"] == log.swapped[key])
                turned[old, result.names[index]] += 1
                assert result.category_ids[index] == dict(ball=1, tent=5, kite=6)[result.names[index]]
                assert int(result.labels[index]) == dict(ball=0, tent=1, kite=2)[result.names[index]]
    assert set(turned) == {("ball", "tent"), ("ball", "kite"), ("tent", "kite")}
    # of the balls' targets, tents are ten times as frequent as kites, so a tenth as likely
    assert turned["ball", "kite"] / turned["ball", "tent"] == pytest.approx(10, rel=0.5)
    assert turned["tent", "kite"] / 900 == pytest.approx(0.5, abs=0.06)


def test_plan_with_edits_has_ids_of_its_own_and_the_same_noise():
    layouts = [layout(i) for i in range(30)]
    edits = LayoutEdits(flip=0.5, drop=0.2, nameable=NAMEABLE)
    plain, once = plan(layouts, build_strategy("hard"), 3), plan(layouts, build_strategy("hard"), 3, 2, edits)
    again = plan(layouts[::-1], build_strategy("hard"), 3, 2, edits)
    assert not {d.image_id for d in plain} & {d.image_id for d in once}
    assert [d.noise_seed for d in plain] == [d.noise_seed for d in once[:30]]
    assert {d.file_name: d.layout.boxes.tolist() for d in once} == {
        d.file_name: d.layout.boxes.tolist() for d in again
    }
    easy = plan(layouts, build_strategy("easy"), 3, 2, edits)
    assert [d.log for d in easy] == [d.log for d in once]  # strategies share their edited layouts
    assert [d.log for d in once[:30]] != [d.log for d in once[30:]]  # samples do not


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(rotate=0.1), "unknown rotate; known: jitter, drop, flip, swap"),
        (dict(flip=2), r"edit flip=2: must be a number in \[0, 1\]"),
        (dict(jitter="much"), "edit jitter='much'"),
        (dict(flip=0), "all are 0"),
        (dict(swap=0.5), "no class of the layouts has a rarer one in its supercategory"),
    ],
)
def test_bad_edits(options, message):
    with pytest.raises(UserError, match=message):
        LayoutEdits.from_options(options, nameable=NAMEABLE, categories=CATEGORIES, layouts=[layout()])


# oversampling


def test_repeat_factors_are_those_of_mmdet():
    from mmengine.dataset import ClassBalancedDataset

    rng = random.Random(0)
    layouts = [
        layout(i, rng.choices(["ball", "tent", "kite"], [20, 4, 1], k=2), ("easy", "easy"))
        for i in range(200)
    ]

    class Labels:
        metainfo = dict(classes=("ball", "tent", "kite"))

        def __len__(self):
            return len(layouts)

        def get_cat_ids(self, index):
            return layouts[index].labels.tolist()

    oracle = ClassBalancedDataset.__new__(ClassBalancedDataset)
    oracle.dataset = Labels()
    expected = oracle._get_repeat_factors(oracle.dataset, 0.4)
    assert repeat_factors(layouts, 0.4) == pytest.approx(expected)
    counts = samples_of(layouts, repeat_factors(layouts, 0.4), 2, seed=0)
    assert sum(counts) == pytest.approx(2 * sum(expected), rel=0.05) and min(counts) == 2
    assert counts == samples_of(layouts, repeat_factors(layouts, 0.4), 2, seed=0)
    drawings = plan(layouts, build_strategy("hard"), 0, counts)
    assert Counter(d.layout.image_id for d in drawings) == dict(enumerate(counts))
    with pytest.raises(UserError, match="`oversample_thr` must be in"):
        repeat_factors(layouts, 0)


def test_a_file_with_numbers_of_images(tmp_path, capsys):
    path, layouts = tmp_path / "samples.json", [layout(i) for i in (4, 7, 9)]

    def read(text):
        path.write_text(text)
        return samples_of_file(path, layouts, 2)

    assert read(json.dumps({7: 5, 4: 1})) == [1, 5, 2] and not capsys.readouterr().out
    assert read(json.dumps({7: 5, 4: 1, 1000: 3})) == [1, 5, 2]
    assert "samples.json: 1 of its 3 ids are not among the layouts" in capsys.readouterr().out
    for text, message in (
        ("[1, 2]", "must be a json object, {image id: number of images}"),
        ('{"7": 0}', "'7': the number of images must be a whole number of at least 1, got 0"),
        ('{"7": "3"}', "got '3'"),
        ('{"70": 3}', "none of its 1 image ids, the first 70, is one of the 3 layouts"),
        ("{", "broken json"),
    ):
        with pytest.raises(UserError, match=message):
            read(text)


def test_the_threshold_of_composed_layouts_goes_with_a_file():
    """It says which objects are taken, and so belongs to the set that the file continues."""
    both = dict(strategy="hard", oversample_thr=0.1, samples_file="samples.json")
    for kind in ("recompose", "sample"):
        assert ContentOptions(**both, layouts=kind).oversample_thr == 0.1
    for kind in (None, "edit"):
        with pytest.raises(UserError, match="`samples_file` and `oversample_thr` exclude each other"):
            ContentOptions(**both, layouts=kind)
