"""The pipeline and the model card of an exported folder, used where this package is not installed."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_editor import layouts, trained_editor
from tiny_sdxl import sdxl_parts

from detdiffusion import DetDiffusionInferencer, Layout
from detdiffusion.evaluation.results import read_result_file, result_file
from detdiffusion.models.editors.converters.diffusers_folder import export_diffusers

PLAIN = dict(mask_head=None, perception_loss=None)
VARIANTS = {
    "compact": dict(layout_tokenizer=dict(bins=(4, 8), attribute_position="first", max_length=16)),
    "chunks": dict(
        layout_tokenizer=dict(bins=(8, 4), template="paper", overflow="chunk", max_length=24),
        test_scheduler=dict(type="EulerAncestralDiscreteScheduler"),
    ),
    "geodiffusion": dict(layout_tokenizer=dict(bins=(4, 4), attributes=False, max_length=32), **PLAIN),
    "blueprint": dict(
        layout_condition="blueprint",
        layout_tokenizer=dict(overflow="chunk", attributes=False, max_length=12),
        **PLAIN,
    ),
    "sdxl": dict(layout_condition="both", layout_tokenizer=dict(bins=(4, 4), max_length=32), **PLAIN),
}
SCRIPT = """
import json, pathlib, sys
sys.modules["detdiffusion"] = None  # an import raises
import numpy, torch
from diffusers import DiffusionPipeline

jobs = json.loads(pathlib.Path("jobs.json").read_text())
for folder, job in jobs.items():
    pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline="pipeline", trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    options = dict(num_inference_steps=2, generator=seeds, output_type="pt")
    result = pipeline(job["boxes"], job["names"], job["attributes"], **options)
    numpy.save(folder + ".npy", result.images.numpy())
    faults = []
    for changed in job["wrong"]:
        try:
            pipeline(**{**dict(boxes=job["boxes"], names=job["names"], attributes=job["attributes"]), **changed})
        except ValueError as error:
            faults.append(str(error))
    pathlib.Path(folder + ".json").write_text(json.dumps(dict(kept=result.kept, faults=faults)))
    exec(pathlib.Path(folder + ".py").read_text(), {})
"""


def drawn_layouts(attributes):
    """Three layouts of which the last does not fit in a small prompt, with boxes that are no multiples of a bin."""
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((9, 2, 2)), axis=1).reshape(9, 4)
    many = Layout(corners, ["ball", "pine tree", "sky"] * 3, ["hard", "easy", "background"] * 3)
    found = [*layouts(masks=False), many]
    return found if attributes else [Layout(one.boxes, one.names) for one in found]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """By variant: our images, and the folder's, generated and described in one process without our package."""
    root = tmp_path_factory.mktemp("exported")
    ours, jobs = {}, {}
    for name, overrides in VARIANTS.items():
        (root / f"{name}-training").mkdir()
        parts = sdxl_parts(root / f"{name}-training") if name == "sdxl" else {}
        overrides = {**overrides, **parts}
        config, checkpoint = trained_editor(root / f"{name}-training", **overrides)
        inferencer = DetDiffusionInferencer(config, checkpoint, "cpu")
        export_diffusers(config, checkpoint, root / name)
        chosen = drawn_layouts(inferencer.attribute_words)
        ours[name] = inferencer(chosen, seed=5, num_inference_steps=2)
        jobs[name] = dict(
            boxes=[one.boxes.tolist() for one in chosen],
            names=[one.names for one in chosen],
            attributes=[one.attributes for one in chosen] if inferencer.attribute_words else None,
            wrong=[dict(num_inference_steps=0)],
        )
        if name == "compact":
            single = dict(boxes=[[0, 0, 1, 1]], names=["ball"], attributes=["easy"])
            changes = [
                dict(boxes=[[0, 0, 12, 9]]),
                dict(names=["bal"]),
                dict(attributes=["hrd"]),
                dict(attributes=None),
                dict(names=["ball", "sky"]),
                dict(generator=[]),
            ]
            jobs[name]["wrong"] = [{**single, **change} for change in changes]
        (code,) = re.findall(r"```python\n(.*?)```", (root / name / "README.md").read_text(), re.DOTALL)
        code = code.replace('folder = "."', f"folder = {name!r}").replace("example.png", f"{name}.png")
        code = code.replace("num_inference_steps=50", "num_inference_steps=2")
        (root / f"{name}.py").write_text(code)
    (root / "jobs.json").write_text(json.dumps(jobs))
    environment = dict(os.environ, HF_MODULES_CACHE=str(root / "modules"), HF_HUB_OFFLINE="1", PYTHONPATH="")
    command = [sys.executable, "-c", SCRIPT]
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return root, ours


