"""The paper in miniature: its jobs, how they are done and continued, and its scoreboard from result files."""

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from detdiffusion.experiments.miniscenes_steps import weights
from detdiffusion.experiments.paper.claims import CLAIMS, QUANTITIES, jobs_of_claims, quantities
from detdiffusion.experiments.paper.figures import FACTORS, attribute_agreement
from detdiffusion.experiments.paper.jobs import (
    _SET_BY_JOBS,
    _SET_FOR_GENERATORS,
    STAGES,
    SeedJobs,
    ordered_jobs,
)
from detdiffusion.experiments.paper.report import markdown, write_scoreboard
from detdiffusion.experiments.paper.run import ResultFolder, run_jobs
from detdiffusion.experiments.paper.scales import SCALES, Job
from detdiffusion.experiments.paper.scoreboard import scoreboard
from detdiffusion.utils.config import load_config
from detdiffusion.utils.digests import config_digest
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import Step
from detdiffusion.utils.work_folder import try_lock

ROOT = Path(__file__).resolve().parents[2]
SMOKE = SCALES["smoke"]


@pytest.fixture(scope="module")
def seeds():
    return [SeedJobs(ROOT, Path("w") / str(seed), SMOKE, seed) for seed in (1, 2, 3)]


# the list of jobs


def test_every_quantity_has_its_job_and_every_job_its_place(seeds):
    names = set(seeds[0].jobs())
    assert {job for job, _ in QUANTITIES.values()} <= names == {name for stage in STAGES for name in stage}
    for claim in CLAIMS:
        for comparison in claim.comparisons:
            assert comparison.higher in QUANTITIES
            assert not isinstance(comparison.lower, str) or comparison.lower in QUANTITIES


def test_whole_claims_come_early(seeds):
    order = [(job.name, job.seed) for job in ordered_jobs(seeds)]
    assert len(order) == 3 * 27 == len(set(order))
    last = {
        c: max(order.index((job, 3)) for job in jobs_of_claims([c])) for c in ("C2", "C3", "C4", "C8", "C9")
    }
    assert max(last["C2"], last["C3"]) == 11 and last["C4"] == 14 and last["C4"] < last["C8"] < last["C9"]
    only = ordered_jobs(seeds, jobs_of_claims(["C4"]))
    assert {job.name for job in only} == {
        "detector",
        "autoencoder",
        "geodiffusion",
        "attr",
        "detdiffusion",
    }


def test_every_step_follows_those_whose_files_it_reads(seeds):
    for job in seeds[0].jobs().values():
        made, names = set(), [step.name for step in (*job.chain, *job.steps)]
        assert len(names) == len(set(names))
        for step in (*job.chain, *job.steps):
            missing = {p for p in step.inputs if p not in made and p.is_relative_to("w")}
            assert not {p for p in missing if "images" not in p.parts}, (job.name, step.name)
            made |= set(step.outputs)


def test_the_bound_of_the_autoencoder_follows_its_weights(seeds):
    """It is drawn by the layout checkpoint itself, without a training that would read the weights."""
    (generate,) = (
        step for step in seeds[0].jobs()["autoencoder"].steps if step.command[0] == "tools/generate.py"
    )
    assert "none" in generate.command and set(weights(None)) <= set(generate.inputs)


def test_arms_of_a_seed_differ_in_what_they_name_alone(seeds):
    """Same data, iterations, batch, rate and seed; and every override is one that its config has."""
    options = {}
    for job in seeds[0].jobs().values():
        for step in job.steps:
            if step.command[0] == "tools/train.py" and step.name.startswith(("generator-", "train-fcos")):
                pairs = step.command[step.command.index("--cfg-options") + 1 :]
                config = load_config(str(ROOT / step.command[1]), pairs)
                options[step.name] = config
    arms = {name: config for name, config in options.items() if name.startswith("generator-")}
    assert len(arms) == 6
    for config in arms.values():
        assert config.optim_wrapper.optimizer.lr == SMOKE.generator_lr
        assert config.train_cfg.max_iters == SMOKE.generator_iters and config.randomness.seed == 1
        assert config.train_dataloader.batch_size == SMOKE.generator_batch
        assert config.train_dataloader.dataset.data_root == "w/1/data"
    loss = {name.removeprefix("generator-"): config.model.perception_loss for name, config in arms.items()}
    assert [name for name, value in loss.items() if value is None] == [
        "geodiffusion",
        "attr",
        "other-detector",
    ]
    assert loss["without-dice"].use_dice is False and loss["without-sqrt"].weight_by is None
    files = {
        name: re.search(r"attributes/(\w+)-train", str(c.train_dataloader.dataset))
        for name, c in arms.items()
    }
    assert files["generator-geodiffusion"] is None and files["generator-other-detector"][1] == "fcos"
    assert {files[f"generator-{n}"][1] for n in ("attr", "detdiffusion", "without-dice")} == {"atss"}
    iters = {name: c.train_cfg.max_iters for name, c in options.items() if name.startswith("train-fcos")}
    assert iters.pop("train-fcos-real") == 3 and set(iters.values()) == {4}  # 24 of 30 images


