"""Settings that several tools share, so that their flags have the same meaning everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .option_groups import OptionGroup, documented, option

BATCH_SIZE = dict(metavar="N", minimum=1)
"""Arguments of :func:`option` for every ``--batch-size``."""
ANNOTATIONS = dict(metavar="ANN.json", repeat=True)
"""Arguments of :func:`option` for every ``--ann``."""
IMAGE_FOLDER = dict(metavar="DIR")
"""Arguments of :func:`option` for every ``--img-dir``."""
DETECTOR = dict(
    help="an mmdet config and its checkpoint, or a config of configs/onnx and an .onnx file",
    metavar=("CONFIG", "WEIGHTS"),
    nargs=2,
)
"""Arguments of :func:`option` for every ``--detector``."""


@documented
@dataclass(frozen=True, kw_only=True)
class ConfigOptions(OptionGroup):
    """Overrides of a config."""

    cfg_options: Sequence[str] | None = option(
        None, "overrides of the config, e.g. a.b=1 c=[x,y]", metavar="KEY=VALUE", nargs="+"
    )


@documented
@dataclass(frozen=True, kw_only=True)
class ModelOptions(ConfigOptions):
    """The device that a config's model runs on."""

    device: str | None = option(
        None, "torch device (default: cuda where available, else cpu)", metavar="NAME"
    )


@documented
@dataclass(frozen=True, kw_only=True)
class DetectorOptions(ModelOptions):
    """A trained detector, see :func:`detdiffusion.perception.load_detector`."""

    detector: tuple[str, str] = option(**DETECTOR)
    batch_size: int | None = option(
        None,
        "images per batch (default: the config's test_dataloader; for ONNX the model's, else 8)",
        **BATCH_SIZE,
    )


@documented
@dataclass(frozen=True, kw_only=True)
class PredictionOptions(DetectorOptions):
    """Predictions for images: either a detector to run, or its results.

    Raises:
        UserError: if neither or both are given, or settings of one are combined with the other.
    """

    detector: tuple[str, str] | None = option(None, **DETECTOR)
    predictions: str | Path | None = option(
        None, "COCO results json of a detector, instead of the detector itself", metavar="RESULTS.json"
    )
    detector_classes: Sequence[str] | None = option(
        None,
        "with `predictions`: the detector's classes, or a text file with one class per line (default: the "
        "categories that occur in the results)",
        metavar="NAME",
        nargs="+",
    )
    num_workers: int = option(0, "image loading processes, default: %(default)s", metavar="N", minimum=0)
    cache: str | Path | None = option(
        None,
        "folder to cache predictions in, so that an interrupted run can resume and other thresholds need no new "
        "inference (default: next to the output, its name with .predictions)",
        metavar="DIR",
    )
    no_cache: bool = option(False, "do not cache predictions: an interrupted run starts from scratch")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.detector is None) == (self.predictions is None):
            both = "" if self.detector is None else ", not both"
            raise UserError(f"give a detector by `detector`, or its results by `predictions`{both}")
        if self.predictions is None:
            if self.detector_classes is not None:
                raise UserError("`detector_classes` is for `predictions`; a detector has its own class names")
            if self.cache is not None and self.no_cache:
                raise UserError("give `cache` or `no_cache`, not both")
            return
        for name in ("cache", "batch_size", "device", "cfg_options"):
            if getattr(self, name) is not None:
                raise UserError(f"`{name}` is for a detector; leave it out with `predictions`")

    def cache_beside(self, out: Path) -> Path | None:
        """Return the cache folder for predictions of a run that writes ``out``; None if caching is disabled."""
        if self.no_cache:
            return None
        return out.with_suffix(".predictions") if self.cache is None else Path(self.cache)


@documented
@dataclass(frozen=True, kw_only=True)
class AnnotatedImages(OptionGroup):
    """COCO annotations of one set, and its images."""

    ann: Sequence[str | Path] = option(
        help="COCO annotations of one data set; may be repeated (things, stuff)", **ANNOTATIONS
    )
    img_dir: str | Path | None = option(
        None,
        "folder of their images (default: 'images' next to the first file of `ann` or next to its folder)",
        **IMAGE_FOLDER,
    )

    @property
    def files(self) -> list[str | Path]:
        """The annotation files as a list."""
        return [self.ann] if isinstance(self.ann, (str, Path)) else list(self.ann)

    @property
    def file(self) -> str | Path:
        """The annotation file, where exactly one is required.

        Raises:
            UserError: if there are several.
        """
        if len(self.files) != 1:
            raise UserError(
                f"`ann`: exactly one annotation file is required here, got {', '.join(map(str, self.files))}"
            )
        return self.files[0]


@documented
@dataclass(frozen=True, kw_only=True)
class FoundRule(OptionGroup):
    """The rule that decides whether a detector finds an object (Equation 2)."""

    score_thr: float = option(
        0.3,
        "a detection counts if its score is above this, default: %(default)s",
        metavar="THR",
        minimum=0,
        below=1,
    )
    iou_thr: float = option(
        0.5,
        "and it finds an object if their IoU is above this, default: %(default)s",
        metavar="THR",
        minimum=0,
        below=1,
    )
