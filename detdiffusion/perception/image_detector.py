"""Base class of detectors: checks the image files, shows progress, caches predictions and maps class names.

A subclass runs its model on batches of images and returns its own labels; the base class converts them to
:class:`Predictions` with the category ids of the annotation file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from detdiffusion.datasets.image_reading import reading_identity
from detdiffusion.datasets.image_survey import ImageFacts, check_present, inspect_images
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.image_rules import rules_of_config
from detdiffusion.utils.progress import Progress

from .prediction_cache import PredictionCache
from .predictions import UNKNOWN_CATEGORY, Predictions

# An image's detections: image id, (D,) int64 labels, (D, 4) float64 xyxy in the file's pixels, (D,) scores.
Detected = tuple[int, np.ndarray, np.ndarray, np.ndarray]
# Reads an image file: path -> (H, W, 3) uint8, BGR.
Reader = Callable[[Path], np.ndarray]


class ImageDetector:
    """Base class of detectors.

    Attributes:
        name: path of its config, for messages.
        classes: class names in label order.
        config: its config, whose rules for image files apply, see :mod:`~detdiffusion.utils.image_rules`.
        default_batch_size: default batch size of :meth:`predict`.
        shows_features: whether it has ``pooled_features``, see :class:`~.detector.MMDetDetector`.
    """

    name: str
    classes: tuple[str, ...]
    config: Mapping = {}
    default_batch_size: int = 1
    shows_features: bool = False

    def identity(self) -> dict:
        """Return everything that affects the predictions, as json values: the key of cached predictions."""
        raise NotImplementedError

    def describe(self) -> dict:
        """Return the description of the detector in an attributes file: config, checkpoint, checksum and classes."""
        raise NotImplementedError

    def settings(self) -> dict:
        """Return the settings that affect its boxes, apart from the weights, as json values for reports.

        Returns:
            ``type`` and ``network``; ``score_thr`` and ``nms`` (``type``, ``iou_threshold``), None if it has none;
            and ``pipeline``, the preprocessing of images.
        """
        raise NotImplementedError

    def detect(
        self,
        images: Sequence[dict],
        img_dir: Path,
        batch_size: int,
        num_workers: int,
        reader: Reader | None = None,
    ) -> Iterator[Detected]:
        """Yield the detections of each image, in the images' order."""
        raise NotImplementedError

    def predict(
        self,
        images: Sequence[dict],
        img_dir: str | Path,
        category_ids: Mapping[str, int],
        *,
        batch_size: int | None = None,
        num_workers: int = 0,
        progress: bool = True,
        cache: str | Path | None = None,
        reader: Reader | None = None,
        name: str = "",
    ) -> Predictions:
        """Detect objects in the images of a COCO file.

        Args:
            images: COCO image dicts (``id``, ``file_name``, ``width``, ``height``).
            img_dir: folder that ``file_name`` is relative to.
            category_ids: category ids of the annotation file by class name. Predictions of other classes get
                :data:`UNKNOWN_CATEGORY`, as class-agnostic matching uses them.
            batch_size: default: :attr:`default_batch_size`.
            num_workers: number of processes that load images.
            progress: show a progress bar on stderr.
            cache: folder where finished chunks are stored. A killed run resumes from it, and later runs with the same
                images and detector read it instead of running the detector. None disables the cache.
            reader: reads the image files instead of the detector; the sizes of ``images`` must be those of the arrays
                that it returns. Not together with ``cache``.
            name: name of the set, for the progress bar.

        Raises:
            UserError: an image is missing, unreadable or of another size than annotated; the cache folder cannot be
                written; or detections are not valid, see :func:`check_detected`.
        """
        if reader is not None and cache is not None:
            raise ValueError(
                "predictions are not cached if a reader is given; pass one of `reader` and `cache`"
            )
        with rules_of_config(self.config, self.name):
            found, facts, reused = self._detect_all(
                images, Path(img_dir), batch_size, num_workers, progress, cache, reader, name
            )
        predictions = self._predictions(found, category_ids)
        predictions.report.update(facts.conversions)
        if reused:
            predictions.report["images whose predictions were at hand from an earlier run"] = reused
        return predictions

    def _detect_all(
        self,
        images: Sequence[dict],
        img_dir: Path,
        batch_size: int | None,
        num_workers: int,
        progress: bool,
        cache: str | Path | None,
        reader: Reader | None,
        name: str,
    ) -> tuple[list[Detected], ImageFacts, int]:
        """Return the detections in the images' order, facts about the files, and the number of cached images."""
        check_present(images, img_dir)
        identity = {**self.identity(), "reading": reading_identity()}
        store = PredictionCache(cache, identity, images, img_dir)
        chunks = {number: store.load(number) for number in range(len(store))}
        pending = [number for number, stored in chunks.items() if stored is None]
        todo = [image for number in pending for image in store.images_of(number)]
        facts = ImageFacts()
        if reader is None:  # before a long run
            facts = inspect_images([Path(img_dir) / image["file_name"] for image in todo], todo)
        title = f"detecting {name}".rstrip()
        with Progress(title, total=len(images), done=store.reused, enabled=progress) as bar:
            stream = self.detect(todo, img_dir, batch_size or self.default_batch_size, num_workers, reader)
            for number in pending:
                chunks[number] = []
                for detected in itertools.islice(stream, len(store.images_of(number))):
                    check_detected(self.name, f"image id {detected[0]}", *detected[1:], len(self.classes))
                    chunks[number].append(detected)
                    bar.advance()
                store.save(number, chunks[number])
        return list(itertools.chain(*chunks.values())), facts, store.reused

    def _predictions(self, found: Sequence[Detected], category_ids: Mapping[str, int]) -> Predictions:
        to_category = np.array([category_ids.get(name, UNKNOWN_CATEGORY) for name in self.classes], np.int64)
        counts = [len(scores) for _, _, _, scores in found]
        columns = (
            np.repeat(np.array([image_id for image_id, *_ in found], np.int64), counts),
            to_category[np.concatenate([[], *(labels for _, labels, _, _ in found)]).astype(np.int64)],
            np.concatenate([np.zeros((0, 4)), *(boxes for _, _, boxes, _ in found)]).astype(np.float64),
            np.concatenate([[], *(scores for *_, scores in found)]).astype(np.float64),
        )
        predictions = Predictions(*columns)
        unknown = int((predictions.category_ids == UNKNOWN_CATEGORY).sum())
        if unknown:
            predictions.report["predictions of classes that the annotation files lack"] = unknown
        return predictions


