"""Where the predictions on a labelled set come from: a detector that looks at its images, or a file of its results."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.datasets.class_names import class_list
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.files import sha256_of

from .detector_factory import load_detector
from .predictions import Predictions, read_results


@dataclass
class SetPredictions:
    """Predictions on a set, and what is known of the detector that made them.

    Attributes:
        predictions: on the set's images.
        nameable: ids of the set's categories that the detector can name.
        detector: how files of results name the detector, as json values.
    """

    predictions: Predictions
    nameable: set[int]
    detector: dict


@dataclass(frozen=True)
class PredictionSource:
    """A detector, or the results that one left.

    Attributes:
        config, checkpoint: a detector, see :func:`.detector_factory.load_detector`; or
        results: a COCO results json.
        detector_classes: with ``results``: the names that the detector knows, or one text file with a name a line;
            None takes the categories that occur in the results.
        cache, batch_size, num_workers: of a detector, see :meth:`.image_detector.ImageDetector.predict`.
        device, cfg_options: of a detector.
    """

    config: str | Path | None = None
    checkpoint: str | Path | None = None
    results: str | Path | None = None
    detector_classes: Sequence[str] | None = None
    cache: str | Path | None = None
    batch_size: int | None = None
    num_workers: int = 0
    device: str | None = None
    cfg_options: Sequence[str] | None = None

    def predict(
        self,
        images: Sequence[dict],
        category_ids: Mapping[str, int],
        img_dir: str | Path | None,
        ann_files: Iterable[str | Path],
    ) -> SetPredictions:
        """Predictions on a set's images.

        Args:
            images: COCO image dicts.
            category_ids: class name -> category id of the set.
            img_dir: folder of the images; not needed with ``results``.
            ann_files: of the set, for messages.

        Raises:
            UserError: anything wrong with the files, or a detector that names none of the set's categories.
        """
        if self.results is not None:
            found = read_results(
                self.results, {image["id"]: image for image in images}, set(category_ids.values())
            )
            nameable = _nameable_ids(found, self.detector_classes, category_ids, self.results)
            detector = {"predictions": str(self.results), "sha256": sha256_of(self.results)}
            return SetPredictions(found, nameable, detector)
        model = load_detector(self.config, self.checkpoint, self.device, self.cfg_options)
        nameable = {category_ids[name] for name in model.classes if name in category_ids}
        if not nameable:
            raise UserError(
                f"{self.checkpoint}: none of the detector's {len(model.classes)} classes ({some(model.classes, 5)}) "
                f"is a category of {', '.join(map(str, ann_files))} ({some(category_ids, 5)}): it could not name a "
                "single object"
            )
        found = model.predict(
            images,
            img_dir,
            category_ids,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            cache=self.cache,
        )
        return SetPredictions(found, nameable, model.describe())


def _nameable_ids(
    found: Predictions,
    detector_classes: Sequence[str] | None,
    category_ids: Mapping[str, int],
    path: str | Path,
) -> set[int]:
    """Category ids that a detector known only by its results can name."""
    if detector_classes is None:
        nameable = set(found.category_ids.tolist())
        if not nameable:
            raise UserError(
                f"{path}: has no prediction, so the classes that the detector can name are unknown; "
                "name them by --detector-classes"
            )
        return nameable
    detector_classes = class_list(detector_classes, "--detector-classes")
    if len(detector_classes) == 1 and detector_classes[0].endswith(".txt"):
        detector_classes = _read_lines(detector_classes[0])
    for name in detector_classes:
        if name not in category_ids:
            near = difflib.get_close_matches(name, category_ids, n=3)
            hint = f"near matches: {', '.join(near)}" if near else f"it has {some(category_ids, 5)}"
            raise UserError(f"--detector-classes: no category {name!r} in the annotation files; {hint}")
    nameable = {category_ids[name] for name in detector_classes}
    names = {key: name for name, key in category_ids.items()}
    extra = sorted(names[key] for key in set(found.category_ids.tolist()) - nameable)
    if extra:
        raise UserError(
            f"{path}: has predictions of {some(extra, 5)}, which --detector-classes leaves out; add the name(s)"
        )
    return nameable


def _read_lines(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise UserError(f"--detector-classes {path}: cannot be read: {err}") from None
    return [line.strip() for line in lines if line.strip()]
