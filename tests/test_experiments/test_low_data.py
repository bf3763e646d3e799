"""The low-data benchmark: its commands, who may read further labels, and jobs at their smallest size."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import run_step

from detdiffusion.experiments.low_data.arms import ARMS, EDITS, LOOKS, MORE, SETS, default_arms
from detdiffusion.experiments.low_data.job import DRAWN, LEARNERS, Job
from detdiffusion.experiments.low_data.result import behind, recorded
from detdiffusion.experiments.low_data.result import write_result as write_job_result
from detdiffusion.experiments.low_data.settings import SMOKE, Settings
from detdiffusion.experiments.low_data.table import read_results
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.steps import StepRunner

ROOT = Path(__file__).resolve().parents[2]
BASE = Path("base")


@pytest.fixture(scope="module")
def job():
    return Job(ROOT, Path("w"), "dusk", 100, 11, Settings(), layout=Path("layout"), base=BASE)


@pytest.fixture(scope="module")
def steps(job):
    return {step.name: step for step in job.steps(ARMS, LEARNERS)}


def config_of(step):
    options = step.command[step.command.index("--cfg-options") + 1 :]
    return load_config(str(ROOT / step.command[1]), list(options))


# the commands


def test_every_arm_has_its_learners_and_every_step_its_inputs(job, steps):
    assert {f"train-{arm}-{learner}" for arm in ARMS for learner in LEARNERS} <= steps.keys()
    assert {f"{part}-{name}" for part in ("generate", "near-copies") for name in SETS} <= steps.keys()
    made = set()
    for step in steps.values():
        missing = {path for path in step.inputs if path.is_relative_to("w")} - made
        assert not missing, step.name
        made |= set(step.outputs)
    names = [step.name for step in job.steps(["real", "oracle"], ["atss"])]
    assert names == ["data", "train-real-atss", "train-oracle-atss"]
    assert not [name for name in default_arms(False) if name.startswith("base-")]


def test_further_labels_are_read_by_their_arms_alone_and_held_out_ones_by_learners(steps):
    def texts(step):
        config = config_of(step).to_dict() if step.command[0] == "tools/train.py" else ""
        return str(step.command), str(step.inputs), str(config)

    def readers(split):
        return {f"train-{arm}-{one}" for arm in ARMS for one in LEARNERS if split in ARMS[arm].further}

    for name, step in steps.items():
        if name in DRAWN:
            continue
        for split, file in ((MORE, "more/instances"), (LOOKS, "looks/zoo")):
            assert any(file in text for text in texts(step)) == (name in readers(split)), name
        if not name.startswith(
            ("train-", "generator")
        ):  # a generator's config lists val for tools/generate.py
            assert not any("/val/" in text or "'val/instances" in text for text in texts(step)[:2])
    for half in "ab":
        config = config_of(steps[f"detector-{half}"])
        files = [config.train_dataloader.dataset.ann_file, config.val_dataloader.dataset.ann_file]
        assert (
            files
            == [f"halves/annotations/{name}.json" for name in ("train", "val")][:: 1 if half == "a" else -1]
        )
        assert config.val_evaluator.ann_file == f"w/dusk-100/11/data/{files[1]}"
    generator = config_of(steps["generator"]).train_dataloader.dataset
    assert generator.data_root == "w/dusk-100/11/data" and list(generator.ann_files) == [
        "train/instances.json",
        "train/stuff.json",
    ]


@pytest.mark.parametrize("learner", LEARNERS)
def test_arms_differ_in_their_images_alone(steps, learner):
    configs = {arm: config_of(steps[f"train-{arm}-{learner}"]) for arm in ARMS}
    real = configs["real"]
    for arm, config in configs.items():
        for part in (
            "model",
            "optim_wrapper",
            "param_scheduler",
            "train_cfg",
            "val_dataloader",
            "randomness",
        ):
            assert config[part] == real[part], (arm, part)
        assert config.train_cfg.max_iters == config.train_cfg.val_interval == 500
        loader = config.train_dataloader
        assert loader.batch_size == 16
        generated = ARMS[arm].generated
        if ARMS[arm].config.endswith("-schedule"):
            sampler = loader.sampler
            assert sampler.type.endswith("ScheduledShareSampler") and sampler.batch_size == 16
            shares = sampler.start_share, sampler.end_share
            assert (sampler.begin, sampler.end) == (0, 500) and sum(shares) / 2 == 0.5
            if ARMS[arm].config == "mixed-schedule":
                assert config.custom_hooks[0].weight == (1.0 if arm == "edited-falling" else 0.5)
        elif generated or ARMS[arm].further:
            assert loader.sampler.type == "MultiSourceSampler"
            assert loader.sampler.batch_size == 16 and list(loader.sampler.source_ratio) == [1, 1]
        else:
            assert loader.sampler == real.train_dataloader.sampler
        if generated:
            ann_file = "annotations_gated.json" if ARMS[arm].gate else "annotations.json"
            of_copy_paste = ARMS[arm].config.startswith("copy-paste-")
            dataset = loader.dataset.datasets[1] if of_copy_paste else loader.dataset
            pipeline = real.train_dataloader.dataset.pipeline
            if ARMS[arm].config == "copy-paste-both":
                paste, (dataset, source) = dataset.pipeline[0], dataset.dataset.datasets
                assert source == configs["copy-paste"].train_dataloader.dataset.dataset
                assert paste == configs["copy-paste"].train_dataloader.dataset.pipeline[0] | dict(
                    paste_by_box=True, from_last=True
                )
                pipeline = pipeline[:-1]
            assert dataset.synthetic == [
                dict(data_root=f"w/dusk-100/11/synthetic/{generated}", ann_file=ann_file)
            ]
            assert dataset.pipeline == pipeline
            if of_copy_paste:
                assert loader.dataset.datasets[0] == configs["copy-paste"].train_dataloader.dataset
                assert dataset.mode == "only_synthetic"


def test_further_labelled_images_are_pasted_into_as_the_real_ones_are(steps):
    paste = config_of(steps["train-copy-paste-atss"]).train_dataloader.dataset
    more = config_of(steps["train-oracle-copy-paste-atss"]).train_dataloader.dataset.datasets
    assert more[0] == paste and more[1].pipeline == paste.pipeline
    assert more[1].dataset.ann_file == "more/instances.json"
    both = config_of(steps["train-augmented-copy-paste-atss"]).train_dataloader.dataset
    augmented = config_of(steps["train-augmented-atss"]).train_dataloader.dataset
    assert both.pipeline == paste.pipeline and both.dataset.ann_file == paste.dataset.ann_file
    assert [one.type for one in both.dataset.pipeline] == [one.type for one in augmented.pipeline[:-1]]
    assert both.dataset.pipeline[2:] == augmented.pipeline[2:-1] and both.dataset.pipeline[1].with_mask


def test_scenes_of_the_layout_checkpoint_stand_in_for_generated_ones(steps):
    """They are those that the zoo's README draws, whatever the job's look and seed."""
    command = steps[LOOKS].command
    flags = {flag: command[command.index(flag) + 1] for flag in ("--counts", "--look", "--seed")}
    assert flags == {"--counts": "zoo=12000", "--look": "random", "--seed": "0"}
    looks, sample = (
        config_of(steps[f"train-{kind}-falling-copy-paste-atss"]) for kind in ("looks", "sample")
    )
    (source,) = looks.train_dataloader.dataset.datasets[1].synthetic
    assert source == dict(data_root="w/dusk-100/11/looks/zoo", ann_file="instances.json")
    assert looks.train_dataloader.dataset.datasets[0] == sample.train_dataloader.dataset.datasets[0]
    assert looks.train_dataloader.sampler == sample.train_dataloader.sampler


def test_sets_are_as_large_as_asked_for_and_made_as_their_names_say(steps):
    for name, one in SETS.items():
        command = steps[f"generate-{name}"].command
        assert command[command.index("--samples-per-image") + 1] == "10"
        assert command[command.index("--strategy") + 1] == one.strategy
        edits = command[command.index("--edit") + 1 :][: len(one.edits)] if "--edit" in command else ()
        assert list(edits) == [f"{key}={value}" for key, value in one.edits.items()]
        assert (one.edits == EDITS) == ("edited" in name or name == "real-background")
        for flag, value in (("--layouts", one.layouts), ("--from-real", one.from_real), ("--keep", one.keep)):
            found = command[command.index(flag) + 1] if flag in command else None
            assert found == (None if value is None else str(value))
        assert ("--img-dir" in command) == ("real" in name)
        assert ("layout_folder=base" in command) == name.startswith("base-")


def test_the_gate_is_the_learner_of_real_images_which_gave_no_attributes(job, steps):
    gate = steps["gate-edited-origin"]
    weights = str(job.work_dir(ARMS["real"], "atss") / "iter_500.pth")
    assert weights in gate.command and weights not in steps["attributes-a"].command
    needed = behind(steps["train-edited-gated-atss"], list(steps.values()))
    assert "train-real-atss" in needed and needed[-2:] == ["gate-edited-origin", "train-edited-gated-atss"]
    alone = [step.name for step in job.steps(["edited-gated"], ["faster-rcnn"])]
    assert alone.index("train-real-atss") < alone.index("gate-edited-origin")


def test_minutes_are_those_of_what_an_arm_needs(job, steps):
    needed = behind(steps["train-edited-hard-atss"], list(steps.values()))
    assert needed[-2:] == ["generate-edited-hard", "train-edited-hard-atss"]
    assert needed[:-2] == [
        "halves",
        "detector-a",
        "attributes-b",
        "detector-b",
        "attributes-a",
        "join",
        "attributes-train",
        "generator",
    ]
    for arm in ("oracle", "looks-falling-copy-paste"):
        assert behind(steps[f"train-{arm}-atss"], list(steps.values())) == [f"train-{arm}-atss"]


# a job at its smallest size


def test_arms_of_other_settings_are_not_results(finished):
    """The learner's own command does not name the generator's iterations, that of a step before it does."""
    job, _ = finished
    sizes = replace(job.settings, generator_iters=3)
    other = Job(ROOT, job.dir.parents[1], job.look, job.images, job.seed, sizes, device="cpu")
    result = write_job_result(other)
    assert list(result["arms"]) == ["real", "oracle"] and not result["near_copies"]
    result = write_job_result(job)
    assert "edited-hard" in result["arms"] and "edited-hard" in result["near_copies"]


def test_arms_of_other_data_are_not_results(finished):
    """Also where the commands are the same: what was measured before a change is not put beside what comes after."""
    job, result = finished
    labels = job.data / "more/instances.json"
    text = labels.read_text()
    labels.write_text(text + " ")
    assert list(write_job_result(job)["arms"]) == ["real", "edited-hard"]
    labels.write_text(text)
    assert list(write_job_result(job)["arms"]) == list(result["arms"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A job with three arms of ATSS, and the content of its ``result.json``."""
    sizes = replace(
        SMOKE, learner_iters=2, generator_iters=2, more_images=6, val_images=4, synthetic_images=12
    )
    job = Job(ROOT, tmp_path_factory.mktemp("low_data"), "xray", 6, 3, sizes, device="cpu")
    steps = job.steps(["real", "oracle", "edited-hard"], ["atss"])
    for step in recorded(job, steps):
        run_step(step)
        stamp = dict(key=StepRunner(ROOT, job.dir).key(step), finished=True, seconds=1.0)
        write_atomic(job.dir / f"stamps/{step.name}.json", json.dumps(stamp).encode())
    return job, json.loads((job.dir / "result.json").read_text())


