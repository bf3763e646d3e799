"""Steps that tell which training objects are easy or hard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detdiffusion.evaluation.training_runs import read_run
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import Step

from .run_folder import RunFolder

SCORE_THR = 0.3
"""Score above which a detection finds an object."""


def attributes_of_train(run: RunFolder) -> Iterator[Step]:
    """Yield the steps that write the attributes of ``train``.

    A detector finds most objects of the images that it was trained on. Without a given detector the learner is
    therefore cross-fitted: each half of ``train`` is judged by a learner that was trained on the other half.

    Raises:
        UserError: a half's learner finds too little to judge.
    """
    make, out = run.make(), run.attributes["train"]
    title = "easy or hard? attributes of the training images"
    if run.options.detector:
        yield make.extract_attributes("attributes-train", title, run.judge(), "train", out, SCORE_THR)
        return
    yield make.halve("train", run.dir / "halves", run.options.groups)
    halves = tuple(half.annotations[0] for half in run.halves.values())
    config, results = run.config("detector"), []
    for half, other in (("a", "b"), ("b", "a")):
        work_dir, judged = run.dir / "detectors" / half, run.halves[other]
        options = dict(
            train_ann=run.halves[half].annotations[0],
            test_ann=judged.annotations[0],
            test_images=f"{judged.images}/",
        )
        title_of_half = f"train the learner on half {half}: {run.options.learner}"
        inputs, iters = run.inputs(*halves), "N" if run.dry else None
        yield make.train(f"detector-{half}", title_of_half, config, work_dir, iters, options, inputs)
        if not run.dry:
            _check(run, work_dir, half)
        results.append(run.dir / "attributes" / f"half_{other}.results.json")
        yield make.extract_attributes(
            f"attributes-{other}",
            f"half {other} judged by the learner that was trained on half {half}",
            run.weights(config, work_dir),
            other,
            run.dir / "attributes" / f"half_{other}.json",
            SCORE_THR,
            results[-1],
        )
    joined = run.dir / "attributes/results.json"
    yield make.join(results, joined)
    classes = run.plan.classes if run.plan else ("CLASSES",)
    yield make.attributes_of_predictions("attributes-train", title, joined, classes, "train", out, SCORE_THR)


def attributes_of_val(run: RunFolder) -> Step:
    """Return the step that writes the attributes of ``val``, by a detector that was not trained on it."""
    title, out = "easy or hard? attributes of the held-out images", run.attributes["val"]
    return run.make().extract_attributes("attributes-val", title, run.judge(), "val", out, SCORE_THR)


def _check(run: RunFolder, work_dir: Path, half: str) -> None:
    ap50, least = 100 * read_run(work_dir).metrics["bbox_mAP_50"], run.options.min_ap50
    print(f"held-out AP50 of the learner that was trained on half {half}: {ap50:.1f}")
    if ap50 < least and not run.options.smoke:
        raise UserError(
            f"the learner's held-out AP50 is {ap50:.1f} percent, below {least:g} (`min_ap50`): it cannot tell which "
            "objects are hard. Give a detector that knows the classes by `detector`, or more time by `budget`"
        )
