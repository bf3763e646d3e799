"""README's three commands for own data at their smallest size: every step in this process, and the answer."""

import json
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import run_here, run_step
from pages import README, ROOT, commands
from PIL import Image

from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.evaluation.training_runs import read_run
from detdiffusion.experiments.augment import pipeline
from detdiffusion.experiments.augment.arms import DEFAULT_ARMS
from detdiffusion.experiments.augment.pipeline import of_experiment, steps
from detdiffusion.experiments.augment.run_folder import RunFolder
from detdiffusion.utils.steps import StepRunner, needed_steps

OWN = README[README.index("## Your own data") : README.index("## Python")]
CHECK, AUGMENT, GENERATE = commands(OWN)
SMALLEST = ["--smoke", "--seeds", "1"]
TAESD = ["taesd_encoder.safetensors", "taesd_decoder.safetensors"]


def small_autoencoder(folder):
    """An AutoencoderTiny of TAESD's structure with few channels."""
    import torch
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    ).save_pretrained(folder)
    return folder


def write_coco_folder(root):
    """Scenes as a folder of annotations and images, with the splits train and val."""
    for split, count in (("train", 8), ("val", 4)):
        write_miniscenes(root / "images", split, count, size=64)
        coco = json.loads((root / f"images/{split}/instances.json").read_text())
        for image in coco["images"]:
            image["file_name"] = f"{split}/images/{image['file_name']}"
        for name in ("instances", "stuff"):
            (root / f"images/{split}/{name}.json").unlink()
        (root / "annotations").mkdir(exist_ok=True)
        (root / f"annotations/{split}.json").write_text(json.dumps(coco))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A function that replaces README's paths in a command, and the folder of the run."""
    root = tmp_path_factory.mktemp("augment")
    write_coco_folder(root / "my_set")
    vae = small_autoencoder(root / "vae")

    def placed(command):
        assert command[0] == "python"
        words = [str(vae) if word == TAESD[0] else word for word in command[1:] if word != TAESD[1]]
        return [
            re.sub("^work_dirs/my_set", str(root / "out"), re.sub("^data/my_set", str(root / "my_set"), word))
            for word in words
        ]

    return placed


@pytest.fixture(scope="module")
def finished(place):
    """README's second command: the finished run and its steps."""
    tool, *words = place(AUGMENT)
    names = runpy.run_path(str(ROOT / tool))
    run = RunFolder(ROOT, names["options_of"](names["build_parser"]().parse_args([*words, *SMALLEST])))
    done = []
    for step in steps(run):
        run_step(step)
        done.append(step)
    return run, done


def test_readmes_first_command_finds_no_error(place):
    run_here(*place(CHECK))


def test_readmes_third_command_draws(place, finished):
    run, _ = finished
    run_here(*place(GENERATE), "--limit", "1", "--steps", "1", "--device", "cpu")
    more = json.loads((run.dir / "more/annotations.json").read_text())
    assert len(more["images"]) == 4 and more["annotations"]
    assert {image["edits"] for image in more["images"]} == {"sample"}


def test_dry_run_shows_the_same_commands(finished):
    """Apart from numbers and names that only the data tell."""
    run, done = finished
    dry = list(steps(RunFolder(ROOT, run.options, dry=True)))
    assert [step.name for step in dry] == [step.name for step in done]
    for shown, ran in zip(dry, done):
        flags = [[word for word in step.command if word.startswith("--")] for step in (shown, ran)]
        assert shown.command[0] == ran.command[0] and flags[0] == flags[1]


def test_steps_wait_for_what_they_read(finished):
    """Side by side, a step may start once the writers of its inputs are done: every file and folder in its command that
    another step writes, and the folders of checkpoints in its configs, must be among what it waits for."""
    run, _ = finished
    behind = list(of_experiment(run))
    needs = needed_steps(behind)

    def before(name):
        return needs[name].union(*map(before, needs[name]))

    written = {path: step.name for step in behind for path in (*step.outputs, *step.remove)}
    for step in behind:
        read = {
            writer
            for path, writer in written.items()
            for word in step.command
            if writer != step.name and str(path) in word
        }
        if step.name == "generator":
            assert str(run.attributes("train")) in Path(run.config("generator")).read_text()
            read.add("attributes-train")
        assert read <= before(step.name), step.name
    assert {"gate-edited", "train-real-0"} <= before("train-edited-copy-paste-0") < before("compare")
    assert before("train-copy-paste-0") == set()


