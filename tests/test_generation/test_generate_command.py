"""tools/generate.py as a user types it, and mistakes by one clear error before anything is drawn."""

import logging
import runpy
import subprocess
import sys

import pytest
import torch
from pycocotools.coco import COCO
from tiny_generation import draw

from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(config="nowhere.py"), "nowhere.py does not exist"),
        (dict(checkpoint="nowhere.pth"), "nowhere.pth does not exist"),
        (dict(attributes="nowhere.json"), "no such attributes file"),
        (dict(attributes=None), "no attributes file is given: set `attributes`"),
        (dict(split="test"), "no layouts for split 'test' .it has: train"),
        (dict(ann=["nowhere.json"]), "no such COCO json file"),
        (dict(img_dir="x"), "`img_dir` requires `ann`"),
        (dict(batch_size=0), "`batch_size` must be at least 1"),
        (dict(height=0), "`height` must be at least 1, it is 0"),
        (dict(width=33), "height and width must be divisible by 2, got 32 x 33"),
        (dict(device="cudo"), "`device` cudo: no such device; this machine has cpu"),
        (dict(device="cuda:99"), "`device` cuda:99: no such device"),
        (dict(strategy="medium"), "unknown strategy 'medium'"),
    ],
)
def test_bad_input(world, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        draw(world, tmp_path / "set", **change)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(strategy="hart"), "unknown strategy 'hart', did you mean hard"),
        (dict(strategy="mix", strategy_options=dict(ration=0.3)), "unknown option.s. ration; it takes ratio"),
        (
            dict(strategy="per-class", strategy_options=dict(attributes=dict(bal="hard"))),
            "'bal' is not one of.*near matches: ball",
        ),
        (dict(edits=dict(flipp=0.5)), "unknown flipp; known: jitter, drop, flip, swap"),
        (dict(edits=dict(jitter=0.9)), "jitter=0.9: must be a number in"),
        (dict(oversample_thr=2.0), "`oversample_thr` must be in"),
        (
            dict(oversample_thr=0.1, samples_file="x"),
            "`samples_file` and `oversample_thr` exclude each other",
        ),
        (dict(samples_file="nowhere.json"), "nowhere.json"),
        (dict(attributes=None), "no attributes file is given"),
        (dict(checkpoint="nowhere.pth"), "nowhere.pth does not exist"),
        (dict(seed=7), "another run .*seed: 0 there, 7 now"),
        (dict(out="foreign"), "holds 'holiday.txt' .* no run.json"),
        (dict(out="foreign/holiday.txt"), "`out` must be a folder, but this is a file"),
    ],
)
def test_a_bad_command_is_refused_before_the_model_is_built(world, tmp_path, monkeypatch, change, message):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/holiday.txt").write_text("")
    if "seed" in change:
        draw(world, tmp_path / "set", limit=1)
    monkeypatch.setattr(
        "detdiffusion.apis.generation.DetDiffusionInferencer", lambda *_: pytest.fail("built")
    )
    change = dict(change, out=tmp_path / change.get("out", "set"))
    with pytest.raises(UserError, match=message):
        draw(world, **change)


def test_checkpoint_of_another_model(world, tmp_path):
    state = torch.load(world / "weights.pth", weights_only=True)["state_dict"]
    state["unet.conv_in.weight"] = torch.zeros(2, 2)
    state["unet.unknown"] = state.pop("unet.conv_in.bias")
    torch.save(dict(state_dict=state), tmp_path / "bad.pth")
    with pytest.raises(UserError, match=r"1 tensors missing.*1 unknown.*unet.unknown.*1 of another shape"):
        draw(world, tmp_path / "set", checkpoint=str(tmp_path / "bad.pth"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("3", "model must be a dict"),
        ("dict(type='HalfAnEditor')", "HalfAnEditor cannot.*lacks needs_attributes"),
    ],
)
def test_a_model_that_is_no_editor(world, tmp_path, model, message):
    from detdiffusion.registry import MODELS

    @MODELS.register_module(force=True)
    class HalfAnEditor(torch.nn.Module):
        def infer(self):
            pass

    (tmp_path / "config.py").write_text(f"model = {model}\n")
    with pytest.raises(UserError, match=message):
        draw(world, tmp_path / "set", config=str(tmp_path / "config.py"))


def test_options_of_a_parsed_config(world):
    with pytest.raises(UserError, match="cfg_options require a config's path"):
        DetDiffusionInferencer(load_config(str(world / "config.py")), None, "cpu", ["a=1"])


def test_the_command(world, tmp_path, repo_root):
    """As a user types it: quick help, a run, and an error in one line with status 2."""
    tool = [sys.executable, str(repo_root / "tools/generate.py")]
    help_text = subprocess.run([*tool, "--help"], capture_output=True, text=True, check=True).stdout
    assert "examples:" in help_text and "--samples-per-image" in help_text
    command = [*tool, str(world / "config.py"), str(world / "weights.pth"), "--out", str(tmp_path / "set")]
    command += ["--strategy", "hard", "--attributes", str(world / "attributes.json"), "--device", "cpu"]
    command += ["--batch-size", "2", "--steps", "2", "--limit", "3"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "3 images; now written 3" in run.stdout
    assert "generating: 3/3 images" in run.stderr and "images/s" in run.stderr
    COCO(tmp_path / "set/annotations.json")


def test_the_commands_error_is_one_line(world, tmp_path, repo_root, monkeypatch, capsys):
    (tmp_path / "holiday.txt").write_text("")
    tool = str(repo_root / "tools/generate.py")
    arguments = [
        str(world / "config.py"),
        "none",
        "--out",
        str(tmp_path),
        "--strategy",
        "easy",
        "--limit",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", [tool, *arguments, "--attributes", str(world / "attributes.json")])
    monkeypatch.setattr(
        logging, "raiseExceptions", False
    )  # a logger of an earlier test has pytest's closed stream
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(tool, run_name="__main__")
    error = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert error[-1].startswith("error: ") and "no run.json" in error[-1] and "Traceback" not in str(error)