def test_a_job_ends_with_the_scores_of_its_arms(finished):
    job, result = finished
    assert (result["look"], result["images"], result["seed"]) == ("xray", 6, 3)
    assert list(result["arms"]) == ["real", "edited-hard", "oracle"]
    for learners in result["arms"].values():
        assert learners["atss"]["iterations"] == 2 and 0 <= learners["atss"]["bbox_mAP"] <= 1
    in_all = {arm: learners["atss"]["seconds_in_all"] for arm, learners in result["arms"].items()}
    assert in_all == {"real": 1, "oracle": 1, "edited-hard": 10}
    assert 6 < result["synthetic_images"]["edited-hard"] <= 12
    shares = result["near_copies"]["edited-hard"]
    assert shares.keys() == {"features", "pixels"} and all(0 <= share <= 1 for share in shares.values())
    assert read_results(job.dir.parents[1]) == [result]


def test_half_of_every_batch_is_generated(finished):
    job, _ = finished
    for arm, line in (
        ("edited-hard", "images shown: 16 real, 16 synthetic"),
        ("oracle", "Iter(train) [2/2]"),
    ):
        logs = sorted(job.work_dir(ARMS[arm], "atss").glob("*/*.log"))
        assert line in logs[-1].read_text()


def test_jobs_side_by_side(tmp_path):
    """Two jobs in two processes at a time end with a result each, which says so."""
    command = [sys.executable, "benchmarks/low_data.py", "--out", str(tmp_path), "--smoke", "--images", "6"]
    command += ["--seed", "1", "2", "--arms", "real", "--parallel", "2"]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "4 of 4 steps are done" in said and said.count("real, atss: AP") == 2
    for seed in (1, 2):
        result = json.loads((tmp_path / f"dusk-6/{seed}/result.json").read_text())
        assert result["arms"]["real"]["atss"]["iterations"] == 4 and result["machine"]["steps_at_once"] == 2