@pytest.mark.parametrize("name", VARIANTS)
def test_it_draws_what_the_inferencer_draws(exported, name):
    root, ours = exported
    theirs = torch.from_numpy(np.load(root / f"{name}.npy"))
    torch.testing.assert_close(theirs, ours[name]["samples"], atol=1e-5, rtol=0)
    assert json.loads((root / f"{name}.json").read_text())["kept"] == ours[name]["kept"]
    assert len(ours["compact"]["kept"][2]) < 9 == len(ours["chunks"]["kept"][2])


@pytest.mark.parametrize("name", VARIANTS)
def test_the_cards_example_runs(exported, name):
    root, _ = exported
    assert Image.open(root / f"{name}.png").size == (32, 32)
    assert ("attributes=" in (root / f"{name}.py").read_text()) == (name not in ("geodiffusion", "blueprint"))


def test_wrong_arguments_name_what_is_known(exported):
    faults = json.loads((exported[0] / "compact.json").read_text())["faults"]
    expected = [
        "boxes must be .* in \\[0, 1\\]",
        "names: 'bal' is unknown to the model; near matches: ball",
        "attributes: 'hrd' is unknown to the model; near matches: hard",
        "attributes: every object needs one of easy, hard, background",
        "1 boxes has 2 names",
        "1 images need 1 generators, got 0",
    ]
    assert len(faults) == len(expected)
    for fault, message in zip(faults, expected):
        assert re.search(message, fault), fault
    assert "at least 1" in json.loads((exported[0] / "chunks.json").read_text())["faults"][0]


def test_the_card_says_what_is_known_and_nothing_else(exported):
    card = (exported[0] / "compact" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: diffusers\n") and "license: unknown\n" in card
    for line in (
        "| classes | 3: ball, pine tree, sky |",
        "| iterations | 2 |",
        "| annotations | not stated |",
    ):
        assert line in card
    assert "Not measured" in card and str(exported[0]) not in card


def test_figures_come_from_the_records(exported, tmp_path):
    folder = exported[0] / "compact-training"
    log = folder / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    lines = [
        dict(loss=0.5, loss_ldm=0.4321, iter=2, step=2, lr=0.1),
        {"layout/bbox_mAP": 0.25, "time": 1.0, "step": 2},
        dict(loss=0.1, loss_ldm=0.1, iter=4, step=4),  # after the checkpoint
        {"layout/bbox_mAP": 0.75, "step": 4},
    ]
    log.write_text("\n".join(map(json.dumps, lines)) + "\n")
    methods = [dict(method="hard", metrics=dict(bbox_mAP=0.3125))]
    content = result_file("fidelity", "my val set", dict(name="COCO AP"), methods)
    (tmp_path / "fidelity.json").write_text(json.dumps(content))
    results = read_result_file(tmp_path / "fidelity.json")
    arguments = str(folder / "config.py"), folder / "weights.pth", tmp_path / "out"
    export_diffusers(*arguments, license="openrail", results=results)
    card = (tmp_path / "out/README.md").read_text()
    assert (
        "| training log | loss_ldm | 0.4321 |" in card and "| training log | layout/bbox_mAP | 0.25 |" in card
    )
    assert "`fidelity.json`: hard, my val set, COCO AP | bbox_mAP | 0.3125 |" in card
    assert "0.75" not in card and "license: openrail" in card and "Not measured" not in card
