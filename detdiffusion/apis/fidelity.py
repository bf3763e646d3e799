"""Fidelity of synthetic sets: AP, Fréchet and kernel distances, consistency: tools/evaluate_fidelity.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from detdiffusion.datasets.image_survey import inspect_images
from detdiffusion.evaluation import consistency, fidelity
from detdiffusion.evaluation.attribute_effect import attribute_effect
from detdiffusion.evaluation.detections import detect_images
from detdiffusion.evaluation.extractors import INCEPTION, TorchFidelityExtractor, build_extractor
from detdiffusion.evaluation.feature_cache import FeatureCache
from detdiffusion.evaluation.fid import (
    SetFeatures,
    choose_samples,
    common_size,
    distances,
    extract_features,
    format_notes,
)
from detdiffusion.evaluation.frechet import FeatureStatistics, frechet_distance
from detdiffusion.evaluation.generated_sets import check_names
from detdiffusion.evaluation.protocols import PROTOCOLS, FidProtocol, build_protocol
from detdiffusion.evaluation.real_bound import SMALLEST, Reference, describe_bound, halves, read_reference
from detdiffusion.evaluation.results import result_file
from detdiffusion.perception.detector_factory import load_detector
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.ranks import Ranks


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
    real_reference: tuple[str, str] | None = None,
    cfg_options: Sequence[str] | None = None,
) -> dict | None:
    """Scores synthetic sets beside the real images of the same layouts; under torchrun the work is shared out.

    Args:
        detector: (config, checkpoint) of an mmdet detector or an ONNX one, see :func:`load_detector`.
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
        cache: folder for what the networks said of the images; default ``out/cache``.
        progress: bars on stderr.
        real_reference: (COCO json, folder) of other real images, for the bound of the distances; default: one half
            of the real images against the other, see :mod:`~detdiffusion.evaluation.real_bound`.
        cfg_options: ``key=value`` overrides of the detector's config.

    Returns:
        The content of ``fidelity.json``; None on all processes but the first.

    Raises:
        UserError: anything wrong with the input, see the parts.
    """
    check_names(synthetic, "--synthetic")
    ranks = Ranks.join()
    device = ranks.device(device)
    finder = load_detector(*detector, device, cfg_options)
    plans = [_fid_plan(spec, extractor_weights, device) for spec in fid]
    names = [protocol.name for protocol, _ in plans]
    if len(set(names)) != len(names):
        raise UserError(f"--fid: every protocol once, got {', '.join(names)}")
    bound, sets, notes = fidelity.load_sets(real, real_images, synthetic, finder.classes)
    classes = {c["name"]: c["id"] for c in bound.prompted["categories"]}
    for one in (bound, *sets):
        notes += inspect_images(one.paths.values()).notes(one.name)
    others = None
    if real_reference is not None:
        others = read_reference(*real_reference, max(len(s.layouts) for s in sets), bound.paths.values())
        notes += inspect_images(others.paths(len(others.images))).notes("real reference")
    notes += _bound_notes(bound, sets, others)
    store = FeatureCache(Path(out) / "cache" if cache is None else cache)

    look = partial(detect_images, finder, classes=classes, cache=store, progress=progress)
    look = partial(look, features=finder.shows_features)
    predictions, vectors = {}, {}
    for one in (bound, *sets):
        found, vectors[one.name] = look(one.prompted["images"], one.img_dir, name=one.name)
        predictions[one.name] = found.to_coco_results()
    other_vectors = None
    if others is not None and finder.shows_features:
        other_vectors = look(others.images, others.img_dir, name="real reference")[1]
    measured: dict[str, dict] = {one.name: {} for one in (bound, *sets)}
    for protocol, extractor in plans:
        found, more = _distances(protocol, extractor, bound, sets, others, store, progress)
        notes += more
        for name, values in found.items():
            measured[name][protocol.name] = values
    if not ranks.is_main:
        return None

    scores = {one.name: fidelity.score_set(one, predictions[one.name]) for one in (bound, *sets)}
    label = Path(detector[0]).stem
    features, found, real_row, more = _detector_distances(label, bound, sets, vectors, others, other_vectors)
    notes += more
    for name, row in scores.items():
        if name in found:
            row["frechet"] = found[name]
        row["distances"] = measured[name]
    protocol = {
        "name": f"prompted objects, {label}",
        "detector": {
            "config": str(detector[0]),
            "checkpoint": str(detector[1]),
            "checkpoint_sha256": finder.describe()["sha256"],
            "classes": list(finder.classes),
            **finder.settings(),
        },
        "real": str(real),
        "synthetic": {name: str(folder) for name, folder in synthetic.items()},
        "scored_classes": list(classes),
        "bbox_mAP": "COCO AP of the prompted objects; other objects of a real image are ignored regions",
        "bbox_mAP_full": "COCO AP against every object of the source image, boxes scaled to the image",
        "frechet_features": features,
        "frechet_reference": features and f"the {len(bound.layouts)} real images of the same layouts",
        "frechet_bound": real_row,
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
        list(dict.fromkeys(notes)),
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
    try:
        return protocol, build_extractor(extractor, device)
    except (KeyError, TypeError) as error:
        raise UserError(f"{spec}: its extractor does not build: {error.args[0]}") from error


def _bound_notes(bound, sets, others: Reference | None) -> list[str]:
    """What has to be known to read the distance of real images from real images."""
    real, largest = len(bound.layouts), max(len(one.layouts) for one in sets)
    if others is not None:
        count = len(others.images)
        if count < largest:
            return [
                f"real: the reference has {count} images, sets have up to {largest}; a Fréchet distance grows as "
                "sets get smaller, so the row real is above the bound of sets of their size"
            ]
        return []
    if real < SMALLEST:
        return [f"real: {real} images are too few for two halves: the distances have no bound"]
    return [
        f"real: its distances are between halves of {real // 2} images; a Fréchet distance grows as sets get smaller, "
        "so they are above the bound of sets of more images; take other real images in equal number by "
        "--real-reference ANN DIR"
    ]


def _detector_distances(
    detector: str,
    bound,
    sets,
    vectors: Mapping[str, np.ndarray | None],
    others: Reference | None,
    other_vectors: np.ndarray | None,
):
    """Fréchet distances on the detector's own features: their name, set -> distance, what the row real is, notes."""
    if vectors["real"] is None:
        return (
            None,
            {},
            None,
            ["the detector shows no features: no Fréchet distance beside its AP; use --fid"],
        )
    real = SetFeatures(vectors["real"], "real")
    width = real.vectors.shape[1]
    features = f"{detector}: last backbone stage, mean over positions, {width} values"

    def between(a: np.ndarray, b: np.ndarray) -> float:
        return frechet_distance(FeatureStatistics.fit(b, features), FeatureStatistics.fit(a, features))

    found = {one.name: between(vectors[one.name], real.vectors) for one in sets}
    pair, used, real_row = halves(real, list(bound.layouts)), 0, None
    if others is not None:
        pair, used = (SetFeatures(other_vectors, "real"), real), len(others.images)
    counts = [len(v) for v in vectors.values()]
    if pair is not None:
        found["real"] = between(pair[0].vectors, pair[1].vectors)
        real_row = describe_bound(found["real"], len(real.vectors), width, others, used)
        counts += [len(one.vectors) for one in pair]
    notes = []
    if min(counts) <= width:
        notes.append(
            f"Fréchet distance: only {min(counts)} images for {width} features; compare such values only with those "
            "of equal counts"
        )
    return features, found, real_row, notes