def test_keys_follow_what_decides_the_result(seeds):
    jobs = seeds[0].jobs()
    moved = SeedJobs(ROOT, Path("elsewhere"), SMOKE, 1).jobs()
    assert all(jobs[name].key == moved[name].key for name in jobs)
    assert len({job.key for one in seeds for job in one.jobs().values()}) == 3 * len(jobs)

    def changed(**sizes):
        other = SeedJobs(ROOT, Path("w"), replace(SMOKE, **sizes), 1).jobs()
        return {name for name in jobs if other[name].key != jobs[name].key}

    trained = {name for name in jobs if name.startswith("train-")}
    real = {name for name in trained if name.endswith(("-real", "-real-equal-iters"))}
    assert changed(train_images=25) == set(jobs)
    assert changed(generator_iters=5) == set(jobs) - real - {"detector", "autoencoder"}
    assert changed(fidelity_layouts=7) == set(jobs) - trained - {"detector"}
    assert changed(other_score_thr=0.31) == {"other-detector"}
    assert changed(trainability_iters=40) == trained


def test_facts_name_roles_and_no_files(seeds):
    roles = {name: set(job.facts["configs"]) for name, job in seeds[0].jobs().items()}
    assert roles.pop("detector") == {"detector"}
    assert roles["train-fcos-real"] == {"trained"} and roles["train-fcos-easy"] == {
        "detector",
        "generator",
        "trained",
    }
    assert roles["attr"] == roles["factors"] == {"detector", "generator", "scored_by"}
    for job in seeds[0].jobs().values():
        text = json.dumps(job.facts)
        assert "/" not in text and ".py" not in text and job.facts["seed"] == 1


def test_a_config_may_change_what_the_jobs_set_themselves(seeds, tmp_path):
    """Its place in the digest is taken by a fixed value only because every command of a training sets it."""
    trainings = [
        step for job in seeds[0].jobs().values() for step in job.steps if step.command[0] == "tools/train.py"
    ]
    assert len(trainings) == 1 + 1 + 6 + 18
    for step in trainings:
        pairs = step.command[step.command.index("--cfg-options") + 1 :]
        given = {pair.split("=")[0] for pair in pairs}
        assert set(_SET_FOR_GENERATORS if step.name.startswith("generator-") else _SET_BY_JOBS) <= given
    recipe = "configs/detdiffusion_miniscenes.py"
    other = tmp_path / "other.py"
    other.write_text(f"_base_ = {str(ROOT / recipe)!r}\noptim_wrapper = dict(optimizer=dict(lr=1.0))\n")
    digests = [config_digest(path, ("optim_wrapper",)) for path in (ROOT / recipe, other)]
    assert digests[0] != digests[1]
    same = {
        config_digest(p, ("optim_wrapper",), {"optim_wrapper.optimizer.lr": 1})
        for p in (ROOT / recipe, other)
    }
    assert len(same) == 1


# doing them


def job(tmp_path, name, seed=1, fails=False):
    """A real step that writes a file and a checkpoint."""
    folder = tmp_path / "w" / str(seed) / name
    code = f"import pathlib; p = pathlib.Path({str(folder)!r}); p.mkdir(parents=True, exist_ok=True); "
    code += f"(p / 'a.pth').write_text('x'); (p / 'n').write_text(str({seed} * 2)); exit({int(fails)})"
    step = Step(f"step-{name}", name, ("-c", code), outputs=(folder / "n",))
    facts = dict(name=name, seed=seed)
    figures = lambda: dict(value=int((folder / "n").read_text()))  # noqa: E731
    return Job(name, seed, f"the job {name}", facts, (), (step,), figures, (folder,))


def work(tmp_path, jobs, **options):
    lines = []
    results = ResultFolder(tmp_path / "results")
    done = run_jobs(
        tmp_path, jobs, lambda s: tmp_path / "w" / str(s), results, 1, say=lines.append, **options
    )
    return done, "\n".join(lines), results