def test_wrong_arguments_are_errors(tmp_path, capsys):
    names = runpy.run_path(str(ROOT / "benchmarks/low_data.py"))

    def run(*words):
        names["main"](names["build_parser"]().parse_args(["--out", str(tmp_path), *words]))

    with pytest.raises(UserError, match="--images must be at least 2, got 1"):
        run("--images", "8", "1")
    with pytest.raises(UserError, match="--parallel must be at least 1, got 0"):
        run("--parallel", "0")
    run("--images", "8", "6", "--seed", "3", "4", "--arms", "real", "--dry-run")
    commands = [line for line in capsys.readouterr().out.splitlines() if "--cfg-options" in line]
    assert len(commands) == 4 and all(
        sum(f"dusk-{n}/{seed}/" in line for line in commands) == 1 for n in (8, 6) for seed in (3, 4)
    )
    with pytest.raises(UserError, match="name the captions-only base by --from-base"):
        run("--arms", "real", "base-hard")
    for option in ("--layout-checkpoint", "--from-base"):
        with pytest.raises(UserError, match=f"{option}: no complete model: .*unet"):
            run(option, "zoo://miniscenes_vae")
        with pytest.raises(UserError, match=f"{option}: no complete model: nowhere"):
            run(option, "nowhere")
        with pytest.raises(UserError, match="no weights 'zoo://nonsense'.*zoo://miniscenes_looks"):
            run(option, "zoo://nonsense")
    run("--from-base", "zoo://miniscenes_base", "--dry-run")
