"""Sampling plans: their text, and which setting beats which."""

from dataclasses import asdict

import pytest

from detdiffusion.generation.options import SamplingOptions
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.sampling_plan import PLANS, SamplingPlan, read_plan


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("paper", {}),
        ("fast", dict(steps=10, guidance_interval=(0.2, 0.8))),
        ("fast,steps=8", dict(steps=8, guidance_interval=(0.2, 0.8))),
        ("steps=20,schedule=ays", dict(steps=20, schedule="ays")),
        ("guidance_scale=5,guidance_rescale=0.7", dict(guidance_scale=5.0, guidance_rescale=0.7)),
        ("fast,guidance_interval=0:1", dict(steps=10)),
    ],
)
def test_text(text, settings):
    plan = read_plan(text)
    assert asdict(plan) == {**asdict(PLANS["paper"]), **settings}
    assert read_plan(str(plan)) == read_plan(plan.name) == plan
    assert plan.name == (text if text in PLANS else str(plan))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slow", "no sampling plan 'slow'; there are: paper, fast"),
        ("fast,10", "'10' must be NAME=VALUE"),
        ("step=10", "no setting 'step'; there are: steps, guidance_scale, schedule"),
        ("steps=ten", "steps='ten' is not a number"),
        ("steps=0", "plan 'steps=0': `steps` must be at least 1, it is 0"),
        ("schedule=cosine", "`schedule` must be one of leading, linspace"),
        ("guidance_interval=0.8:0.2", "`guidance_interval` must be two numbers with 0 <= LO < HI <= 1"),
        ("guidance_interval=0.8", "`guidance_interval` must be two numbers"),
        ("guidance_rescale=2", "`guidance_rescale` must be at least 0 and at most 1"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(UserError, match=message):
        read_plan(text)


def test_what_beats_what():
    config = dict(plan="fast", steps=12)
    assert SamplingOptions().settle() == PLANS["paper"]
    assert SamplingOptions().settle(config) == SamplingPlan(steps=12, guidance_interval=(0.2, 0.8))
    assert SamplingOptions(steps=9).settle(config) == SamplingPlan(steps=9, guidance_interval=(0.2, 0.8))
    assert SamplingOptions(plan="paper").settle(config) == PLANS["paper"]
    assert SamplingOptions(plan="fast", steps=9, guidance_interval=[0, 1]).settle() == SamplingPlan(steps=9)
    for defaults, message in (
        (dict(stepz=3), "my.py: sampling: no setting 'stepz'"),
        (dict(plan="quick"), "no sampling plan 'quick'"),
        (dict(steps=0), "my.py: sampling: `steps` must be at least 1"),
        ("fast", "my.py: sampling must be a dict"),
    ):
        with pytest.raises(UserError, match=message):
            SamplingOptions().settle(defaults, "my.py")
    for wrong in (dict(steps=0), dict(plan="quick"), dict(guidance_interval=(0.5, 0.5))):
        with pytest.raises(UserError, match="must be"):
            SamplingOptions(**wrong)


def test_arguments_without_effect_are_left_out():
    """So that a model of one's own takes the plan of the paper, and sets made earlier continue."""
    assert PLANS["paper"].arguments() == dict(num_inference_steps=50, guidance_scale=3.5)
    assert PLANS["fast"].arguments()["guidance_interval"] == (0.2, 0.8)
    assert set(PLANS["paper"].facts().values()) == {50, 3.5, None}