def test_steps_side_by_side(place, finished, monkeypatch, capsys, tmp_path):
    """The command on the finished run, whose steps give what they gave; the generator is named once it is trained."""
    run, done = finished
    tool, *words = place(AUGMENT)
    link, executed = run.dir / "generator.pth", []
    first = link.resolve()
    link.unlink()
    shutil.copytree(run.dir, tmp_path / "before", symlinks=True)

    def execute(self, step):
        assert step.name != "generator" or not link.exists()
        for path in {*step.remove, *step.outputs}:
            before = tmp_path / "before" / path.relative_to(run.dir)
            if before.is_dir():
                shutil.copytree(before, path, symlinks=True, dirs_exist_ok=True)
            elif before.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(before, path)
        executed.append(step.name)

    monkeypatch.setattr(StepRunner, "_execute", execute)
    (run.dir / ".augment").touch()
    run_here(tool, *words, *SMALLEST, "--parallel", "2")
    assert link.samefile(first)
    assert sorted(executed) == sorted(step.name for step in done)
    said, summary = capsys.readouterr().out, json.loads((run.dir / "summary.json").read_text())
    assert (
        "minutes in all steps, 2 at a time" in said and "2 at a time" in (run.dir / "report.html").read_text()
    )
    assert (summary["parallel"], summary["budget"], summary["missed"]) == (2, None, "keep")
    assert summary["seconds"].keys() == {step.name for step in done}


def test_answer_and_report(finished):
    from detdiffusion.experiments.augment.report import write_answer

    run, done = finished
    verdict = write_answer(run, {step.name: 1.0 for step in done}, 1)
    summary = json.loads((run.dir / "summary.json").read_text())
    assert summary["sentence"] == verdict.sentence and "AP" in verdict.sentence
    assert [row["name"] for row in summary["effects"]] == list(DEFAULT_ARMS)
    assert all(row["seeds"] == 1 for row in summary["effects"]) and summary["outcome"] == "no answer"
    assert summary["near_copies"].keys() == {"edited", "sample"}
    for row in summary["near_copies"].values():
        assert all(0 <= row[measure]["share"] <= 1 for measure in ("pixels", "features"))
    page = (run.dir / "report.html").read_text()
    assert "Near copies of training images" in page
    places = [page.index(word) for word in ('class="headline"', "The same layouts", "difference", "Seconds")]
    assert places == sorted(places) and not re.search(r'(src|href)="(?!data:|#)', page)


def test_no_learner_judged_its_own_images(finished):
    run, _ = finished
    ids = {
        half: {i["id"] for i in json.loads(split.annotations[0].read_text())["images"]}
        for half, split in run.halves.items()
    }
    train = {i["id"] for i in json.loads(run.splits["train"].annotations[0].read_text())["images"]}
    assert ids["a"] | ids["b"] == train and not ids["a"] & ids["b"]
    for half in "ab":
        judged = json.loads((run.dir / f"attributes/half_{half}.results.json").read_text())
        assert {entry["image_id"] for entry in judged} <= ids[half]
        log = next((run.dir / "detectors" / half).glob("*/vis_data/config.py")).read_text()
        assert str(run.halves[half].annotations[0]) in log