def test_results_are_records_and_are_not_made_again(tmp_path):
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", 2)]
    done, _, results = work(tmp_path, jobs)
    assert done and results.seeds() == [1, 2]
    record = json.loads((tmp_path / "results/2/b.json").read_text())
    assert record["figures"] == dict(value=4) and record["key"] == jobs[1].key
    assert record["facts"] == dict(name="b", seed=2) and record["own_steps"] == ["step-b"]
    assert (
        record["seconds"]["step-b"] >= 0 and record["machine"]["threads"] == 1 and record["versions"]["torch"]
    )
    assert not list(tmp_path.rglob("*.pth"))
    for path in (tmp_path / "w").rglob("n"):
        path.unlink()  # the committed results of another machine: nothing but the files is needed
    done, text, _ = work(tmp_path, jobs)
    assert done and "2 done before" in text and not list((tmp_path / "w").rglob("n"))


def test_other_settings_are_done_anew_and_said(tmp_path):
    one = job(tmp_path, "a")
    work(tmp_path, [one], keep=True)
    assert list(tmp_path.rglob("*.pth"))
    changed = replace(one, facts=dict(name="a", seed=1, size=3))
    assert ResultFolder(tmp_path / "results").read(changed) is None
    _, text, _ = work(tmp_path, [changed])
    assert "1 result files were made with other settings" in text
    assert ResultFolder(tmp_path / "results").read(changed)["facts"]["size"] == 3


def test_time_locks_and_failures(tmp_path):
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", 2)]
    done, text, _ = work(tmp_path, jobs, minutes=0)
    assert not done and "2 jobs are left" in text
    lock = try_lock(tmp_path / "w/1/.lock")
    done, text, results = work(tmp_path, jobs)
    assert not done and "other processes are running" in text and results.seeds() == [2]
    lock.close()
    assert work(tmp_path, jobs)[0]
    with pytest.raises(UserError, match="step step-c failed with status 1"):
        work(tmp_path, [job(tmp_path, "c", fails=True)])
    assert not (tmp_path / "results/1/c.json").exists()
    (tmp_path / "results/1/a.json").write_text("{")
    with pytest.raises(UserError, match="a.json: not a result file"):
        work(tmp_path, jobs)


# the figures and the scoreboard


def test_agreement_is_the_rank_correlation(tmp_path):
    scores = [0.1, 0.2, 0.3, 0.8, 0.9]
    alike = dict.fromkeys(FACTORS, 0.5)
    difficulty = [dict(alike, score=score) for score in scores]
    things = [dict(id=i, iscrowd=0, difficulty=d) for i, d in enumerate(difficulty)]
    things.append(dict(id=9, iscrowd=1))
    (tmp_path / "i.json").write_text(json.dumps(dict(annotations=things)))
    words = dict(zip("01234", ("easy", "easy", "easy", "hard", "hard")), **{"9": "hard"})
    (tmp_path / "a.json").write_text(json.dumps(dict(attributes=words)))
    found = attribute_agreement(tmp_path / "i.json", tmp_path / "a.json")
    # ranks 1..5 against tied ranks 2, 2, 2, 4.5, 4.5: Pearson of the ranks by hand
    assert found["spearman"] == pytest.approx(7.5 / (10 * 7.5) ** 0.5)
    assert (found["easy"], found["hard"]) == (3, 2) and found["factors"]["blur"] is None


def write_results(folder, seeds, skip=()):
    """Result files with figures that a formula gives: easy 30, origin 20, hard 10 AP, and so on."""
    results = ResultFolder(folder)
    for one in seeds:
        for name, job_ in one.jobs().items():
            if (one.seed, name) in skip:
                continue
            wobble = one.seed / 1000
            if name == "detector":
                figures = dict(attributes=dict(val=dict(spearman=0.5 + wobble)))
            elif name == "factors":
                means = dict(easy=dict(contrast=50, sharpness=2, camouflage=0.1 + wobble))
                means["hard"] = dict(
                    contrast=40 + wobble, sharpness=1.5 - wobble, camouflage=0.2 + 3 * wobble
                )
                figures = dict(means=means, validity=dict(contrast=-0.7))
            elif name.startswith("train-"):
                figures = dict(real=dict(bbox_mAP=0.5 + wobble), iterations=4)
            else:
                ap = dict(easy=0.3 + wobble, origin=0.2, hard=0.1 - wobble, real=0.6)
                sets = {key: dict(bbox_mAP=value, frechet=1 + wobble) for key, value in ap.items()}
                figures = dict(sets=sets)
            steps = {step.name: 60.0 for step in (*job_.chain, *job_.steps)}
            record = dict(seconds=steps, processor_seconds=dict(steps), machine={}, versions={})
            record["machine"] = dict(processor="P", cores=2, gpus=[], threads=1)
            results.write(job_, figures, record)
    return results


