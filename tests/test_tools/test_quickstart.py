"""The whole loop at tiny sizes as a user runs it: interrupted, run again, and run once more."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STEPS = ["data", "detector", "attributes-train", "attributes-val", "generator", "generate-val-easy"]
STEPS += ["generate-val-origin", "generate-val-hard", "generate-val-autoencoder"]
STEPS += ["generate-train-hard", "fidelity", "train-real-only"]
STEPS += ["train-real-plus-hard", "compare"]


def fresh_layout_folder(folder):
    """The zoo's layout model with random weights, as a diffusers folder."""
    import torch
    from mmengine.registry import init_default_scope

    import detdiffusion.models  # noqa: F401
    from detdiffusion.registry import MODELS
    from detdiffusion.utils.config import load_config
    from detdiffusion.utils.zoo import resolve_source

    init_default_scope("detdiffusion")
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(ROOT / "configs/zoo/base_miniscenes.py")).model)
    parts = dict(vae=model.vae, text_encoder=model.text_encoder, tokenizer=model.tokenizer, unet=model.unet)
    for name, part in {**parts, "scheduler": model.scheduler}.items():
        part.save_pretrained(folder / name)
    shutil.copy(Path(resolve_source("zoo://miniscenes_layout")) / "layout_config.json", folder)
    return folder


