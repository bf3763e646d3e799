"""What tools/augment.py does once more when the same command is given again: exactly what depends on a change."""

import json
import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from augment_world import ROOT, TOOL, refused, write_voc_set, write_world, write_yolo_set
from safetensors.numpy import save_file

from detdiffusion.experiments.augment import drawing, write_configs
from detdiffusion.experiments.augment.pipeline import of_experiment
from detdiffusion.experiments.augment.preflight import check_options
from detdiffusion.experiments.augment.report import given_options
from detdiffusion.experiments.augment.run_folder import RunFolder
from detdiffusion.experiments.augment.settings import AugmentOptions
from detdiffusion.experiments.augment.write_configs import ConfigFolder
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import StepRunner


@pytest.fixture
def world(tmp_path):
    return write_world(tmp_path)


def prepared(world, **changes):
    """A run behind the steps of its data, whose results are written here."""
    options = AugmentOptions(
        train=str(world / "train.json"),
        val=str(world / "val.json"),
        out=str(world / "out"),
        vae=[str(world / "vae")],
        arms=["copy-paste", "edited", "edited-copy-paste"],
        detector_iters=20,
        generator_iters=20,
        seeds=2,
    )
    vae = world / "vae"
    if not vae.exists():
        vae.mkdir()
        (vae / "config.json").write_text(json.dumps(dict(_class_name="AutoencoderTiny")))
        save_file({"a": np.zeros(1, np.float32)}, vae / "diffusion_pytorch_model.safetensors")
    run = RunFolder(ROOT, replace(options, **changes))
    for name, content in (
        (
            "autoencoder/autoencoder.json",
            dict(type="AutoencoderTiny", scaling_factor=1.0, psnr=30, size=[96, 128]),
        ),
        ("tokenizer/vocab.json", {"a": 0}),
    ):
        path = run.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    run.splits, _ = run.sources.splits()
    run.derive()
    return run


def keys_of(run):
    """Key of every step; what a step writes is made here, once, as its name."""
    runner, keys = StepRunner(ROOT, run.dir), {}
    for step in (*drawing.parts(run), *of_experiment(run)):
        keys[step.name] = runner.key(step)
        for path in step.outputs:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step.name)
    return keys


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_corrected_test_labels_are_compared_again(world):
    """The checkpoints do not change by them, the scores do."""
    before = keys_of(prepared(world))
    coco = json.loads((world / "val.json").read_text())
    coco["annotations"][0]["bbox"][2] += 3
    (world / "val.json").write_text(json.dumps(coco))
    again = changed(before, keys_of(prepared(world)))
    assert {"compare", *(name for name in before if name.startswith("train-"))} <= again


def test_another_autoencoder_or_base_is_trained_for(world):
    before = keys_of(prepared(world))
    save_file({"a": np.ones(1, np.float32)}, world / "vae/diffusion_pytorch_model.safetensors")
    assert changed(before, keys_of(prepared(world))) == {"autoencoder", "generator"}
    for base in (world / "sd", world / "sd/unet/model.safetensors"):
        out = str(world / f"out_{base.name}")
        (world / "sd/unet").mkdir(parents=True, exist_ok=True)
        (world / "sd/unet/model.safetensors").write_bytes(b"one")
        before = keys_of(prepared(world, vae=None, base=str(base), out=out))
        assert changed(before, keys_of(prepared(world, vae=None, base=str(base), out=out))) == set()
        (world / "sd/unet/model.safetensors").write_bytes(b"other")
        after = keys_of(prepared(world, vae=None, base=str(base), out=out))
        assert changed(before, after) == {"generator"}


def test_further_arms_leave_those_before_as_they_are(world):
    before = keys_of(prepared(world))
    more = keys_of(prepared(world, arms=["hard", "edited-copy-paste", "copy-paste", "edited"]))
    same = {name: key for name, key in more.items() if name in before}
    assert changed({name: before[name] for name in same}, same) == {"compare"}
    assert set(more) - set(before) == {
        *(f"{part}-hard" for part in ("synthetic", "gate", "near-copies")),
        *(f"train-hard-{seed}" for seed in (0, 1)),
    }


def test_iterations_of_one_arm_that_the_user_edited(world):
    run = prepared(world)
    keys_of(run)
    path = run.configs.folder / "detector_mixed.py"
    path.write_text(path.read_text() + "\ntrain_cfg = dict(max_iters=30, val_interval=30)\n")
    *_, compare = of_experiment(prepared(world))
    ends = {path.parent.name: path.name for path in compare.inputs if path.suffix == ".pth"}
    assert ends["edited_seed0"] == "iter_30.pth" and ends["real_seed0"] == "iter_20.pth"