def test_scoreboard_from_result_files_alone(tmp_path, seeds):
    results = write_results(tmp_path, seeds, skip={(3, "without-dice"), (3, "train-faster-rcnn-hard")})
    board = scoreboard(ordered_jobs(seeds), results, "run --only {claims}")
    verdicts = {row["claim"]: row["verdict"] for row in board["claims"]}
    assert verdicts["C3"] == verdicts["M1"] == verdicts["M2"] == "holds"
    assert verdicts["C5"] == verdicts["C10"] == verdicts["C9"] == "does not hold"  # all alike
    rows = {row["claim"]: row for row in board["claims"]}
    assert rows["C6"]["n"] == rows["C7"]["n"] == 2 and rows["C6"]["continue"] == "run --only C6"
    assert rows["C3"]["comparisons"][0]["difference"]["mean"] == pytest.approx(0.102)
    assert board["values"][2]["easy"] == pytest.approx(0.302)
    # a minute a step: 3 + 1 of the detector's job with the data, all steps once in a full seed
    every = {step.name for job_ in seeds[0].jobs().values() for step in (*job_.chain, *job_.steps)}
    assert board["cost"]["jobs"]["detector"]["wall"] == 4
    assert board["cost"]["seed"]["wall"] == pytest.approx(len(every))
    paths = write_scoreboard(board, tmp_path)
    assert [path.suffix for path in paths] == [".json", ".md", ".csv", ".png"]
    text = paths[1].read_text()
    assert "undecided, n = 2" in text and "`run --only C6,C7,C8`" in text and "+10.2 ± 0.1" in text
    assert len(re.findall(r"^\| \*\*[CM]\d+\*\*", text, re.M)) == 12
    equal, rest = text.split("| claim | paper |")
    assert len(re.findall(r"^\| C[79] .*, real, equal iterations \| – \|", equal, re.M)) == 9
    assert "real, equal iterations" not in rest
    lines = list(csv.DictReader(io.StringIO(paths[2].read_text())))
    assert len(lines) == sum(len(claim.comparisons) for claim in CLAIMS)
    assert paths[3].read_bytes()[:4] == b"\x89PNG"
    again = scoreboard(ordered_jobs(seeds), ResultFolder(tmp_path), "run --only {claims}")
    assert again["claims"] == board["claims"]


def test_an_empty_board_is_undecided(tmp_path, seeds):
    board = scoreboard(ordered_jobs(seeds), ResultFolder(tmp_path), "run --only {claims}")
    assert {row["verdict"] for row in board["claims"]} == {"undecided"} and board["results"] == 0
    assert markdown(board).count("undecided, n = 0") == 12
    assert [path.suffix for path in write_scoreboard(board, tmp_path)] == [".json", ".md", ".csv"]


def test_detectors_that_differ_and_other_settings_are_noted(tmp_path, seeds):
    results = write_results(tmp_path, seeds[:1])
    path = tmp_path / "1/attr.json"
    record = json.loads(path.read_text())
    record["figures"]["sets"]["real"]["bbox_mAP"] = 0.61
    path.write_text(json.dumps(record))
    stale = tmp_path / "1/without-sqrt.json"
    stale.write_text(json.dumps({**json.loads(stale.read_text()), "key": "old"}))
    notes = " ".join(scoreboard(ordered_jobs(seeds), results, "")["notes"])
    assert "seed 1: arms were scored by detectors that differ" in notes
    assert "1/without-sqrt.json was made with other settings" in notes


def test_ap_of_minus_one_is_absent():
    assert quantities(dict(attr=dict(sets=dict(easy=dict(bbox_mAP=-1.0))))) == {}


# the command


def test_the_command(tmp_path):
    def run(*args):
        command = [sys.executable, "benchmarks/paper_in_miniature.py", "--out", str(tmp_path / "w"), *args]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    shown = run("--seeds", "2", "--only", "c3,M1", "--dry-run", "--scale", "smoke")
    assert shown.returncode == 0, shown.stderr
    assert re.findall(r"^# seed (\d), ([\w-]+)", shown.stdout, re.M) == [
        (seed, name) for seed in "12" for name in ("detector", "autoencoder", "detdiffusion")
    ]
    commands = [shlex.split(line) for line in shown.stdout.splitlines() if line.startswith("python")]
    assert all((ROOT / command[1]).is_file() for command in commands) and not (tmp_path / "w").exists()
    assert "C1, C2" in run("--only", "C11").stderr
    empty = run("--jobs-for", "0", "--seeds", "1", "--scale", "smoke")
    assert empty.returncode == 0, empty.stderr
    assert "undecided, n = 0" in empty.stdout and (tmp_path / "w/results/scoreboard.md").is_file()