def test_arms_have_equal_iterations_and_the_gated_labels(finished):
    run, _ = finished
    rows = json.loads((run.comparison / "comparison.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["real", *DEFAULT_ARMS]
    assert {tuple(row["iterations"]) for row in rows} == {(4,)} and {row["runs"] for row in rows} == {1}
    config = next((run.trained("edited-copy-paste", 0)).glob("*/vis_data/config.py")).read_text()
    assert "annotations_gated.json" in config and str(run.synthetic("edited")) in config


def test_val_chooses_the_set_where_there_are_test_images(finished, monkeypatch):
    """On the same images a detector has the AP of its training's validation."""
    run, _ = finished
    monkeypatch.setitem(run.splits, "test", run.splits["val"])
    for name in DEFAULT_ARMS:
        run_step(pipeline._tune(run, name, 0))
        found = json.loads(run.tuned(name, 0).read_text())["coco/bbox_mAP"]
        assert found == pytest.approx(read_run(run.trained(name, 0)).metrics["bbox_mAP"])


def test_generated_images_have_the_derived_size(finished):
    run, _ = finished
    height, width = run.plan.image_size
    assert (height, width) == (64, 64)
    for name in run.sets:
        picture = next((run.synthetic(name) / "images").glob("*.png"))
        assert Image.open(picture).size == (width, height)
    assert (run.dir / "generator.pth").resolve() == (run.generator() / "iter_4.pth").resolve()


@pytest.fixture(scope="module")
def second_round(finished):
    """The same run continued for a second round; and the steps that this adds, and those of the comparison."""
    first, done = finished
    run = RunFolder(ROOT, replace(first.options, rounds=2))
    known, added = {step.name for step in done} - {"compare"}, []
    for step in steps(run):
        if step.name not in known:
            run_step(step)
            added.append(step)
    return run, {step.name: step for step in added}


def test_a_second_round_begins_where_the_first_ended(second_round):
    """Its generator from that of the first, with attributes of learners that saw the first's images of their half."""
    run, added = second_round
    halves = [f"{word}-{half}-2" for half in "ab" for word in ("detector", "attributes")]
    assert set(added) >= {
        *halves,
        "join-2",
        "attributes-train-2",
        "generator-2",
        "synthetic-edited-2",
        "gate-edited-2",
        "near-copies-edited-2",
        "train-edited-copy-paste-2-0",
    }
    assert run.sets == ["edited", "sample", "edited-2", "sample-2"]
    config = next((run.dir / "generator-2").glob("*/vis_data/config.py")).read_text()
    assert "generator/iter_4.pth" in config and "attributes/train-2.json" in config
    used = 0
    for half, other in ("ab", "ba"):
        folder = run.dir / f"detectors/{half}-2"
        log = max(folder.glob("*/*.log")).read_text()
        counts = re.search(r"real:synthetic = (\d+):(\d+)", log)
        images = json.loads(run.halves[half].annotations[0].read_text())["images"]
        made = json.loads((run.synthetic("edited") / "annotations_gated.json").read_text())["images"]
        own = {image["id"] for image in images}
        expected = sum(image["source_image_id"] in own for image in made)
        assert int(counts[2]) == expected
        used += expected
        assert str(run.halves[other].annotations[0]) in next(folder.glob("*/vis_data/config.py")).read_text()
    assert used == len(made)  # each with one half


def test_the_budget_counts_the_steps_of_a_second_round(finished, second_round):
    """And of the tests on val that choose the set, where there are test images."""
    runs = [finished[0], second_round[0]]
    dry = [list(steps(RunFolder(ROOT, run.options, dry=True))) for run in runs]
    work = [run._work() for run in runs]
    assert work[1].steps - work[0].steps == len(dry[1]) - len(dry[0])
    assert [(w.generators, w.synthetic_sets) for w in work] == [(1, 2), (2, 4)]
    names = {step.name for step in dry[1]}
    assert names - {step.name for step in dry[0]} == set(second_round[1]) - {"compare"}


def test_the_answer_of_two_rounds_names_their_sets(second_round):
    from detdiffusion.experiments.augment.report import write_answer

    run, _ = second_round
    write_answer(run, {}, 1)
    summary = json.loads((run.dir / "summary.json").read_text())
    assert [row["name"] for row in summary["effects"]] == list(run.arms)
    assert list(run.arms) == [*DEFAULT_ARMS, "edited-copy-paste-2", "sample-copy-paste-2"]
    assert "2 rounds" in (run.dir / "report.html").read_text()
    assert (run.dir / "generator.pth").resolve() == (run.dir / "generator-2/iter_4.pth").resolve()


def test_edited_configs_stay(finished, capsys):
    run, _ = finished
    path = run.configs.folder / "generator.py"
    before = path.read_text()
    path.write_text(before.replace("max_iters = 4", "max_iters = 9"))
    run.write_generator()
    assert "max_iters = 9" in path.read_text() and "has been edited and stays" in capsys.readouterr().out
    path.unlink()
    run.write_generator()
    assert path.read_text() == before
