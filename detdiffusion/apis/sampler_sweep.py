"""Comparison of sampling plans on a generator and a detector, for ``tools/analysis_tools/sampler_sweep.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from detdiffusion.apis.fidelity import evaluate_fidelity
from detdiffusion.apis.generation import generate_dataset
from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.datasets.image_files import image_folder
from detdiffusion.evaluation.options import PLANS as DEFAULT_PLANS
from detdiffusion.evaluation.options import BootstrapOptions, ResultFolder, SweepOptions
from detdiffusion.evaluation.sampler_sweep import cheapest, folder_name, plan_seconds, sweep_rows
from detdiffusion.generation.layout_source import read_layouts
from detdiffusion.generation.options import (
    ContentOptions,
    GeneratorOptions,
    LayoutOptions,
    SamplingOptions,
    SetFiles,
)
from detdiffusion.models.editors.interface import check_accepted
from detdiffusion.perception.detector_factory import load_detector
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.sampling_plan import PLANS, SamplingPlan, read_plan
from detdiffusion.utils.shared_options import AnnotatedImages, DetectorOptions
from detdiffusion.utils.torchrun import Torchrun

BASELINE = "paper"


def sweep_sampling(
    generator: GeneratorOptions,
    layouts: LayoutOptions,
    sweep: SweepOptions,
    results: ResultFolder,
    *,
    progress: bool = True,
) -> dict:
    """Generate one set per sampling plan, from the same layouts and noise, and score them with a detector.

    An interrupted sweep continues: the sets resume, and detections are cached.

    Args:
        generator: the model.
        layouts: the layouts and their real images; AP counts objects of the first annotation file.
        sweep: the plans, the detector and the size of the comparison.
        results: folder for ``sampler_sweep.json``, ``fidelity.json`` and the sets, ``sets/``.
        progress: show progress on stderr.

    Returns:
        The content of ``sampler_sweep.json``: ``plans``, with ``evaluations`` and ``seconds`` per image, ``bbox_mAP``,
        ``frechet`` and ``difference``, the paired bootstrap of a plan's AP - the paper's (None for the paper's); the
        name of the ``cheapest`` plan, see :func:`detdiffusion.evaluation.sampler_sweep.cheapest`; and ``real``, AP of
        the real images.

    Raises:
        UserError: an option or an input file is not valid, or the generator does not have a plan of ``sweep.plans``.
    """
    if Torchrun.to_join() is not None:
        raise UserError("a sweep runs in one process: start it without torchrun")
    texts = DEFAULT_PLANS if sweep.plans is None else sweep.plans
    plans = {plan.name: plan for plan in (PLANS[BASELINE], *map(read_plan, texts))}
    detector = DetectorOptions(detector=sweep.detector, device=generator.device)
    load_detector(*sweep.detector, generator.device)  # checked before images are generated for hours
    inferencer = DetDiffusionInferencer(
        generator.config, generator.checkpoint, generator.device, generator.cfg_options
    )
    evaluations = _evaluations(inferencer, plans, leave_out=sweep.plans is None)
    plans = {name: plans[name] for name in evaluations}
    real, out = _real_images(inferencer, generator, layouts), Path(results.out)
    folders = {name: out / "sets" / folder_name(plan) for name, plan in plans.items()}
    seconds = {}
    for name, plan in plans.items():
        inferencer.model.eval()  # clears the text states of the last plan, so that each one pays for its own
        counts = generate_dataset(
            generator,
            layouts,
            ContentOptions(strategy=sweep.strategy, seed=sweep.seed, limit=sweep.limit),
            SetFiles(out=folders[name], preview_every=0),
            SamplingOptions(batch_size=sweep.batch_size, plan=BASELINE, **asdict(plan)),  # not the config's
            progress=progress,
            inferencer=inferencer,
        )
        seconds[name] = plan_seconds(out / "timings.json", plan, counts)
    bootstrap = BootstrapOptions(resamples=sweep.resamples, seed=sweep.seed, baseline=BASELINE)
    scores = evaluate_fidelity(detector, real, folders, results, bootstrap=bootstrap, progress=progress)
    rows = sweep_rows(plans, scores, evaluations, seconds, BASELINE)
    result = dict(
        dataset=scores["dataset"],
        strategy=sweep.strategy,
        seed=sweep.seed,
        batch_size=sweep.batch_size,
        device=str(inferencer.device),
        detector=scores["protocol"]["detector"],
        real=dict(bbox_mAP=scores["sets"]["real"]["bbox_mAP"], frechet=scores["protocol"]["frechet_bound"]),
        plans=rows,
        cheapest=cheapest(rows)["name"],
        notes=scores["notes"],
    )
    write_atomic(out / "sampler_sweep.json", (json.dumps(result, indent=2) + "\n").encode())
    return result


def _evaluations(
    inferencer: DetDiffusionInferencer, plans: Mapping[str, SamplingPlan], leave_out: bool
) -> dict[str, int]:
    """Return the evaluations of each plan; plans that the generator does not have are errors, or left out."""
    model = inferencer.model
    if not hasattr(model, "evaluations"):
        raise UserError(
            f"{inferencer.config.filename}: its model {type(model).__name__} cannot tell the cost of a plan: it lacks "
            "evaluations (see the interface in detdiffusion.models.editors.interface)"
        )
    found = {}
    for name, plan in plans.items():
        try:
            check_accepted(model, plan.arguments())
            found[name] = model.evaluations(**plan.arguments())
        except UserError as error:
            if not leave_out or name == BASELINE:
                raise UserError(f"plan {name!r}: {error}") from None
            print(f"plan {name!r} is left out: {error}")
    return found


def _real_images(
    inferencer: DetDiffusionInferencer, generator: GeneratorOptions, layouts: LayoutOptions
) -> AnnotatedImages:
    """Return the annotation file whose objects are scored, and the folder of its images."""
    if layouts.ann:
        real = AnnotatedImages(ann=[layouts.ann[0]], img_dir=layouts.img_dir)
    else:
        dataset, _ = read_layouts(inferencer.config, generator.config, layouts)
        if not getattr(dataset, "ann_files", None):
            raise UserError(
                f"{generator.config}: its layouts have no annotation file; give `ann` and `img_dir`"
            )
        real = AnnotatedImages(ann=[dataset.ann_files[0]], img_dir=dataset.img_dir)
    image_folder(real.img_dir, real.file)
    return real
