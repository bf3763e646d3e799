"""The result of a job: ``result.json`` with the scores and the minutes of every arm that is finished."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from detdiffusion.experiments.miniscenes_steps import weights
from detdiffusion.utils.files import sha256_of, write_atomic
from detdiffusion.utils.machine import machine_facts, package_versions
from detdiffusion.utils.steps import Step, StepRunner, needed_steps, read_result
from detdiffusion.utils.threads import thread_count

from .arms import ARMS, LOOKS, SETS
from .job import DRAWN, LEARNERS, Job

METRICS = ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75")


def recorded(job: Job, steps: Sequence[Step]) -> Iterator[Step]:
    """Yield the steps, and write ``result.json`` after each that it has figures of, so that a stopped run has one."""
    for step in steps:
        yield step
        record(job, step)


def record(job: Job, step: Step, at_once: int = 1) -> None:
    """Write ``result.json`` anew if it has figures of a finished step, of ``at_once`` steps at the same time."""
    if step.name.startswith(("train-", "near-copies")):
        write_result(job, at_once)


def write_result(job: Job, at_once: int = 1) -> dict:
    """Write and return the content of ``result.json``: the arms of which every step is finished with its settings.

    Args:
        at_once: number of steps, of all jobs, that were at work at the same time.

    Returns:
        ``look, images, seed, settings, weights`` (SHA-256 of the UNet that each generator starts from; of the base
        None without arms from it), ``arms``
        (arm -> learner -> AP, AP50 and AP75 from 0 to 1, iterations, seconds of its training and of everything behind
        it but the data), ``synthetic_images`` by set, ``near_copies`` by set (share of its images that are nearer to a
        real image than 5 % of these are to their nearest other one, by the features of ATSS on them and by pixels),
        ``seconds`` by step, ``versions`` and ``machine``.
    """
    from detdiffusion.evaluation.training_runs import read_run

    steps = job.steps([name for name, arm in ARMS.items() if job.base or not arm.from_base], LEARNERS)
    runner = StepRunner(job.make.root, job.dir)
    seconds = {step.name: found for step in steps if (found := runner.seconds(step)) is not None}
    arms: dict[str, dict] = {}
    for name, arm in ARMS.items():
        for learner in LEARNERS:
            step = job.train(arm, learner)
            names, drawn = behind(step, steps), DRAWN if LOOKS in arm.further else DRAWN[:1]
            if not {*drawn, step.name, *names} <= seconds.keys():  # not finished, or with other settings
                continue
            run = read_run(job.work_dir(arm, learner))
            arms.setdefault(name, {})[learner] = dict(
                {metric: run.metrics[metric] for metric in METRICS},
                iterations=run.iterations,
                seconds=seconds[step.name],
                seconds_in_all=round(sum(seconds[one] for one in names), 1),
            )
    result = dict(
        look=job.look,
        images=job.images,
        seed=job.seed,
        settings=job.settings.to_dict(),
        weights=dict(
            layout=_digest(job.layout),
            base=_digest(job.base) if job.base and any(ARMS[name].from_base for name in arms) else None,
        ),
        arms=arms,
        synthetic_images={name: _count(job.synthetic(name)) for name in _drawn(arms)},
        near_copies={
            name: _near_copies(job, name)
            for name in SETS
            if {*behind(job.find_near_copies(name), steps)} <= seconds.keys()
            and (job.near_copies / name / "near_copies.json").is_file()
        },
        seconds=seconds,
        versions=package_versions(),
        machine=dict(machine_facts(max(1, thread_count() // at_once)), steps_at_once=at_once),
    )
    _say_left_out(job.dir / "result.json", result)
    write_atomic(job.dir / "result.json", json.dumps(result, indent=1).encode() + b"\n")
    return result


def _say_left_out(path: Path, result: dict) -> None:
    """Say which arms of the file before are not in a result, as something that they depend on is not as it was."""
    before = read_result(path, "benchmarks/low_data.py")["arms"] if path.is_file() else {}
    if gone := [name for name in before if name not in result["arms"]]:
        print(f"{path}: left out, since their configs, files or settings have changed: {', '.join(gone)}")


def behind(step: Step, steps: Sequence[Step]) -> list[str]:
    """Return the names of a step and of those that it needs, without those that draw scenes."""
    needs = needed_steps([*steps, step])
    found, pending = {step.name}, [step.name]
    while pending:
        new = needs[pending.pop()] - found - {*DRAWN}
        found |= new
        pending += new
    return [one.name for one in steps if one.name in found]


def _drawn(arms: Collection[str]) -> list[str]:
    """Return the names of the sets of some arms."""
    return list(dict.fromkeys(arm.generated for name, arm in ARMS.items() if name in arms and arm.generated))


def _near_copies(job: Job, name: str) -> dict[str, float]:
    report = json.loads((job.near_copies / name / "near_copies.json").read_text())["sets"][name]
    return {measure: report[measure]["share"] for measure in ("features", "pixels")}


def _digest(source: Path | str) -> str:
    return sha256_of(weights(source)[1])


def _count(folder: Path) -> int:
    return len(json.loads((folder / "annotations.json").read_text())["images"])
