"""Ids are pure and unique; strategies rewrite what the paper rewrites."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detdiffusion.generation import build_strategy, identity
from detdiffusion.generation.identity import (
    check_unique,
    noise_seed,
    synthetic_annotation_id,
    synthetic_file_name,
    synthetic_image_id,
)
from detdiffusion.registry import STRATEGIES
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.file_names import check_file_name


def layout(attributes=("easy", "hard", "background")):
    return Layout(
        boxes=[[0, 0, 0.5, 0.5], [0.2, 0.2, 0.9, 0.9], [0, 0.5, 1, 1]],
        names=["ball", "tent", "grass"],
        attributes=None if attributes is None else list(attributes),
        image_id=7,
    )


def test_ids_are_unique_and_every_argument_counts():
    keys = [
        (i, s, n, seed)
        for i in range(1500)
        for s in ("origin", "easy", "hard")
        for n in range(3)
        for seed in (0, 1)
    ]
    ids = {synthetic_image_id(*key) for key in keys}
    assert len(ids) == len(keys)
    assert min(ids) >= 1 and max(ids) < 2**53
    assert len({synthetic_file_name(*key) for key in keys}) == len(keys)
    annotations = {synthetic_annotation_id(image, a) for image in list(ids)[:500] for a in range(40)}
    assert len(annotations) == 500 * 40 and min(annotations) >= 1 and max(annotations) < 2**53


def test_ids_do_not_depend_on_the_process():
    """Another process with another hash seed computes the same numbers."""
    code = (
        f"import runpy; f = runpy.run_path({identity.__file__!r});"
        "print(f['synthetic_image_id'](139, 'hard', 2, 5), f['synthetic_annotation_id'](12, 34),"
        "f['noise_seed'](139, 2, 5))"
    )
    here = [synthetic_image_id(139, "hard", 2, 5), synthetic_annotation_id(12, 34), noise_seed(139, 2, 5)]
    there = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, PYTHONHASHSEED="99", PYTHONPATH=str(Path(identity.__file__).parents[2])),
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(map(int, there.stdout.split())) == here


def test_ids_are_frozen():
    """These numbers are in users' files: a change of the hash would double their sets."""
    assert synthetic_image_id(139, "hard", 2, 5) == 6302851066493390
    assert noise_seed(139, 2, 5) == 2176733529338643553


def test_noise_seed_makes_a_generator():
    a = torch.randn(3, generator=torch.Generator().manual_seed(noise_seed(1, 0, 0)))
    b = torch.randn(3, generator=torch.Generator().manual_seed(noise_seed(1, 1, 0)))
    assert not torch.equal(a, b)


def test_doubled_ids_are_refused():
    check_unique([1, 2, 3], "image")
    with pytest.raises(UserError, match="image id 2 occurs twice"):
        check_unique([1, 2, 2], "image")


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:\\x.png", "a\\..\\..\\x.png", "", None, 3]
)
def test_names_that_leave_their_folder_are_refused(name):
    with pytest.raises(UserError, match="set.json, image 4: file_name"):
        check_file_name(name, "set.json, image 4")
    assert check_file_name("sub/a..b.png", "") == "sub/a..b.png"


def test_strategy_names_stay_file_names():
    with pytest.raises(UserError, match="strategy name"):
        synthetic_file_name(1, "../evil", 0, 0)


def test_easy_and_hard_leave_background():
    source = layout()
    assert build_strategy("easy")(source).attributes == ["easy", "easy", "background"]
    assert build_strategy("hard")(source).attributes == ["hard", "hard", "background"]
    assert build_strategy("origin")(source).attributes == ["easy", "hard", "background"]
    assert source.attributes == ["easy", "hard", "background"]  # the source is not changed


def test_layouts_without_attributes():
    assert build_strategy("origin")(layout(None)).attributes is None
    with pytest.raises(UserError, match="layout of image 7 has no attributes"):
        build_strategy("hard")(layout(None))
    nameable = build_strategy("hard", nameable=["ball", "tent"])
    assert nameable(layout(None)).attributes == ["hard", "hard", "background"]


def test_all_objects_reading_has_its_own_name():
    strategy = build_strategy(dict(type="UniformStrategy", attribute="easy", include_background=True))
    assert strategy(layout()).attributes == ["easy"] * 3
    assert strategy.name != build_strategy("easy").name


def test_registered_strategies_and_unknown_ones():
    @STRATEGIES.register_module(force=True)
    class FlipForTest:
        name = "flip"

        def __call__(self, source, rng=None):
            swap = {"easy": "hard", "hard": "easy"}
            return source.with_attributes([swap.get(a, a) for a in source.attributes])

    assert build_strategy(dict(type="FlipForTest"))(layout()).attributes == ["hard", "easy", "background"]
    for unknown in ("medium", dict(type="NoSuchStrategy"), dict()):
        with pytest.raises(UserError, match="unknown strategy"):
            build_strategy(unknown)
    with pytest.raises(UserError, match="must be one of 'easy', 'hard', got 'background'"):
        build_strategy(dict(type="UniformStrategy", attribute="background"))
