"""Steps that tell which training objects are easy or hard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.evaluation.training_runs import read_run
from detdiffusion.experiments.common_steps import GATED
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import Step

from .arms import in_round
from .run_folder import RunFolder

SCORE_THR = 0.3
"""Score above which a detection finds an object."""


def attributes_of_train(run: RunFolder, number: int) -> Iterator[Step]:
    """Yield the steps that write the attributes of ``train`` in a round.

    A detector finds most objects of the images that it was trained on. Without a given detector the learner is
    therefore cross-fitted: each half of ``train`` is judged by a learner that was trained on the other half, and from
    the second round on also on the last round's images of that half's layouts.

    The step of a half's learner ends with an error where that finds too little to judge.
    """
    make, out = run.make(), run.attributes("train", number)
    name, title = in_round("attributes-train", number), "easy or hard? attributes of the training images"
    if number > 1:
        title += f", round {number}"
    if run.options.detector:
        yield make.extract_attributes(name, title, run.judge(), "train", out, SCORE_THR)
        return
    inputs, results = [half.annotations[0] for half in run.halves.values()], []
    if number == 1:
        config, more, also = run.config("detector"), {}, ""
        yield make.halve("train", run.dir / "halves", run.options.groups)
    else:
        learned = in_round(run.learned_kind, number - 1)
        config, also = run.config("detector_mixed"), f" and its {learned} images"
        more = {"synthetic_root": run.synthetic(learned), "train_dataloader.dataset.same_sources": True}
        inputs += run.trained_on(learned)
    for half, other in (("a", "b"), ("b", "a")):
        trained, given, words = config, more, also
        if number > 1 and not run.dry and not _has_images(run, half, learned):
            print(f"no {learned} image was made of half {half}: its learner sees real images alone")
            trained, given, words = run.config("detector"), {}, ""
        work_dir, judged = run.dir / "detectors" / in_round(half, number), run.halves[other]
        options = dict(
            train_ann=run.halves[half].annotations[0],
            test_ann=judged.annotations[0],
            test_images=f"{judged.images}/",
            **given,
        )
        title_of_half = f"train the learner on half {half}{words}: {run.options.learner}"
        iters = "N" if run.dry else None
        step = make.train(
            in_round(f"detector-{half}", number),
            title_of_half,
            trained,
            work_dir,
            iters,
            options,
            run.inputs(*inputs),
        )
        yield replace(step, after=partial(_check, run, work_dir, half, number))
        judged_by = in_round(f"half_{other}", number)
        results.append(run.dir / "attributes" / f"{judged_by}.results.json")
        yield make.extract_attributes(
            in_round(f"attributes-{other}", number),
            f"half {other} judged by the learner that was trained on half {half}",
            run.weights(trained, work_dir),
            other,
            run.dir / "attributes" / f"{judged_by}.json",
            SCORE_THR,
            results[-1],
        )
    joined = run.dir / "attributes" / f"{in_round('results', number)}.json"
    yield make.join(in_round("join", number), results, joined)
    classes = run.plan.classes if run.plan else ("CLASSES",)
    yield make.attributes_of_predictions(name, title, joined, classes, "train", out, SCORE_THR)


def attributes_of_val(run: RunFolder) -> Step:
    """Return the step that writes the attributes of ``val``, by a detector that was not trained on it."""
    title, out = "easy or hard? attributes of the held-out images", run.attributes("val")
    return run.make().extract_attributes("attributes-val", title, run.judge(), "val", out, SCORE_THR)


def _has_images(run: RunFolder, half: str, name: str) -> bool:
    """Return whether a synthetic set has images of a half's layouts."""
    own = {image["id"] for image in read_coco(run.halves[half].annotations[0]).images}
    return any(image["source_image_id"] in own for image in read_coco(run.synthetic(name) / GATED).images)


def _check(run: RunFolder, work_dir: Path, half: str, number: int) -> None:
    ap50, least = 100 * read_run(work_dir).metrics["bbox_mAP_50"], run.options.min_ap50
    in_words = f" in round {number}" if number > 1 else ""
    print(f"held-out AP50 of the learner that was trained on half {half}{in_words}: {ap50:.1f}")
    if ap50 < least and not run.options.smoke:
        longer = (
            "more iterations by `detector_iters`" if run.options.detector_iters else "more time by `budget`"
        )
        advice = f"Give a detector that knows the classes by `detector`, or {longer}"
        if number > 1:
            advice = f"Give {longer}, or fewer rounds than {number} by `rounds`"
        raise UserError(
            f"the learner's held-out AP50{in_words} is {ap50:.1f} percent, below {least:g} (`min_ap50`): it cannot "
            f"tell which objects are hard. {advice}"
        )
