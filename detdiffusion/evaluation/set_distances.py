"""Distances of generated sets from the real images, on a detector's features and by FID protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from detdiffusion.datasets.image_survey import inspect_images
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
from detdiffusion.evaluation.fidelity import ImageSet
from detdiffusion.evaluation.frechet import FeatureStatistics, frechet_distance
from detdiffusion.evaluation.protocols import PROTOCOLS, FidProtocol, build_protocol
from detdiffusion.evaluation.real_bound import SMALLEST, Reference, describe_bound, halves
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError


def fid_plan(spec: str, weights: str | None, device: str | None) -> tuple[FidProtocol, Any]:
    """Protocol and extractor of a known name or a config file.

    Args:
        spec: a name of :data:`.protocols.PROTOCOLS`, or a config with ``fid = dict(protocol=..., extractor=...)``.
        weights: of an Inception extractor; None takes its default.
        device: torch device.

    Raises:
        UserError: an unknown name, or a config that is none of FID.
    """
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


def bound_notes(bound: ImageSet, sets: Sequence[ImageSet], others: Reference | None) -> list[str]:
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


def detector_distances(
    detector: str,
    bound: ImageSet,
    sets: Sequence[ImageSet],
    vectors: Mapping[str, np.ndarray | None],
    others: Reference | None,
    other_vectors: np.ndarray | None,
) -> tuple[str | None, dict[str, float], str | None, list[str]]:
    """Fréchet distances on the detector's own features.

    Args:
        detector: its name.
        bound: the real images.
        sets: the generated ones.
        vectors: name of a set -> (N, D) features of its images, or None where the detector shows none.
        others: other real images, for the bound.
        other_vectors: their features.

    Returns:
        What the features are, set -> distance, what the row of the real images is, notes; None and no distance
        where the detector shows no features.
    """
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


def protocol_distances(
    protocol: FidProtocol,
    extractor: Any,
    bound: ImageSet,
    sets: Sequence[ImageSet],
    others: Reference | None,
    store: FeatureCache,
    progress: bool,
) -> tuple[dict[str, dict], list[str]]:
    """Distances of every set, and of real images, from the real ones under one protocol.

    Args:
        protocol: how images reach the extractor, and what is computed.
        extractor: of :func:`fid_plan`.
        bound: the real images.
        sets: the generated ones.
        others: other real images, for the bound.
        store: where features are kept.
        progress: bars on stderr.

    Returns:
        Name of a set -> its distances, and notes.
    """
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
