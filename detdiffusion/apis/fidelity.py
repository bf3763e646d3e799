"""Fidelity of synthetic sets: AP, Fréchet and kernel distances, consistency: tools/evaluate_fidelity.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.evaluation import consistency, fidelity
from detdiffusion.evaluation.extractors import INCEPTION, TorchFidelityExtractor
from detdiffusion.evaluation.feature_cache import FeatureCache
from detdiffusion.evaluation.fid import choose_samples, common_size, distances, extract_features
from detdiffusion.evaluation.frechet import FeatureStatistics, frechet_distance
from detdiffusion.evaluation.protocols import PROTOCOLS, FidProtocol, build_protocol
from detdiffusion.evaluation.results import result_file
from detdiffusion.perception.detector import MMDetDetector
from detdiffusion.registry import TASK_UTILS
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.ranks import is_main, join_ranks, rank_device


def evaluate_fidelity(
    detector: tuple[str, str],
    real: str | Path,
    real_images: str | Path,
    synthetic: Mapping[str, str | Path],
    out: str | Path,
    fid: Sequence[str] = (),
    extractor_weights: str | None = None,
    score_thr: float = 0.3,
    iou_thr: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
    dataset: str | None = None,
    device: str | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict | None:
    """Scores synthetic sets beside the real images of the same layouts; under torchrun the work is shared out.

    Args:
        detector: (config, checkpoint) of an mmdet detector.
        real: COCO json of the layouts' source images.
        real_images: their folder.
        synthetic: name -> folder of ``tools/generate.py``.
        out: folder for ``fidelity.json`` and the consistency report.
        fid: protocols by name, or config files with ``fid = dict(protocol=..., extractor=...)``.
        extractor_weights: of the protocols' Inception network.
        score_thr, iou_thr: when an object counts as found.
        resamples, seed: of the bootstraps.
        dataset: its name in tables; default: the json's path and the number of layouts.
        device: torch device.
        cache: folder for what was computed of the real images; default ``out/cache``.
        progress: bars on stderr.

    Returns:
        The content of ``fidelity.json``; None on all processes but the first.

    Raises:
        UserError: anything wrong with the input, see the parts.
    """
    join_ranks()
    device = rank_device(device)
    finder = MMDetDetector(*detector, device)
    plans = [_fid_plan(spec, extractor_weights, device) for spec in fid]
    names = [protocol.name for protocol, _ in plans]
    if len(set(names)) != len(names):
        raise UserError(f"--fid: every protocol once, got {', '.join(names)}")
    bound, sets, notes = fidelity.load_sets(real, real_images, synthetic, finder.classes)
    classes = {c["name"]: c["id"] for c in bound.prompted["categories"]}
    store = FeatureCache(Path(out) / "cache" if cache is None else cache)

    predictions, statistics, features = (
        {},
        {},
        f"{Path(detector[0]).stem}: last backbone stage, mean over positions",
    )
    for one in (bound, *sets):
        kept = store if one is bound else None
        predictions[one.name], vectors = fidelity.detect(finder, one, classes, kept, progress)
        statistics[one.name] = FeatureStatistics.fit(vectors, f"{features}, {vectors.shape[1]} values")
    measured: dict[str, dict] = {one.name: {} for one in sets}
    for protocol, extractor in plans:
        found, more = _distances(protocol, extractor, bound, sets, store, progress)
        notes += more
        for name, values in found.items():
            measured[name][protocol.name] = values
    if not is_main():
        return None

    scores = {one.name: fidelity.score_set(one, predictions[one.name]) for one in (bound, *sets)}
    reference = statistics["real"]
    for one in sets:
        scores[one.name]["frechet"] = frechet_distance(reference, statistics[one.name])
        scores[one.name]["distances"] = measured[one.name]
    smallest = min(s.count for s in statistics.values())
    if smallest <= len(reference.mean):
        notes.append(
            f"Fréchet distance: only {smallest} images for {len(reference.mean)} features; compare such "
            "values only with each other"
        )
    protocol = {
        "name": f"prompted objects, {Path(detector[0]).stem}",
        "detector": {
            "config": str(detector[0]),
            "checkpoint": str(detector[1]),
            "checkpoint_sha256": finder.describe()["sha256"],
            "classes": list(finder.classes),
        },
        "real": str(real),
        "synthetic": {name: str(folder) for name, folder in synthetic.items()},
        "scored_classes": list(classes),
        "bbox_mAP": "COCO AP of the prompted objects; other objects of a real image are ignored regions",
        "bbox_mAP_full": "COCO AP against every object of the source image, boxes scaled to the image",
        "frechet_features": reference.features,
        "frechet_reference": f"the {reference.count} real images of the same layouts",
        "fid": {
            protocol.name: dict(
                description=protocol.describe(extractor.features),
                extractor=extractor.identity,
                distance=extractor.distance,
                **protocol.to_dict(),
            )
            for protocol, extractor in plans
        },
        "consistency": dict(score_thr=score_thr, iou_thr=iou_thr, size_edges=list(consistency.SIZE_EDGES)),
    }
    by_name = {one.name: one for one in sets}
    bootstrap = {}
    if {"easy", "hard"} <= by_name.keys():
        pair = [(by_name[name], predictions[name]) for name in ("easy", "hard")]
        bootstrap["easy - hard"] = fidelity.compare_sets(
            *pair[0], *pair[1], resamples=resamples, seed=seed
        ).to_dict()
    layouts = scores["real"]["layouts"]
    result = result_file(
        "fidelity",
        dataset or f"{real}, {layouts} layouts",
        protocol,
        [_method(name, row) for name, row in scores.items()],
        notes,
        sets=scores,
        bootstrap=bootstrap,
        consistency=_consistency((bound, *sets), predictions, score_thr, iou_thr, resamples, seed),
        from_cache=len(store.hits),
    )
    write_atomic(Path(out) / "fidelity.json", (json.dumps(result, indent=2) + "\n").encode())
    return result


def _fid_plan(spec: str, weights: str | None, device: str | None) -> tuple[FidProtocol, object]:
    """Protocol and extractor of a known name or a config file."""
    if spec in PROTOCOLS:
        return PROTOCOLS[spec], TorchFidelityExtractor(INCEPTION, weights, device=device)
    if not spec.endswith(".py"):
        build_protocol(spec)  # says what is known
    settings = load_config(spec).get("fid")
    if settings is None or "protocol" not in settings:
        raise UserError(
            f"{spec}: not a FID config: it lacks fid = dict(protocol=..., extractor=dict(type=...))"
        )
    settings = settings.to_dict()
    protocol = build_protocol(settings["protocol"])
    extractor = dict(settings.get("extractor") or dict(type="TorchFidelityExtractor"))
    if extractor.get("type", "").endswith("TorchFidelityExtractor") and weights is not None:
        extractor["weights"] = weights
    extractor.setdefault("device", device)
    try:
        return protocol, TASK_UTILS.build(extractor)
    except (KeyError, TypeError) as error:
        raise UserError(f"{spec}: its extractor does not build: {error.args[0]}") from error


def _distances(protocol: FidProtocol, extractor, bound, sets, store: FeatureCache, progress: bool):
    """Distances of every set under one protocol, and the notes."""
    notes, found, real_features = list(extractor.notes), {}, {}
    for one in sets:
        ids, more = choose_samples(one.layouts, one.samples, protocol, one.name)
        notes += more
        files = one.paths
        paths = [files[i] for i in ids]
        size = protocol.size or common_size(paths, f"synthetic set {one.name!r}")
        common = dict(protocol=protocol, progress=progress)
        if size not in real_features:
            real_paths = list(bound.paths.values())
            real_features[size] = extract_features(
                extractor, real_paths, size=size, name="real", cache=store, **common
            )
            notes += real_features[size].notes
        generated = extract_features(extractor, paths, size=size, name=one.name, generated=True, **common)
        values, more = distances(
            generated, real_features[size], extractor.features, protocol.kernel_metrics, extractor.distance
        )
        found[one.name] = values
        notes += [*generated.notes, *(f"{protocol.name}: {line}" for line in more)]
    return found, notes


def _consistency(sets, predictions, score_thr, iou_thr, resamples, seed) -> dict:
    matches = {
        one.name: consistency.match_objects(predictions[one.name], one.prompted, score_thr, iou_thr)
        for one in sets
    }
    report: dict = {
        "sets": {one.name: consistency.consistency_report(matches[one.name], one.prompted) for one in sets}
    }
    by_name = {one.name: one for one in sets}
    if {"easy", "hard"} <= by_name.keys():
        report["attribute_effect"] = consistency.attribute_effect(
            matches["easy"],
            by_name["easy"].layouts,
            matches["hard"],
            by_name["hard"].layouts,
            resamples=resamples,
            seed=seed,
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
