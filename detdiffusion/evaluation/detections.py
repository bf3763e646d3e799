"""Detection on image files, distributed over the ranks of torchrun and cached on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from detdiffusion.datasets.image_reading import read_bgr
from detdiffusion.evaluation.feature_cache import FeatureCache
from detdiffusion.perception.image_detector import ImageDetector
from detdiffusion.perception.predictions import Predictions
from detdiffusion.utils.ranks import Ranks

_COLUMNS = ("image_ids", "category_ids", "boxes", "scores")


def detect_images(
    detector: ImageDetector,
    images: Sequence[Mapping],
    img_dir: Path,
    classes: Mapping[str, int],
    *,
    size: int | None = None,
    features: bool = False,
    batch_size: int | None = None,
    cache: FeatureCache | None = None,
    progress: bool = True,
    name: str = "",
) -> tuple[Predictions, np.ndarray | None]:
    """Detect objects in image files; every rank returns the predictions of all images, in order.

    Ranks get complete batches, so that results do not depend on the number of ranks.

    Args:
        detector: the trained detector.
        images: N image dicts (``id``, ``file_name``, ``width``, ``height``).
        img_dir: folder that ``file_name`` is relative to.
        classes: category ids by class name.
        size: resize the images to a square of this side first, see
            :func:`~detdiffusion.datasets.image_reading.read_bgr`; ``width`` and ``height`` must then be ``size``.
        features: also return backbone features; the detector must have ``shows_features``.
        batch_size: default: the detector's.
        cache: cache of the results.
        progress: show a progress bar on stderr.
        name: name of the set, for the progress bar.

    Returns:
        ``(predictions, features)``: the features are the last backbone stage averaged over positions, (N, D) float32,
        or None.

    Raises:
        UserError: a file is missing, is not an image, or has another size than its dict.
    """
    cache, batch_size = cache or FeatureCache(None), batch_size or detector.default_batch_size
    identity = dict(
        detector=detector.identity(),
        classes=dict(classes),
        images=[(image["id"], image["width"], image["height"]) for image in images],
        size=size,
        features=features,
        batch_size=batch_size,
    )
    key = cache.key([img_dir / image["file_name"] for image in images], identity)
    stored = cache.load(key)
    if stored is not None:
        return Predictions(*(stored[name] for name in _COLUMNS)), stored.get("features")
    ranks = Ranks.current()
    indices = ranks.own_indices(len(images), batch_size)
    share = [images[i] for i in indices]
    settings = dict(
        batch_size=batch_size,
        progress=progress and ranks.is_main,
        reader=partial(read_bgr, size=size),
        name=name,
    )
    if features:
        with detector.pooled_features() as pooled:
            found = detector.predict(share, img_dir, classes, **settings)
        vectors = [vector.numpy() for batch in pooled for vector in batch]
    else:
        found, vectors = detector.predict(share, img_dir, classes, **settings), [None] * len(share)
    rows = [(*columns, vector) for columns, vector in zip(_by_image(found, share), vectors)]
    *columns, vectors = zip(*ranks.gather_in_order(indices, rows))
    arrays = {name: np.concatenate(column) for name, column in zip(_COLUMNS, columns)}
    predictions = Predictions(**arrays)
    if features:
        arrays["features"] = np.stack(vectors)
    cache.store(key, arrays)
    return predictions, arrays.get("features")


def _by_image(found: Predictions, images: Sequence[Mapping]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the rows of the four columns for each image."""
    order = np.argsort(found.image_ids, kind="stable")
    sorted_ids = found.image_ids[order]
    for image in images:
        first, last = (np.searchsorted(sorted_ids, image["id"], side) for side in ("left", "right"))
        rows = order[first:last]
        yield tuple(getattr(found, name)[rows] for name in _COLUMNS)
