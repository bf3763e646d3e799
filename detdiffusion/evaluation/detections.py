"""A detector looks at image files: shared out over the processes of a torchrun, kept in a cache."""

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
    """Predictions on image files, in the order of the images; every process gets all of them.

    Whole batches are dealt out, so that no figure depends on the number of processes.

    Args:
        detector: the trained detector.
        images: N image dicts (``id``, ``file_name``, ``width``, ``height``).
        img_dir: folder that ``file_name`` is relative to.
        classes: class name -> category id.
        size: side of the square that files are stretched to first, see
            :func:`~detdiffusion.datasets.image_reading.read_bgr`; the images' sizes are then this one.
        features: also return what the backbone saw, of a detector that ``shows_features``.
        batch_size: default: the detector's.
        cache: where to look first and to store.
        progress: a bar on stderr.
        name: of the set, for the bar.

    Returns:
        ``(predictions, (N, D) float32 features or None)``: the last backbone stage, averaged over positions.

    Raises:
        UserError: a file that is missing, no image, or of another size than its dict says.
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
    own = [images[i] for i in indices]
    settings = dict(
        batch_size=batch_size,
        progress=progress and ranks.is_main,
        reader=partial(read_bgr, size=size),
        name=name,
    )
    if features:
        with detector.pooled_features() as pooled:
            found = detector.predict(own, img_dir, classes, **settings)
        vectors = [vector.numpy() for batch in pooled for vector in batch]
    else:
        found, vectors = detector.predict(own, img_dir, classes, **settings), [None] * len(own)
    rows = [(*columns, vector) for columns, vector in zip(_by_image(found, own), vectors)]
    *columns, vectors = zip(*ranks.gather_in_order(indices, rows))
    arrays = {name: np.concatenate(column) for name, column in zip(_COLUMNS, columns)}
    predictions = Predictions(**arrays)
    if features:
        arrays["features"] = np.stack(vectors)
    cache.store(key, arrays)
    return predictions, arrays.get("features")


def _by_image(found: Predictions, images: Sequence[Mapping]) -> Iterator[tuple[np.ndarray, ...]]:
    """Each image's rows of the four columns."""
    order = np.argsort(found.image_ids, kind="stable")
    sorted_ids = found.image_ids[order]
    for image in images:
        first, last = (np.searchsorted(sorted_ids, image["id"], side) for side in ("left", "right"))
        rows = order[first:last]
        yield tuple(getattr(found, name)[rows] for name in _COLUMNS)
