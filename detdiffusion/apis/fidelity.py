"""Fidelity of synthetic sets: AP, Fréchet and kernel distances, consistency: tools/evaluate_fidelity.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.datasets.image_files import image_folder
from detdiffusion.datasets.image_survey import inspect_images
from detdiffusion.evaluation import consistency, fidelity
from detdiffusion.evaluation.attribute_effect import attribute_effect
from detdiffusion.evaluation.detections import detect_images
from detdiffusion.evaluation.feature_cache import FeatureCache
from detdiffusion.evaluation.generated_sets import check_names
from detdiffusion.evaluation.options import BootstrapOptions, FidOptions, ResultFolder
from detdiffusion.evaluation.protocols import FidProtocol
from detdiffusion.evaluation.real_bound import Reference, read_reference
from detdiffusion.evaluation.results import result_file
from detdiffusion.evaluation.set_distances import (
    bound_notes,
    detector_distances,
    fid_plan,
    protocol_distances,
)
from detdiffusion.perception.detector_factory import load_detector
from detdiffusion.perception.image_detector import ImageDetector
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.ranks import Ranks
from detdiffusion.utils.shared_options import AnnotatedImages, DetectorOptions, FoundRule


def evaluate_fidelity(
    detector: DetectorOptions,
    real: AnnotatedImages,
    synthetic: Mapping[str, str | Path],
    results: ResultFolder,
    fid: FidOptions | None = None,
    found: FoundRule | None = None,
    bootstrap: BootstrapOptions | None = None,
    *,
    dataset: str | None = None,
    progress: bool = True,
) -> dict | None:
    """Scores synthetic sets beside the real images of the same layouts; under torchrun the work is shared out.

    Args:
        detector: whose boxes are scored.
        real: COCO json of the layouts' source images, and these.
        synthetic: name -> folder of ``tools/generate.py``.
        results: folder for ``fidelity.json`` and the consistency report, and what is kept of the networks.
        fid: distances beside the AP; other real images, for their bound, in place of one half of the real images
            against the other, see :mod:`~detdiffusion.evaluation.real_bound`.
        found: when an object counts as found.
        bootstrap: behind the intervals.
        dataset: its name in tables; default: the json's path and the number of layouts.
        progress: bars on stderr.

    Returns:
        The content of ``fidelity.json``; None on all processes but the first.

    Raises:
        UserError: anything wrong with the input, see the parts.
    """
    fid, found, bootstrap = fid or FidOptions(), found or FoundRule(), bootstrap or BootstrapOptions()
    check_names(synthetic, "`synthetic`")
    ranks = Ranks.join()
    device = ranks.device(detector.device)
    model = load_detector(*detector.detector, device, detector.cfg_options)
    plans = _fid_plans(fid, device)
    sets = _load(real, synthetic, fid, model)
    store = FeatureCache(results.cache_folder)
    seen = _detect(model, sets, detector.batch_size, store, progress)
    distances = _protocol_distances(plans, sets, store, progress)
    if not ranks.is_main:
        return None
    label = Path(detector.detector[0]).stem
    features, frechet, real_row, more = detector_distances(
        label, sets.bound, sets.generated, seen.features, sets.others, seen.other_features
    )
    sets.notes.extend(more)
    scores = {one.name: fidelity.score_set(one, seen.predictions[one.name]) for one in sets.all}
    for name, row in scores.items():
        if name in frechet:
            row["frechet"] = frechet[name]
        row["distances"] = distances[name]
    layouts = scores["real"]["layouts"]
    protocol = {
        **_protocol(detector, model, real, synthetic, sets.classes),
        "frechet_features": features,
        "frechet_reference": features and f"the {len(sets.bound.layouts)} real images of the same layouts",
        "frechet_bound": real_row,
        "fid": {protocol.name: _describe(protocol, extractor) for protocol, extractor in plans},
        "consistency": dict(
            score_thr=found.score_thr, iou_thr=found.iou_thr, size_edges=list(consistency.SIZE_EDGES)
        ),
    }
    result = result_file(
        "fidelity",
        dataset or f"{real.file}, {layouts} layouts",
        protocol,
        [_method(name, row) for name, row in scores.items()],
        list(dict.fromkeys(sets.notes)),
        sets=scores,
        bootstrap=_easy_minus_hard(sets, seen, bootstrap),
        consistency=_consistency(sets.all, seen.predictions, found, bootstrap),
        from_cache=len(store.hits),
    )
    write_atomic(Path(results.out) / "fidelity.json", (json.dumps(result, indent=2) + "\n").encode())
    return result


@dataclass(frozen=True)
class _Sets:
    """The compared sets.

    Attributes:
        bound: the real images of the layouts.
        generated: the synthetic sets.
        others: other real images, for the bound of the distances, or None.
        classes: class name -> category id of what is scored.
        notes: lines for the user; more are added on the way.
    """

    bound: fidelity.ImageSet
    generated: list[fidelity.ImageSet]
    others: Reference | None
    classes: dict[str, int]
    notes: list[str]

    @property
    def all(self) -> list[fidelity.ImageSet]:
        """The real images first."""
        return [self.bound, *self.generated]


@dataclass(frozen=True)
class _Seen:
    """What the detector saw: by name of a set COCO results, and (N, D) features where it shows any."""

    predictions: dict[str, list[dict]]
    features: dict[str, np.ndarray | None]
    other_features: np.ndarray | None


def _fid_plans(options: FidOptions, device: str | None) -> list[tuple]:
    plans = [fid_plan(spec, options.extractor_weights, device) for spec in options.fid]
    names = [protocol.name for protocol, _ in plans]
    if len(set(names)) != len(names):
        raise UserError(f"`fid`: every protocol once, got {', '.join(names)}")
    return plans


def _load(
    real: AnnotatedImages, synthetic: Mapping[str, str | Path], fid: FidOptions, model: ImageDetector
) -> _Sets:
    """Reads and checks all sets."""
    img_dir = image_folder(real.img_dir, real.file)
    bound, generated, notes = fidelity.load_sets(real.file, img_dir, synthetic, model.classes)
    classes = {c["name"]: c["id"] for c in bound.prompted["categories"]}
    for one in (bound, *generated):
        notes += inspect_images(one.paths.values()).notes(one.name)
    others = None
    if fid.real_reference is not None:
        most = max(len(one.layouts) for one in generated)
        others = read_reference(*fid.real_reference, most, bound.paths.values())
        notes += inspect_images(others.paths(len(others.images))).notes("real reference")
    notes += bound_notes(bound, generated, others)
    return _Sets(bound, generated, others, classes, notes)


def _detect(
    model: ImageDetector, sets: _Sets, batch_size: int | None, store: FeatureCache, progress: bool
) -> _Seen:
    shows = model.shows_features

    def detect(images: Sequence[dict], img_dir: Path, name: str) -> tuple:
        return detect_images(
            model,
            images,
            img_dir,
            sets.classes,
            features=shows,
            batch_size=batch_size,
            cache=store,
            progress=progress,
            name=name,
        )

    predictions, features = {}, {}
    for one in sets.all:
        found, features[one.name] = detect(one.prompted["images"], one.img_dir, one.name)
        predictions[one.name] = found.to_coco_results()
    others = sets.others
    if others is None or not shows:
        return _Seen(predictions, features, None)
    return _Seen(predictions, features, detect(others.images, others.img_dir, "real reference")[1])


def _protocol_distances(
    plans: Sequence[tuple], sets: _Sets, store: FeatureCache, progress: bool
) -> dict[str, dict]:
    """Name of a set -> protocol -> distances; adds to the notes of ``sets``."""
    measured: dict[str, dict] = {one.name: {} for one in sets.all}
    for protocol, extractor in plans:
        found, more = protocol_distances(
            protocol, extractor, sets.bound, sets.generated, sets.others, store, progress
        )
        sets.notes.extend(more)
        for name, values in found.items():
            measured[name][protocol.name] = values
    return measured


def _protocol(
    detector: DetectorOptions,
    model: ImageDetector,
    real: AnnotatedImages,
    synthetic: Mapping[str, str | Path],
    classes: Mapping[str, int],
) -> dict:
    config, checkpoint = detector.detector
    return {
        "name": f"prompted objects, {Path(config).stem}",
        "detector": {
            "config": str(config),
            "checkpoint": str(checkpoint),
            "checkpoint_sha256": model.describe()["sha256"],
            "classes": list(model.classes),
            **model.settings(),
        },
        "real": str(real.file),
        "synthetic": {name: str(folder) for name, folder in synthetic.items()},
        "scored_classes": list(classes),
        "bbox_mAP": "COCO AP of the prompted objects; other objects of a real image are ignored regions",
        "bbox_mAP_full": "COCO AP against every object of the source image, boxes scaled to the image",
    }


def _describe(protocol: FidProtocol, extractor: Any) -> dict:
    return dict(
        description=protocol.describe(extractor.features),
        extractor=extractor.identity,
        distance=extractor.distance,
        **protocol.to_dict(),
    )


def _easy_minus_hard(sets: _Sets, seen: _Seen, options: BootstrapOptions) -> dict:
    """The paired bootstrap of the two sets, where both are compared."""
    by_name = {one.name: one for one in sets.generated}
    if not {"easy", "hard"} <= by_name.keys():
        return {}
    easy, hard = ((by_name[name], seen.predictions[name]) for name in ("easy", "hard"))
    compared = fidelity.compare_sets(*easy, *hard, resamples=options.resamples, seed=options.seed)
    return {"easy - hard": compared.to_dict()}


def _consistency(
    sets: Sequence[fidelity.ImageSet],
    predictions: Mapping[str, list],
    found: FoundRule,
    bootstrap: BootstrapOptions,
) -> dict:
    matches = {
        one.name: consistency.match_objects(
            predictions[one.name], one.prompted, found.score_thr, found.iou_thr
        )
        for one in sets
    }
    report: dict = {
        "sets": {one.name: consistency.consistency_report(matches[one.name], one.prompted) for one in sets}
    }
    by_name = {one.name: one for one in sets}
    if {"easy", "hard"} <= by_name.keys():
        report["attribute_effect"] = attribute_effect(
            matches["easy"],
            by_name["easy"].layouts,
            matches["hard"],
            by_name["hard"].layouts,
            resamples=bootstrap.resamples,
            seed=bootstrap.seed,
        )
    return report


def _method(name: str, row: Mapping) -> dict:
    """A method of the result contract from a row of scores."""
    counts = ("images", "layouts", "objects", "detections")
    nested = ("bbox_mAP_per_class", "distances")
    return dict(
        method=name,
        metrics={k: v for k, v in row.items() if k not in (*counts, *nested)},
        counts={k: row[k] for k in counts},
        per_class=row["bbox_mAP_per_class"],
        distances=row.get("distances", {}),
    )