def quickstart(*args, **options):
    command = [sys.executable, str(ROOT / "tools/quickstart.py"), *(str(a) for a in args)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored where tests run in the background
        **options,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs of the same command: (status, stdout, stderr, seconds) each, and the folder."""
    root = tmp_path_factory.mktemp("quickstart")
    command = [
        "--smoke",
        "--layout-checkpoint",
        fresh_layout_folder(root / "layout"),
        "--work-dir",
        root / "w",
    ]
    results = []
    for number in range(3):
        start = time.monotonic()
        process = quickstart(*command)
        if number == 0:  # interrupted when the second step has begun
            stamp = root / "w/stamps/detector.json"
            while not stamp.exists() and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        results.append((process.returncode, out, err, time.monotonic() - start))
    return results, root / "w"


def test_interrupt_is_one_word(runs):
    status, out, err, _ = runs[0][0]
    assert status == 130 and err == "interrupted\n" and "data: finished" in out


def test_finished_steps_are_not_redone(runs):
    (_, _, _, _), (status, out, err, _), (again, second, _, seconds) = runs[0]
    assert status == 0, out + err
    assert re.findall(r"\] ([\w-]+): done before", out) == ["data"]
    assert re.findall(r"\] ([\w-]+): finished", out) == STEPS[1:]
    assert again == 0 and re.findall(r"\] ([\w-]+): done before", second) == STEPS
    assert "finished" not in second


def test_summary(runs):
    _, folder = runs
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["fidelity"]) == ["real", "autoencoder", "easy", "origin", "hard"]
    assert list(summary["trainability"]) == ["real_only", "real_plus_hard"]
    for row in (*summary["fidelity"].values(), *summary["trainability"].values()):
        assert -1 <= row["bbox_mAP"] <= 1
    assert {row["layouts"] for row in summary["fidelity"].values()} == {6}
    assert summary["trainability"]["real_plus_hard"]["iterations"] == [4]
    assert summary["trainability"]["real_plus_hard"]["synthetic_images"] == 6
    assert list(summary["seconds"]) == [*STEPS, "total"]
    total = summary["seconds"].pop("total")
    assert math.isclose(total, sum(summary["seconds"].values()), abs_tol=1)
    assert summary["bootstrap"]["easy - hard"]["layouts"] == 6
    assert all(math.isfinite(summary["frechet"][name]) for name in ("easy", "origin", "hard"))
    assert summary["versions"]["torch"] and set(summary["seeds"].values()) == {0}
    assert sum(summary["attributes"]["val"][word] for word in ("easy", "hard")) > 20
    assert [check["holds"] for check in summary["checks"]][0] is False  # 6 layouts are not 200


def test_the_loop_is_closed(runs):
    """Each set shows its strategy, the fidelity sets share noise and layouts, the detector saw the hard set."""
    _, folder = runs
    for strategy in ("easy", "hard"):
        annotations = json.loads((folder / f"synthetic/val-{strategy}/annotations.json").read_text())
        assert {a["attribute"] for a in annotations["annotations"]} <= {strategy, "background"}
        assert len(annotations["images"]) == 6
    seeds = [
        [json.loads(line)["noise_seed"] for line in (folder / f"synthetic/val-{s}/manifest.jsonl").open()]
        for s in ("easy", "origin", "hard")
    ]
    assert seeds[0] == seeds[1] == seeds[2] and len(set(seeds[0])) == 6
    log = next((folder / "trainability/real_plus_hard").glob("*/*.log")).read_text()
    assert "synthetic/train-hard" in log


def test_report_and_sheet(runs):
    _, folder = runs
    text = (folder / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 6 * 4 and text.count("<svg") >= 1
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    for title in ("real", "easy", "origin", "hard", "real plus hard", "Seconds"):
        assert title in text
    sheet = Image.open(folder / "scenes.png")
    assert sheet.width == 4 * 256 + 3 * 6


def test_tables_are_printed(runs):
    out = runs[0][1][1]
    assert "Fréchet" in out and "easy - hard" in out and "real plus hard" in out and "DOES NOT HOLD" in out
    assert out.splitlines()[-1].startswith("--smoke only tests the steps")


def test_full_trains_each_model_of_the_zoo_on_the_one_before():
    from detdiffusion.experiments.demo.pipeline import SMOKE, Demo
    from detdiffusion.utils.config import load_config

    steps = {step.name: step for step in Demo(ROOT, Path("w"), SMOKE, None, 0, True).steps()}
    configs = {}
    for name in ("vae", "base", "layout"):
        command = steps[f"zoo-{name}"].command
        configs[name] = load_config(str(ROOT / command[1]), command[command.index("--cfg-options") + 1 :])
        assert steps[f"zoo-{name}-export"].command[3] == f"w/zoo/{name}"
    sources = [source.img_dir for source in configs["vae"].train_dataloader.dataset.sources]
    assert set(sources) == {"w/data/zoo/images"}
    for name in ("base", "layout"):
        dataset = configs[name].train_dataloader.dataset
        assert (dataset.data_root, dataset.img_dir) == ("w/data", "zoo/images")
        assert configs[name].model.vae.from_pretrained == "w/zoo/vae"
    assert {configs["layout"].model[part].from_pretrained for part in ("unet", "text_encoder")} == {
        "w/zoo/base"
    }
    assert "layout_folder=w/zoo/layout" in steps["generator"].command


def test_bad_input_is_one_message(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("")
    layout = tmp_path / "layout"
    for part, name in (("vae", "diffusion_pytorch_model"), ("unet", "diffusion_pytorch_model")):
        (layout / part).mkdir(parents=True)
        (layout / part / f"{name}.safetensors").write_text("")
    cases = [
        (
            ["--layout-checkpoint", layout],
            "--layout-checkpoint: no complete model: .*text_encoder/model.safetensors missing",
        ),
        (["--full", "--work-dir", tmp_path / "mine"], "mine exists and was not created by this tool"),
        (["--full", "--work-dir", tmp_path / "a,b"], "must not contain commas"),
    ]
    for args, message in cases:
        process = quickstart(*args, env=dict(os.environ, OMP_NUM_THREADS="1"))
        _, err = process.communicate()
        lines = [line for line in err.strip().splitlines() if not line.startswith("threads: ")]
        assert process.returncode == 2 and re.match(f"error: .*{message}", lines[0]), err
        assert len(lines) == 1
    assert list((tmp_path / "mine").iterdir()) == [tmp_path / "mine/thesis.txt"]
