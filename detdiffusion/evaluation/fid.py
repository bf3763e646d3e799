"""Distances between generated and real images under a named protocol: FID, KID, precision and recall."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detdiffusion.datasets.image_reading import read_rgb
from detdiffusion.datasets.image_survey import ImageFacts
from detdiffusion.evaluation.extractors import import_torch_fidelity
from detdiffusion.evaluation.feature_cache import FeatureCache
from detdiffusion.evaluation.frechet import FeatureStatistics, frechet_distance
from detdiffusion.evaluation.image_pixels import protocol_pixels
from detdiffusion.evaluation.protocols import FidProtocol
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.progress import Progress
from detdiffusion.utils.ranks import Ranks

KID_SUBSETS, KID_SUBSET_SIZE, KID_SEED, NEIGHBOURS = 100, 1000, 2020, 3


@dataclass
class SetFeatures:
    """Features of one set's images.

    Attributes:
        vectors: (N, D) float32.
        name: name of the set.
    """

    vectors: np.ndarray
    name: str


def common_size(facts: ImageFacts, what: str) -> tuple[int, int]:
    """Return the (height, width) of all images of a set.

    Raises:
        UserError: the sizes differ.
    """
    ordered = sorted(facts.sizes.items(), key=lambda item: -len(item[1]))
    (first, most), (second, fewest) = ordered[0], ordered[-1]
    if first != second:
        raise UserError(
            f"{what}: its images have {len(ordered)} sizes, {len(most)} of {first[0]} x {first[1]} pixels and "
            f"{len(fewest)} of {second[0]} x {second[1]} ({fewest[0]}); this protocol needs images of one size; "
            "generate them with one `height` and `width`, or choose a protocol with a fixed size"
        )
    return first[1], first[0]


def format_notes(facts: ImageFacts, protocol: FidProtocol, name: str) -> list[str]:
    """Return a note if generated images have another file format than the protocol requires."""
    wrong = {kind: count for kind, count in sorted(facts.formats.items()) if kind != protocol.file_format}
    if not wrong:
        return []
    listed = ", ".join(f"{count} {kind}" for kind, count in wrong.items())
    return [f"{name}: {listed} images, but protocol {protocol.name} requires {protocol.file_format}"]


def extract_features(
    extractor: Callable[[torch.Tensor], torch.Tensor],
    paths: Sequence[Path],
    protocol: FidProtocol,
    size: tuple[int, int],
    name: str,
    batch_size: int = 32,
    cache: FeatureCache | None = None,
    progress: bool = True,
) -> SetFeatures:
    """Extract features of image files under a protocol, distributed over the ranks of torchrun.

    Args:
        extractor: see :mod:`.extractors`.
        paths: N image files.
        protocol: preprocessing of the images.
        size: (height, width) of the protocol's first resize.
        name: name of the set, for messages.
        batch_size: images per batch; it affects the last bits of the features.
        cache: cache of the features.
        progress: show a progress bar on stderr.

    Raises:
        UserError: there are no images, a file is not an image, or features are not finite.
    """
    if not paths:
        raise UserError(f"{name}: no images to extract features from")
    cache = cache or FeatureCache(None)
    identity = dict(
        extractor=extractor.identity, size=size, batch_size=batch_size, protocol=protocol.to_dict()
    )
    key = cache.key(paths, identity)
    stored = cache.load(key)
    if stored is not None:
        return SetFeatures(stored["vectors"], name)
    ranks = Ranks.current()
    indices, rows = ranks.own_indices(len(paths), batch_size), []
    bar = Progress(f"features: {name}", total=len(indices), enabled=progress and ranks.is_main)

    def load(index: int) -> np.ndarray:
        return protocol_pixels(read_rgb(paths[index]), protocol, size)

    with bar, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            images = torch.from_numpy(np.stack(list(pool.map(load, batch)))).permute(0, 3, 1, 2)
            rows += list(extractor(images).numpy())
            bar.advance(len(batch))
    vectors = np.stack(ranks.gather_in_order(indices, rows))
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors).all(axis=1)).sum())
        raise UserError(f"{name}: {bad} feature vectors contain nan or infinity ({extractor.features})")
    cache.store(key, dict(vectors=vectors))
    return SetFeatures(vectors, name)


def distances(
    generated: SetFeatures, real: SetFeatures, features: str, kernel_metrics: bool, name: str = "fid"
) -> tuple[dict[str, float], list[str]]:
    """Compute FID and optionally KID, precision and recall of a generated set and the real one.

    FID is :func:`~detdiffusion.evaluation.frechet.frechet_distance` in float64. KID (polynomial kernel, 100 subsets
    of up to 1,000, seed 2020) and precision and recall (3 neighbours) are computed by torch-fidelity.

    Args:
        generated, real: features of the same extractor and protocol.
        features: description of the features.
        kernel_metrics: whether to compute KID, precision and recall.
        name: name of the distance, the extractor's ``distance``.

    Returns:
        ``(metrics, notes)``: ``fid`` (or ``name``), ``kid``, ``kid_std``, ``precision``, ``recall``, ``images``,
        ``real_images``; the notes warn about unreliable values.
    """
    fitted = [FeatureStatistics.fit(s.vectors, features) for s in (generated, real)]
    metrics: dict[str, float] = {name: frechet_distance(*fitted)}
    metrics.update(images=len(generated.vectors), real_images=len(real.vectors))
    notes = []
    smallest, width = min(len(generated.vectors), len(real.vectors)), real.vectors.shape[1]
    if smallest <= width:
        notes.append(
            f"{generated.name}: distance of {len(generated.vectors)} images from {len(real.vectors)} real ones for "
            f"{width} features: with no more images than features the covariance is singular and the distance is "
            "too large by an amount that depends on the counts; compare it only with values of equal counts"
        )
    if kernel_metrics:
        import_torch_fidelity()
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
        from torch_fidelity.metric_prc import prc_features_to_metric

        a, b = (torch.from_numpy(s.vectors.astype(np.float64)) for s in (generated, real))
        subset = min(KID_SUBSET_SIZE, smallest)
        options = dict(kid_subsets=KID_SUBSETS, kid_subset_size=subset, rng_seed=KID_SEED, verbose=False)
        kid = kid_features_to_metric(a, b, **options)
        metrics.update(kid=kid[KEY_METRIC_KID_MEAN], kid_std=kid[KEY_METRIC_KID_STD], kid_subset_size=subset)
        if subset < KID_SUBSET_SIZE:
            notes.append(
                f"{generated.name}: KID with subsets of only {subset} images, all that are available"
            )
        if smallest > NEIGHBOURS:
            prc = prc_features_to_metric(a, b, prc_neighborhood=NEIGHBOURS, verbose=False)
            metrics.update(precision=prc["precision"], recall=prc["recall"])
        else:
            notes.append(f"{generated.name}: precision and recall need more than {NEIGHBOURS} images")
    return metrics, notes


def choose_samples(
    layouts: dict[int, int], samples: dict[int, int], protocol: FidProtocol, name: str
) -> tuple[list[int], list[str]]:
    """Choose the images that are evaluated under a protocol: the first samples of every layout.

    Args:
        layouts: layouts by image id.
        samples: sample indices by image id.
        protocol: sets the number of samples.
        name: name of the set, for notes.

    Returns:
        ``(ids, notes)``; the notes list deviations from the protocol.
    """
    by_layout: dict[int, list[int]] = {}
    for image_id, layout in layouts.items():
        by_layout.setdefault(layout, []).append(image_id)
    chosen, fewer, more = [], 0, 0
    for ids in by_layout.values():
        ids.sort(key=lambda i: (samples.get(i, 0), i))
        fewer += len(ids) < protocol.images_per_layout
        more += max(0, len(ids) - protocol.images_per_layout)
        chosen += ids[: protocol.images_per_layout]
    notes = []
    if protocol.layouts is not None and len(by_layout) != protocol.layouts:
        notes.append(
            f"{name}: DEVIATES from protocol {protocol.name}: {len(by_layout)} layouts instead of {protocol.layouts}"
        )
    if fewer:
        notes.append(
            f"{name}: DEVIATES from protocol {protocol.name}: {fewer} of {len(by_layout)} layouts have fewer than "
            f"{protocol.images_per_layout} images (tools/generate.py --samples-per-image {protocol.images_per_layout})"
        )
    if more:
        notes.append(
            f"{name}: {more} images beyond {protocol.images_per_layout} per layout are not used for FID"
        )
    return chosen, notes