def _distances(
    protocol: FidProtocol,
    extractor,
    bound,
    sets,
    others: Reference | None,
    store: FeatureCache,
    progress: bool,
):
    """Distances of every set and of real images from the real ones under one protocol, and the notes."""
    notes, found, real_features = list(extractor.notes), {}, {}
    ids, most = list(bound.layouts), 0
    extract = partial(extract_features, extractor, protocol=protocol, cache=store, progress=progress)
    compare = partial(
        distances,
        features=extractor.features,
        kernel_metrics=protocol.kernel_metrics,
        name=extractor.distance,
    )
    for one in sets:
        chosen, more = choose_samples(one.layouts, one.samples, protocol, one.name)
        files, most = one.paths, max(most, len(chosen))
        paths = [files[i] for i in chosen]
        facts = inspect_images(paths)
        notes += more + format_notes(facts, protocol, one.name)
        size = protocol.size or common_size(facts, f"synthetic set {one.name!r}")
        if size not in real_features:
            real_features[size] = extract(list(bound.paths.values()), size=size, name="real")
        generated = extract(paths, size=size, name=one.name)
        found[one.name], more = compare(generated, real_features[size])
        notes += [f"{protocol.name}: {line}" for line in more]
    size, real = next(iter(real_features.items()))
    pair, count = halves(real, ids), 0
    if others is not None:
        paths = others.paths(most)
        pair, count = (extract(paths, size=size, name="real"), real), len(paths)
    if pair is not None:
        values, more = compare(*pair)
        width = real.vectors.shape[1]
        found["real"] = dict(
            values, bound=describe_bound(values[extractor.distance], len(ids), width, others, count)
        )
        notes += [f"{protocol.name}: {line}" for line in more]
    if len(real_features) > 1:
        notes.append(
            f"{protocol.name}: sets have {len(real_features)} sizes; the row real is at {size[1]} x {size[0]} pixels, "
            f"the size of {sets[0].name}"
        )
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
        report["attribute_effect"] = attribute_effect(
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
