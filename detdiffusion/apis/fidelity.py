"""Fidelity of synthetic sets (AP, Fréchet and kernel distances, consistency), for ``tools/evaluate_fidelity.py``."""

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
    """Score synthetic sets and the real images of the same layouts; under torchrun, ranks share the work.

    Args:
        detector: the detector whose boxes are scored.
        real: COCO json and folder of the layouts' source images.
        synthetic: folders written by ``tools/generate.py``, by name.
        results: folder for ``fidelity.json`` and the consistency report, and the cache of network outputs.
        fid: distances to compute in addition to AP, and optionally other real images for their bound; by default the
            bound compares one half of the real images with the other, see :mod:`~detdiffusion.evaluation.real_bound`.
        found: thresholds for counting an object as found.
        bootstrap: options of the bootstrap intervals.
        dataset: name of the data set in tables; default: the json's path and the number of layouts.
        progress: show progress bars on stderr.

    Returns:
        The content of ``fidelity.json``, or None on ranks other than 0.

    Raises:
        UserError: an option or an input file is not valid.
    """
    fid, found, bootstrap = fid or FidOptions(), found or FoundRule(), bootstrap or BootstrapOptions()
    check_names(synthetic, "`synthetic`")
    if bootstrap.baseline is not None and bootstrap.baseline not in synthetic:
        raise UserError(
            f"`baseline` must be one of the sets {', '.join(synthetic)}, it is {bootstrap.baseline!r}"
        )
    ranks = Ranks.join()
    device = ranks.device(detector.device)
    model = load_detector(*detector.detector, device, detector.cfg_options)
    plans = _fid_plans(fid, device)
    sets = _load(real, synthetic, fid, model)
    store = FeatureCache(results.cache_folder)
    detections = _detect(model, sets, detector.batch_size, store, progress)
    distances = _protocol_distances(plans, sets, store, progress)
    if not ranks.is_main:
        return None
    label = Path(detector.detector[0]).stem
    features, frechet, real_row, more = detector_distances(
        label, sets.bound, sets.generated, detections.features, sets.others, detections.other_features
    )
    sets.notes.extend(more)
    scores = {
        image_set.name: fidelity.score_set(image_set, detections.predictions[image_set.name])
        for image_set in sets.all
    }
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
        bootstrap=_differences(sets, detections, bootstrap),
        consistency=_consistency(sets.all, detections.predictions, found, bootstrap),
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
        classes: category ids of the scored classes, by name.
        notes: lines for the user; the evaluation appends to them.
    """

    bound: fidelity.ImageSet
    generated: list[fidelity.ImageSet]
    others: Reference | None
    classes: dict[str, int]
    notes: list[str]

    @property
    def all(self) -> list[fidelity.ImageSet]:
        """All sets, the real images first."""
        return [self.bound, *self.generated]


@dataclass(frozen=True)
class _Detections:
    """COCO results by name of the set, and (N, D) features if the detector provides them."""

    predictions: dict[str, list[dict]]
    features: dict[str, np.ndarray | None]
    other_features: np.ndarray | None


def _fid_plans(options: FidOptions, device: str | None) -> list[tuple]:
    plans = [fid_plan(spec, options.extractor_weights, device) for spec in options.fid]
    names = [protocol.name for protocol, _ in plans]
    if len(set(names)) != len(names):
        raise UserError(f"`fid`: each protocol may be given only once, got {', '.join(names)}")
    return plans


def _load(
    real: AnnotatedImages, synthetic: Mapping[str, str | Path], fid: FidOptions, model: ImageDetector
) -> _Sets:
    """Read and check all sets."""
    img_dir = image_folder(real.img_dir, real.file)
    bound, generated, notes = fidelity.load_sets(real.file, img_dir, synthetic, model.classes)
    classes = {c["name"]: c["id"] for c in bound.prompted["categories"]}
    for image_set in generated:
        notes += inspect_images(image_set.paths.values()).notes(image_set.name)
    others = None
    if fid.real_reference is not None:
        most = max(len(image_set.layouts) for image_set in generated)
        others = read_reference(*fid.real_reference, most, bound.paths.values())
        notes += others.notes
    notes += bound_notes(bound, generated, others)
    return _Sets(bound, generated, others, classes, notes)


def _detect(
    model: ImageDetector, sets: _Sets, batch_size: int | None, store: FeatureCache, progress: bool
) -> _Detections:
    with_features = model.shows_features

    def detect(images: Sequence[dict], img_dir: Path, name: str) -> tuple:
        return detect_images(
            model,
            images,
            img_dir,
            sets.classes,
            features=with_features,
            batch_size=batch_size,
            cache=store,
            progress=progress,
            name=name,
        )

    predictions, features = {}, {}
    for image_set in sets.all:
        name = image_set.name
        found, features[name] = detect(image_set.prompted["images"], image_set.img_dir, name)
        predictions[name] = found.to_coco_results()
    others = sets.others
    if others is None or not with_features:
        return _Detections(predictions, features, None)
    return _Detections(predictions, features, detect(others.images, others.img_dir, "real reference")[1])


def _protocol_distances(
    plans: Sequence[tuple], sets: _Sets, store: FeatureCache, progress: bool
) -> dict[str, dict]:
    """Return the distances by set and protocol, and append to the notes of ``sets``."""
    measured: dict[str, dict] = {image_set.name: {} for image_set in sets.all}
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


def _differences(sets: _Sets, detections: _Detections, options: BootstrapOptions) -> dict:
    """Return the paired bootstraps of all sets and the baseline; without one of easy and hard, if both are given."""
    by_name = {image_set.name: image_set for image_set in sets.generated}
    pairs = [(name, options.baseline) for name in by_name if name != options.baseline]
    if options.baseline is None:
        pairs = [("easy", "hard")] if {"easy", "hard"} <= by_name.keys() else []
    differences = {}
    for names in pairs:
        a, b = ((by_name[name], detections.predictions[name]) for name in names)
        compared = fidelity.compare_sets(*a, *b, resamples=options.resamples, seed=options.seed)
        differences[" - ".join(names)] = compared.to_dict()
    return differences


def _consistency(
    sets: Sequence[fidelity.ImageSet],
    predictions: Mapping[str, list],
    found: FoundRule,
    bootstrap: BootstrapOptions,
) -> dict:
    matches = {
        image_set.name: consistency.match_objects(
            predictions[image_set.name], image_set.prompted, found.score_thr, found.iou_thr
        )
        for image_set in sets
    }
    by_name = {image_set.name: image_set for image_set in sets}
    report: dict = {
        "sets": {
            name: consistency.consistency_report(matches[name], image_set.prompted)
            for name, image_set in by_name.items()
        }
    }
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
    """Convert a row of scores to a method of the result file."""
    counts = ("images", "layouts", "objects", "detections")
    nested = ("bbox_mAP_per_class", "distances")
    return dict(
        method=name,
        metrics={k: v for k, v in row.items() if k not in (*counts, *nested)},
        counts={k: row[k] for k in counts},
        per_class=row["bbox_mAP_per_class"],
        distances=row.get("distances", {}),
    )
