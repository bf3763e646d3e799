"""The steps from labels to an answer, for ``tools/augment.py``, in the order of their execution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from detdiffusion.experiments.common_steps import Split, pairs, texts
from detdiffusion.utils.steps import Step

from . import drawing, judging
from .arms import REAL
from .rates import TIMED_PASTING, speed_digest
from .run_folder import RunFolder


def steps(run: RunFolder) -> Iterator[Step]:
    """Yield all steps: those of the data and those of the experiment."""
    yield from of_data(run)
    yield from of_experiment(run)


def of_data(run: RunFolder) -> Iterator[Step]:
    """Yield the steps of the labels and of the generator's parts; between two of them results are read.

    Raises:
        UserError: the labels cannot be used.
    """
    yield from run.sources.steps()
    run.splits, cut = run.sources.expected() if run.dry else run.sources.splits()
    if cut:
        yield _cut_val(run)
    if not run.dry and run.plan is None:
        run.derive()
    yield run.sources.check(run.splits, run.plan.classes if run.plan else ("CLASSES",))
    if not run.dry and (found := run.sources.warnings()):
        print("\n".join(f"warning: {one}" for one in found))
        print(f"pictures of the data: {run.sources.checked / 'check.html'}")
    yield from drawing.parts(run)


def of_experiment(run: RunFolder) -> Iterator[Step]:
    """Yield the steps behind those of :func:`of_data`.

    Where a budget gives the sizes, or there are several rounds, results are read between two of them. Otherwise nothing
    but configs is written, and a step has to wait for those that write its inputs alone.
    """
    for name in ("detector", *([TIMED_PASTING] if run.pasted else [])):
        yield from _calibrated(run, name, {"train_cfg.val_interval": 1000}, run.write_detectors)
    yield from judging.attributes_of_train(run, 1)
    yield _train_arm(run, REAL, run.seeds[0])
    yield judging.attributes_of_val(run)
    yield from _calibrated(run, "generator", {}, run.write_generator)
    for number in run.rounds:
        if number > 1:
            yield from judging.attributes_of_train(run, number)
        yield from drawing.generator(run, number)
    for seed in run.seeds[1:]:
        yield _train_arm(run, REAL, seed)
    for name in run.arms:
        for seed in run.seeds:
            yield _train_arm(run, name, seed)
    if run.tuning:
        for name in run.arms:
            for seed in run.seeds:
                yield _tune(run, name, seed)
    yield _compare(run)


def _cut_val(run: RunFolder) -> Step:
    """Return the step that cuts ``val`` from ``train``, and replace both splits."""
    train, out = run.splits["train"], run.dir / "split"
    command = ["tools/dataset_converters/split_coco.py", train.annotations[0], "--out", out]
    command += ["--images", "none", "--val-share", 0.2]
    command += ["--groups", run.options.groups, "--seed", run.options.seed]
    files = {name: out / f"annotations/{name}.json" for name in ("train", "val")}
    run.splits = {name: Split((path,), train.images) for name, path in files.items()}
    title = "cut the held-out images from the training images"
    inputs = run.inputs(*train.annotations)
    return Step("split", title, texts(command), inputs=inputs, outputs=tuple(files.values()), remove=(out,))


def _calibrated(run: RunFolder, name: str, options: Mapping[str, object], write) -> Iterator[Step]:
    """Write configs, yield the step that times a few of their iterations, and write them again for the budget.

    The measured seconds are stored, so that a resumed run has the same sizes; what is timed is measured again when a
    part of the config changes that the speed depends on.

    Args:
        name: name of the config.
        options: overrides for the few iterations.
        write: writes the configs.
    """
    if not run.dry:
        write()
    if run.options.smoke:
        return
    if run.options.detector_iters:
        _say_sizes(run, name)
        return
    of = "" if run.dry else speed_digest(Path(run.config(name)).absolute())
    out, iters = run.dir / "calibration" / f"{name}{of[:8]}", run.schedule.calibration_iters
    command = ["tools/train.py", run.config(name), "--work-dir", out, "--cfg-options", f"max_iters={iters}"]
    command += ["default_hooks.logger.interval=2", "log_processor.window_size=2"]
    command += [
        "default_hooks.checkpoint.save_optimizer=False",
        "default_hooks.checkpoint.save_param_scheduler=False",
    ]
    command += pairs(options)
    yield Step(
        f"calibrate-{name}",
        f"time {iters} iterations of the {name}",
        texts(command),
        outputs=(out / f"iter_{iters}.pth",),
        remove=(out,),
    )
    if not run.dry:
        run.rates.store(name, out, of)
        write()
        _say_sizes(run, name)


def _say_sizes(run: RunFolder, name: str) -> None:
    if name == "generator" and not run.dry:
        print(run.schedule_line())
        if found := run.few_iters():
            print(f"warning: {found}")


def _train_arm(run: RunFolder, name: str, seed: int) -> Step:
    arm = run.trainings[name]
    config = run.config(arm.config)
    options: dict[str, object] = {"randomness.seed": seed}
    inputs = [*run.splits["train"].annotations, *run.splits[run.test].annotations]
    if arm.generated:
        options["synthetic_root"] = run.synthetic(arm.generated)
        inputs += run.trained_on(arm.generated)
    title = f"train the learner: {arm.title}, seed {seed}"
    iters = "N" if run.dry else None
    out, name = run.trained(name, seed), f"train-{name}-{seed}"
    return run.make().train(name, title, config, out, iters, options, run.inputs(*inputs))


def _tune(run: RunFolder, arm: str, seed: int) -> Step:
    """Return the step that tests a trained arm on the split that chooses the arm."""
    split, out = run.splits[run.tuning], run.tuned(arm, seed)
    learner = run.weights(run.config(run.arms[arm].config), run.trained(arm, seed))
    command = ["tools/test.py", learner.config, learner.checkpoint, "--work-dir", out.with_suffix("")]
    command += [
        "--out",
        out,
        "--cfg-options",
        f"test_ann={split.annotations[0]}",
        f"test_images={split.images}/",
    ]
    return Step(
        f"tune-{arm}-{seed}",
        f"test the learner of the arm {arm}, seed {seed}, on {run.tuning}, which chooses the arm",
        texts(command),
        (learner.config,),
        (*split.annotations, learner.checkpoint),
        (out,),
        (out, out.with_suffix("")),
    )


def _compare(run: RunFolder) -> Step:
    runs = [(name, run.trained(name, seed)) for name in run.trainings for seed in run.seeds]
    learners = [run.weights(run.config(run.trainings[name].config), folder) for name, folder in runs]
    title, test = "does it help? the learner in all arms", run.splits[run.test].annotations
    return run.make().compare(
        "compare", title, runs, run.comparison, [one.checkpoint for one in learners], test
    )
