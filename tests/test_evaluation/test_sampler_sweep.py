"""A sweep over sampling plans: whole, and continued; and the choice among its rows."""

import json

import pytest
from fidelity_world import write_random_detector
from option_values import take_groups
from PIL import Image
from tiny_generation import write_world

from detdiffusion import apis
from detdiffusion.evaluation.sampler_sweep import cheapest
from detdiffusion.utils.errors import UserError
from detdiffusion.visualization.reports.sampler_sweep import plot_sweep, print_sweep


@pytest.fixture(scope="module")
def settings(tmp_path_factory, repo_root):
    world = write_world(tmp_path_factory.mktemp("world"), images=4)
    return dict(
        config=str(world / "config.py"),
        checkpoint=str(world / "weights.pth"),
        attributes=str(world / "attributes.json"),
        detector=write_random_detector(world, repo_root),
        out=world / "sweep",
        device="cpu",
        limit=3,
        resamples=20,
        plans=["paper", "steps=2", "steps=2,guidance_interval=0.5:1"],
    )


def sweep(settings):
    groups = ("GeneratorOptions", "LayoutOptions", "SweepOptions", "ResultFolder")
    return apis.sweep_sampling(*take_groups(settings, groups), progress=False)


def test_sweep(settings, capsys):
    result = sweep(settings)
    names = ["paper", "steps=2", "steps=2,guidance_interval=0.5:1.0"]
    assert [row["name"] for row in result["plans"]] == names
    assert [row["evaluations"] for row in result["plans"]] == [100, 4, 3]
    assert all(row["images"] == 3 and row["seconds"] > 0 and row["frechet"] > 0 for row in result["plans"])
    paper, *others = result["plans"]
    assert paper["difference"] is None and [row["difference"]["layouts"] for row in others] == [3, 3]
    assert others[0]["difference"]["difference"] == pytest.approx(others[0]["bbox_mAP"] - paper["bbox_mAP"])
    # a second sweep scores the sets that are there, with the times that they took
    again = sweep(settings)
    assert json.loads((settings["out"] / "sampler_sweep.json").read_text()) == json.loads(json.dumps(again))
    assert {**again, "notes": []} == {**result, "notes": []}
    seeds = [
        [json.loads(line)["noise_seed"] for line in path.open()]
        for path in sorted(settings["out"].glob("sets/*/manifest.jsonl"))
    ]
    assert len(seeds) == 3 and seeds[0] == seeds[1] == seeds[2]  # the same noise for all plans
    plot_sweep(result, settings["out"] / "sweep.png")
    with Image.open(settings["out"] / "sweep.png") as picture:
        assert picture.width > 1000
    print_sweep(result)
    said = capsys.readouterr().out
    assert "95 % interval" in said and "* cheapest plan whose AP is not below that of 'paper'" in said


def test_bad_settings_are_refused_before_anything_is_generated(settings, tmp_path):
    for change, message in (
        (dict(plans=["fats"]), "no sampling plan 'fats'"),
        (dict(plans=["steps=500,schedule=ays"]), "timesteps are too few"),
        (dict(detector=("nothing.py", "nothing.pth")), "nothing.py"),
        (dict(split="test"), "has no layouts for split 'test'"),
    ):
        with pytest.raises(UserError, match=message):
            sweep({**settings, **change, "out": tmp_path / "out"})
    assert not (tmp_path / "out").exists()


def test_default_plans_that_the_scheduler_lacks_are_left_out(settings, tmp_path, capsys):
    options = ["model.test_scheduler.type=DDIMScheduler", "model.scheduler.num_train_timesteps=1000"]
    ddim = {**settings, "out": tmp_path / "out", "cfg_options": options}
    with pytest.raises(UserError, match=r"^plan 'steps=10,schedule=ays': schedule 'ays' .*DDIMScheduler"):
        sweep({**ddim, "plans": ["steps=2", "steps=10,schedule=ays"]})
    with pytest.raises(UserError, match="has no layouts for split 'test'"):  # checked after the plans
        sweep({**ddim, "plans": None, "split": "test"})
    lines = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert [line.split(" is left out")[0] for line in lines] == [
        "plan 'steps=10,schedule=ays'",
        "plan 'steps=10,schedule=ays,guidance_interval=0.2:0.8'",
    ]


def test_the_cheapest_plan_that_is_not_below():
    def row(name, evaluations, low, high, ap=0.5):
        difference = None if low is None else dict(low=low, high=high)
        return dict(name=name, evaluations=evaluations, difference=difference, bbox_mAP=ap)

    rows = [row("paper", 100, None, None), row("a", 20, -0.03, 0.01), row("b", 20, -0.02, 0.02, ap=0.51)]
    assert cheapest(rows)["name"] == "b"
    rows += [row("worse", 9, -0.05, -0.001), row("better", 30, 0.01, 0.02)]
    assert cheapest(rows)["name"] == "b" and cheapest([rows[0], rows[3]])["name"] == "paper"
    assert cheapest([rows[0], *rows[3:]])["name"] == "better"
