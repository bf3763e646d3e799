"""What tools/augment.py derives, by closed forms: sizes, prompts, flips, the division of time, the sentence."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from detdiffusion.experiments.augment import derive
from detdiffusion.experiments.augment.arms import arms_of
from detdiffusion.experiments.augment.budget import (
    EVALUATION_COST,
    RESERVE,
    SAMPLING_COST,
    STEP_SECONDS,
    Rates,
    Work,
    divide,
    fixed,
    minutes_for,
    minutes_of,
)
from detdiffusion.experiments.augment.report import classes_found
from detdiffusion.experiments.augment.verdict import (
    COSTS,
    HELPS,
    NO_ANSWER,
    NOT_SHOWN,
    classes_not_drawn,
    judge,
)


@pytest.mark.parametrize("divisor", [16, 32, 64])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (500, 500), (1920, 1080), (300, 90)])
def test_image_size(width, height, divisor):
    h, w = derive.image_size(width, height, 192 * 144, divisor)
    assert h % divisor == w % divisor == 0
    assert 0.5 <= h * w / min(192 * 144, width * height) <= 1.5
    assert (w > h) == (width > height) or w == h
    turned = derive.image_size(height, width, 192 * 144, divisor)
    assert turned == (w, h)


def test_image_size_is_exact_where_it_can_be():
    assert derive.image_size(640, 480, 256 * 192, 64) == (192, 256)
    assert derive.image_size(512, 512, 256 * 256, 64) == (256, 256)
    assert derive.image_size(64, 64, 192 * 144, 32) == (64, 64)  # not more pixels than the photographs have


def test_detector_scale_keeps_the_shape():
    assert derive.detector_scale(640, 480, 320 * 240) == (320, 240)
    assert derive.detector_scale(64, 64, 320 * 240) == (96, 96)


def test_grid_filter_and_prompt():
    assert derive.location_bins((144, 192)) == (36, 48)
    assert derive.smallest_object((64, 64), 8) == pytest.approx(
        0.5 / 64, abs=1e-6
    )  # half of one of 8 x 8 cells
    assert (
        derive.most_objects([3] * 99 + [500]) == 3 and derive.most_objects([100] * 10) == derive.MOST_OBJECTS
    )
    # start, three words, end; two objects of one word and one of two, each with two corners and an attribute
    assert derive.prompt_length([[1, 1, 2], [1]], 3) == 8 * math.ceil((5 + 4 + 3 * 3) / 8)
    assert derive.prompt_length([[1] * 9, [1]], 3) == 16  # the first image has no prompt


def test_prompt_length_is_that_of_the_tokenizer(tmp_path):
    from transformers import CLIPTokenizer

    from detdiffusion.models.editors.detdiffusion.layout_tokenizer import LayoutTokenizer
    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer
    from detdiffusion.structures import Layout
    from detdiffusion.utils.clip_bpe import PROMPT_WORDS, count_tokens, merges_of, pieces

    names = [*"ball no_vest 白血球 Äpfel car(old) van mk²Ⅷ".split(), "pine tree", "don't"]
    write_small_tokenizer(tmp_path, [*PROMPT_WORDS, *names])
    merges, stock = merges_of([*PROMPT_WORDS, *names]), CLIPTokenizer.from_pretrained(tmp_path)
    tokens = [count_tokens(name, merges) for name in names]
    assert tokens == [len(stock(name, add_special_tokens=False).input_ids) for name in names]
    assert tokens[:5] == [len(pieces(name)) for name in names[:5]] == [1, 3, 1, 1, 4] and tokens[5] == 2
    for name in names:
        ids = stock(name, add_special_tokens=False).input_ids
        assert stock.decode(ids).replace(" ", "") == name.lower().replace(" ", "")
    length = derive.prompt_length([tokens], len(names))
    layout = Layout([[0, 0, 1, 1]] * len(names), names, ["easy"] * len(names))
    tokenizer = LayoutTokenizer(stock, bins=(4, 4), max_length=length)
    assert tokenizer.encode([layout]).kept == [list(range(len(names)))]


def test_upper_side():
    rng = np.random.default_rng(0)
    noise, sky = rng.normal(0, 10, 200), rng.normal(5, 10, 200)
    centres = rng.normal(0, 0.1, 200)
    assert not derive.has_upper_side(noise - noise.mean(), centres - centres.mean())
    assert derive.has_upper_side(sky, centres - centres.mean())
    assert derive.has_upper_side(noise - noise.mean(), centres + 0.1)
    assert derive.has_upper_side([0.0] * 10, [0.0] * 10)  # too few to tell
    assert derive.flips(True, False) == (0.5, ["horizontal"])
    assert derive.flips(False, False)[0] == 0.75 and derive.flips(False, True)[0] == 0
    assert derive.has_a_direction(["left arrow"]) and derive.has_a_direction(["7", "8"])
    assert not derive.has_a_direction(["RBC", "leftover"])


def test_division_of_the_budget():
    rates = Rates(detector=0.5, generator=0.8)
    sets = dict(held_out_sets=2, synthetic_sets=2, held_out=72, layouts=205)
    work = Work(trainings=11, steps=29, evaluated=1200, batch=8, **sets)
    detection = EVALUATION_COST * 0.5 / 8
    schedule = divide(90, rates, work, 25)
    other = 29 * STEP_SECONDS + 1200 * detection
    left = 90 * 60 * (1 - RESERVE) - other
    images = 2 * schedule.held_out + 2 * schedule.synthetic
    spent = 11 * schedule.detector_iters * 0.5 + schedule.generator_iters * 0.8
    spent += images * (25 * SAMPLING_COST * 0.8 / 8 + 2 * detection)
    assert spent == pytest.approx(left, rel=0.02)
    assert 60 * minutes_of(schedule, rates, work) == pytest.approx(spent + other)
    assert schedule.held_out <= 72 and schedule.synthetic <= 205
    assert schedule.samples(205) == (schedule.synthetic, 1)
    longer = divide(180, rates, work, 25)
    assert (
        longer.detector_iters >= 2 * schedule.detector_iters
        and longer.generator_iters > schedule.generator_iters
    )
    rounds = replace(work, generators=2)
    assert divide(90, rates, rounds, 25).generator_iters == pytest.approx(schedule.generator_iters / 2, abs=1)
    assert minutes_of(divide(90, rates, rounds, 25), rates, rounds) == pytest.approx(
        minutes_of(schedule, rates, work), rel=0.01
    )
    plenty = divide(9000, rates, work, 25)
    assert plenty.synthetic == 4 * 205 and plenty.samples(205) == (
        205,
        4,
    )  # below 1,000, all layouts equally often
    for layouts, images in ((10, 200), (3000, 3000)):
        few = divide(9000, rates, replace(work, layouts=layouts), 25)
        assert few.synthetic == images and few.samples(layouts) == (layouts, images // layouts)
        same = replace(few, detector_iters=500, generator_iters=1000)
        assert (
            fixed(500, 1000, replace(work, layouts=layouts), 25) == same
        )  # a budget never makes sets larger
    minutes = minutes_for(500, rates, work, 25)
    assert minutes % 10 == 0
    assert divide(minutes, rates, work, 25).detector_iters >= 500
    assert divide(minutes - 10, rates, work, 25).detector_iters < 500
    tiny = divide(1, Rates(10.0, 10.0), work, 25)
    assert tiny.detector_iters == tiny.generator_iters == 20 and (tiny.held_out, tiny.synthetic) == (1, 16)


TWO = {arm.name: arm for arm in arms_of(["hard", "edited"], [1])}


def consistency(real=0.9, drawn=0.8, objects=60):
    def one(found):
        return {"by_class": {"cell": dict(found=found, objects=objects)}}

    return {"sets": {"real": one(real), "autoencoder": one(real), "easy": one(drawn), "hard": one(drawn / 2)}}


def test_classes_that_only_detections_have_are_no_rows():
    found = consistency()
    found["sets"]["real"]["by_class"]["cup"] = dict(found=None, objects=0)
    found["sets"]["easy"]["by_class"]["cup"] = dict(found=None, objects=0)
    assert [row[0] for row in classes_found({"consistency": found})["rows"]] == ["cell"]


def test_interval_is_students():
    values = [1.0, 2.5, 1.8]
    (effect,) = judge({"hard": values}, consistency(), TWO).effects
    low, high = stats.t.interval(0.95, 2, statistics.fmean(values), stats.sem(values))
    assert (effect.low, effect.high) == pytest.approx((low, high))
    wider = judge({"hard": values, "edited": values}, consistency(), TWO).effects[0]
    low, high = stats.t.interval(0.975, 2, statistics.fmean(values), stats.sem(values))
    assert (wider.low, wider.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("differences", "outcome", "words"),
    [
        (
            dict(hard=[0.1, -0.2, 0.1], edited=[2.0, 2.1, 2.2]),
            HELPS,
            r"\+2.1 AP \[1.7, 2.5\] .*3 seeds: use the edited set",
        ),
        (
            dict(hard=[-4.0, -4.1, -4.2], edited=[-5.0, -5.1, -5.2]),
            COSTS,
            "−4.1 AP .*; it costs AP to use the hard set",
        ),
        (dict(hard=[-1.0, 1.0, 0.3], edited=[-2.0, 0.0, 1.0]), NOT_SHOWN, r"no benefit shown: \+0.1 AP \[−"),
        (dict(hard=[5.0]), NO_ANSWER, "no answer"),
        (dict(hard=[0.1, 0.1, 0.1]), NO_ANSWER, "no answer"),
        (dict(hard=[9.0, 9.0, 9.0], edited=[2.0, 2.1, 2.2]), HELPS, "use the edited set"),
    ],
)
def test_sentence(differences, outcome, words):
    import re

    verdict = judge(differences, consistency(), TWO)
    assert verdict.outcome == outcome and re.search(words, verdict.sentence), verdict.sentence
    assert "not drawn" not in verdict.sentence


def test_tuning_split_chooses_the_set_that_is_judged():
    """The test images judge it alone, at 95 %, even where another set would have gained more on them."""
    differences = dict(hard=[1.7, 1.9, 1.8], edited=[5.0, 5.1, 5.2])
    verdict = judge(differences, consistency(), TWO, dict(hard=[30.0, 31.0, 32.0], edited=[30.0, 30.5, 31.0]))
    (effect,) = verdict.effects
    low, high = stats.t.interval(
        0.95, 2, statistics.fmean(differences["hard"]), stats.sem(differences["hard"])
    )
    assert verdict.chosen == effect.name == "hard" and (effect.low, effect.high) == pytest.approx((low, high))
    assert verdict.sentence.endswith("use the hard set (of hard, edited, val chose hard)")


def test_classes_that_are_not_drawn_are_named():
    lost = consistency(drawn=0.0, objects=69)
    assert classes_not_drawn(lost) == [("cell", 0, 69)]
    assert judge(dict(hard=[-1.0, 1.0, 0.0]), lost, TWO).sentence.endswith("not drawn: cell 0 of 69 found")
    assert classes_not_drawn(consistency(drawn=0.0, objects=9)) == []  # too few to say
    assert classes_not_drawn(consistency(real=0.0, drawn=0.0)) == []  # the detector does not find them either
