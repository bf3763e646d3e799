"""Distances of generated sets from the real images, with a detector's features and by FID protocols."""

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
    """Build protocol and extractor from the name of a protocol or a config file.

    Args:
        spec: a name of :data:`.protocols.PROTOCOLS`, or a config with ``fid = dict(protocol=..., extractor=...)``.
        weights: weights of an Inception extractor; None for the default.
        device: torch device.

    Raises:
        UserError: the name is unknown, or the config is not a FID config.
    """
    if spec in PROTOCOLS:
        return PROTOCOLS[spec], TorchFidelityExtractor(INCEPTION, weights, device=device)
    if not spec.endswith(".py"):
        build_protocol(spec)  # raises an error that lists the known protocols
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
        raise UserError(f"{spec}: its extractor cannot be built: {error.args[0]}") from error


def bound_notes(bound: ImageSet, sets: Sequence[ImageSet], others: Reference | None) -> list[str]:
    """Return notes on how to interpret the distance between real images."""
    real, largest = len(bound.layouts), max(len(image_set.layouts) for image_set in sets)
    if others is not None:
        count = len(others.images)
        if count < largest:
            return [
                f"real: the reference has {count} images, but sets have up to {largest}; a Fréchet distance increases "
                "as sets get smaller, so the row real overestimates the bound for sets of this size"
            ]
        return []
    if real < SMALLEST:
        return [f"real: {real} images are too few for two halves: the distances have no bound"]
    return [
        f"real: its distances are between halves of {real // 2} images; a Fréchet distance increases as sets get "
        "smaller, so they overestimate the bound for larger sets; to avoid this, give an equal number of other real "
        "images by --real-reference ANN DIR"
    ]


def detector_distances(
    detector: str,
    bound: ImageSet,
    sets: Sequence[ImageSet],
    vectors: Mapping[str, np.ndarray | None],
    others: Reference | None,
    other_vectors: np.ndarray | None,
) -> tuple[str | None, dict[str, float], str | None, list[str]]:
    """Compute Fréchet distances with the detector's features.

    Args:
        detector: name of the detector.
        bound: the real images.
        sets: the generated sets.
        vectors: (N, D) features of each set's images by name, or None if the detector provides no features.
        others: other real images, for the bound.
        other_vectors: their features.

    Returns:
        Description of the features, distances by set, description of the row of the real images, and notes. Without
        features, the descriptions are None and there are no distances.
    """
    if vectors["real"] is None:
        return (
            None,
            {},
            None,
            ["the detector provides no features, so its Fréchet distance is not computed; use --fid"],
        )
    real = SetFeatures(vectors["real"], "real")
    width = real.vectors.shape[1]
    features = f"{detector}: last backbone stage, mean over positions, {width} values"

    def between(a: np.ndarray, b: np.ndarray) -> float:
        return frechet_distance(FeatureStatistics.fit(b, features), FeatureStatistics.fit(a, features))

    found = {image_set.name: between(vectors[image_set.name], real.vectors) for image_set in sets}
    pair, used, real_row = halves(real, list(bound.layouts)), 0, None
    if others is not None:
        pair, used = (SetFeatures(other_vectors, "real"), real), len(others.images)
    counts = [len(v) for v in vectors.values()]
    if pair is not None:
        found["real"] = between(pair[0].vectors, pair[1].vectors)
        real_row = describe_bound(found["real"], len(real.vectors), width, others, used)
        counts += [len(half.vectors) for half in pair]
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
    """Compute the distances of all sets, and of the bound, from the real images under one protocol.

    Args:
        protocol: preprocessing of the images, and the metrics to compute.
        extractor: extractor built by :func:`fid_plan`.
        bound: the real images.
        sets: the generated sets.
        others: other real images, for the bound.
        store: cache of the features.
        progress: show progress bars on stderr.

    Returns:
        Distances by name of the set, and notes.
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
    for image_set in sets:
        chosen, more = choose_samples(image_set.layouts, image_set.samples, protocol, image_set.name)
        files, most = image_set.paths, max(most, len(chosen))
        paths = [files[i] for i in chosen]
        facts = inspect_images(paths)
        notes += more + format_notes(facts, protocol, image_set.name)
        size = protocol.size or common_size(facts, f"synthetic set {image_set.name!r}")
        if size not in real_features:
            real_features[size] = extract(list(bound.paths.values()), size=size, name="real")
        generated = extract(paths, size=size, name=image_set.name)
        found[image_set.name], more = compare(generated, real_features[size])
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