def test_a_conversion_that_was_removed_is_made_again(world):
    source = write_yolo_set(world / "right")
    options = AugmentOptions(
        train=str(source), val=str(world / "val.json"), out=str(world / "out"), vae=["vae"]
    )

    def convert():
        run, said = RunFolder(ROOT, options), []
        runner = StepRunner(ROOT, run.dir, say=said.append)
        converted = run.sources.is_converted()
        for step in run.sources.steps():
            runner.run(step)
        return converted, "done before" in said[0], run.sources.splits()[0]["train"].annotations[0]

    assert convert()[:2] == (False, False)
    converted, done, annotations = convert()
    assert converted and done
    annotations.unlink()
    assert convert() == (False, False, annotations) and annotations.is_file()
    # another source, and a kill before its conversion begins: what the last one wrote is not asked of it
    shutil.rmtree(source)
    write_voc_set(world / "right", "train", images=4).rename(source)
    assert next(RunFolder(ROOT, options).sources.steps()).outputs == ()
    assert next(RunFolder(ROOT, options).sources.steps()).outputs == ()


def test_a_detector_beside_the_autoencoder_is_an_input(world):
    save_file({"a": np.zeros(1, np.float32)}, world / "weights.safetensors")
    detector = (str(ROOT / "configs/detectors/atss_miniscenes.py"), str(world / "weights.safetensors"))
    before = keys_of(prepared(world, detector=detector))["autoencoder"]
    save_file({"a": np.ones(2, np.float32)}, world / "weights.safetensors")
    assert keys_of(prepared(world, detector=detector))["autoencoder"] != before


def test_the_command_from_elsewhere(world, monkeypatch, capsys):
    """Paths inside the repository are the same files from any folder."""
    vae = ROOT / "detdiffusion/zoo/miniscenes_vae"
    words = ["--train", "train.json", "--out", "out", "--dry-run", "--vae", str(vae)]
    monkeypatch.chdir(world)
    TOOL["main"](TOOL["build_parser"]().parse_args(words))
    said = capsys.readouterr().out
    assert "autoencoder_loss.py detdiffusion/zoo/miniscenes_vae/vae" in said and f"--out {world}/out" in said


def test_an_order_of_writes_that_ends_between_two_configs(tmp_path, monkeypatch):
    """Killed at any write, a run knows all files as its own afterwards; an edit stays an edit."""
    first, second = (
        {name: f"{name} {word}\n" for name in ("a.py", "b.py")} for word in ("of one size", "of another")
    )
    folder = tmp_path / "configs"
    ConfigFolder(folder).write(first)
    write, left = write_configs.write_atomic, 0

    def killed(path, data):
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        write(path, data)

    for writes in range(5):  # of the record, both files, and the record
        left = writes
        with monkeypatch.context() as patch:
            patch.setattr(write_configs, "write_atomic", killed)
            if writes < 4:
                with pytest.raises(KeyboardInterrupt):
                    ConfigFolder(folder).write(second)
            else:
                ConfigFolder(folder).write(second)
        configs = ConfigFolder(folder)
        configs.write(second)
        assert not configs.edited and (folder / "b.py").read_text() == second["b.py"]
        configs.write(first)
        assert (folder / "a.py").read_text() == first["a.py"]
    (folder / "a.py").write_text("mine\n")
    configs.write(second)
    assert configs.edited == {"a.py"} and (folder / "a.py").read_text() == "mine\n"


def test_disk_that_the_run_fills_itself(world, monkeypatch):
    """A folder that is continued is not refused for the space that it takes."""
    options = prepared(world).options
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 5 * 10**6))
    with pytest.raises(UserError, match="the disk has 5 MB free, and a run needs about 2000;"):
        check_options(options, world / "out")
    with (world / "out/checkpoint.pth").open("wb") as file:
        file.truncate(1999 * 10**6)
    check_options(options, world / "out")


def test_a_folder_of_images_that_no_source_needs(world):
    source = write_yolo_set(world / "right")
    refused(
        world,
        r"`img_dir` .*images: it is for COCO jsons, and .*right.* is none",
        train=source,
        val=None,
        img_dir=world / "images",
    )


def test_options_that_are_zero_are_reported(world):
    found = given_options(prepared(world))
    assert found["seed"] == 0 and found["missed"] == "keep"
    assert not {"device", "budget", "smoke"} & found.keys()