def check_size(path: Path, image: Mapping, width: int, height: int) -> None:
    """Raise a UserError if the image's size differs from that in the annotation file."""
    if (height, width) != (image["height"], image["width"]):
        raise UserError(
            f"{path} (image id {image['id']}): the file has {width} x {height} pixels, but the "
            f"annotation file says {image['width']} x {image['height']}; correct one of them"
        )


def check_detected(
    name: str, item: str, labels: np.ndarray, boxes: np.ndarray, scores: np.ndarray, classes: int
) -> None:
    """Check that the detections of an image are finite and in range, for every detector.

    Args:
        name: path of the detector's config, for the message.
        item: the image, for the message.
        labels, boxes, scores: (D,) from 0 to ``classes`` - 1, (D, 4) finite xyxy, (D,) in [0, 1].
        classes: number of class names.

    Raises:
        UserError: a value is not finite or out of range.
    """
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise UserError(
            f"{name}: {item}: the detector returned boxes or scores that are NaN or infinite; its weights are damaged, "
            "or its computation overflows"
        )
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        wrong = scores.min() if scores.min() < 0 else scores.max()
        raise UserError(
            f"{name}: {item}: the detector returned a score of {wrong:.6g}; scores must lie in [0, 1]"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(
            f"{name}: {item}: the detector returned label {wrong}, but has only {classes} class names; its classes do "
            "not match its weights"
        )
