"""Darknet's files to a checkpoint and back, and the result as an attribute detector."""

import json
import runpy
import sys

import pytest
import torch
from option_values import extract
from square_detector import write_detector, write_squares

from detdiffusion.models.detectors.yolov4.darknet import from_darknet, to_darknet
from detdiffusion.utils.errors import UserError


@pytest.fixture
def files(tmp_path):
    config, cfg, weights = write_detector(tmp_path)
    (tmp_path / "names").write_text("red\ngreen\n")
    return tmp_path, config, cfg, weights


def run_tool(repo_root, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["darknet_to_mmdet.py", *map(str, arguments)])
    tool = runpy.run_path(str(repo_root / "tools" / "model_converters" / "darknet_to_mmdet.py"))
    tool["main"](tool["build_parser"]().parse_args())


def test_there_and_back(files, repo_root, monkeypatch, capsys):
    folder, config, cfg, weights = files
    run_tool(repo_root, monkeypatch, cfg, weights, folder / "a.pth", "--names", folder / "names")
    assert "1 convolutions, 28 parameters, version 0.2.5, 640 images seen" in capsys.readouterr().out
    run_tool(repo_root, monkeypatch, "--reverse", config, folder / "a.pth", folder / "back.weights")
    assert (folder / "back.weights").read_bytes() == weights.read_bytes()
    assert "maxpool" in (folder / "back.cfg").read_text()
    run_tool(repo_root, monkeypatch, folder / "back.cfg", folder / "back.weights", folder / "b.pth")
    assert "no class names are known" in capsys.readouterr().out
    a, b = (torch.load(folder / f"{name}.pth", weights_only=True) for name in "ab")
    assert a["meta"]["dataset_meta"] == {"classes": ["red", "green"]}
    assert all(torch.equal(value, b["state_dict"][name]) for name, value in a["state_dict"].items())
    with pytest.raises(UserError, match="--names is for the way to mmdet"):
        run_tool(repo_root, monkeypatch, "--reverse", cfg, "a.pth", "x.weights", "--names", "n")


def test_bad_input(files):
    folder, config, cfg, weights = files
    (folder / "three").write_text("a\nb\nc\n")
    with pytest.raises(UserError, match="3 class names for a network of 2 classes"):
        from_darknet(cfg, weights, folder / "a.pth", folder / "three")
    with pytest.raises(UserError, match="cannot read the class names"):
        from_darknet(cfg, weights, folder / "a.pth", folder / "none")
    with pytest.raises(UserError, match="would overwrite an input file"):
        from_darknet(cfg, weights, weights)
    with pytest.raises(UserError, match="too short for this network: 28 values of 6,062,814"):
        from_darknet("yolov4-tiny", weights, folder / "a.pth")
    (folder / "other.py").write_text("model = dict(type='FCOS')")
    with pytest.raises(UserError, match="its model is not detdiffusion.YOLOv4"):
        from_darknet(folder / "other.py", weights, folder / "a.pth")
    with pytest.raises(UserError, match="ends in .weights"):
        to_darknet(cfg, folder / "a.pth", folder / "a.bin")
    assert not (folder / "a.pth").exists()


def test_as_attribute_detector(files):
    """Squares that are drawn are easy, those that are not hard, and what it cannot name background."""
    folder, config, cfg, weights = files
    from_darknet(cfg, weights, folder / "a.pth", folder / "names")
    coco, _ = write_squares(folder / "data")
    written = extract(
        [folder / "data" / "instances.json"],
        folder / "attributes.json",
        detector=(str(config), str(folder / "a.pth")),
        img_dir=folder / "data" / "real",
        device="cpu",
        score_thr=0.25,
    )
    words = [written.attributes[a["id"]] for a in coco["annotations"]]
    assert words == ["easy", "easy", "hard", "background"] * 6
    assert json.loads((folder / "attributes.json").read_text())["info"]["nameable"] == ["red", "green"]
