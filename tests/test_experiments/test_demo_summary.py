"""The demo's tables and steps: the distance between halves of the real images is no row beside the sets'."""

import runpy

import pytest
from pages import ROOT

from detdiffusion.experiments.demo.pipeline import SMOKE, Demo
from detdiffusion.experiments.demo.summary import distance


@pytest.mark.parametrize(
    "name, row, text",
    [
        ("real", dict(frechet=0.9), "–"),
        ("real", {}, "–"),
        ("easy", dict(frechet=0.9), "0.900"),
        ("hard", {}, "–"),
    ],
)
def test_distance(name, row, text):
    assert distance(name, row) == text


def test_the_autoencoders_bound_is_a_set_of_the_score(tmp_path):
    steps = {step.name: step for step in Demo(ROOT, tmp_path, SMOKE, tmp_path / "layout").steps()}
    tool, *arguments = steps["generate-val-autoencoder"].command
    given = runpy.run_path(str(ROOT / tool))["build_parser"]().parse_args(arguments)
    assert (given.from_real, given.strategy, given.keep) == (0, "origin", None)
    assert str(given.img_dir) == str(tmp_path / "data/val/images")
    assert f"autoencoder={given.out}" in steps["fidelity"].command
