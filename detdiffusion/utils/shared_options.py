"""Settings that several tools share, so that their flags mean the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .option_groups import OptionGroup, documented, option

BATCH_SIZE = dict(metavar="N", minimum=1)
"""What every ``--batch-size`` has in common."""
ANNOTATIONS = dict(metavar="ANN.json", repeat=True)
"""What every ``--ann`` has in common."""
IMAGE_FOLDER = dict(metavar="DIR")
"""What every ``--img-dir`` has in common."""


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
    """Where a model of a config runs."""

    device: str | None = option(
        None, "torch device (default: cuda where available, else cpu)", metavar="NAME"
    )


@documented
@dataclass(frozen=True, kw_only=True)
class DetectorOptions(ModelOptions):
    """A trained detector, see :func:`detdiffusion.perception.load_detector`."""

    detector: tuple[str, str] = option(
        help="an mmdet config and its checkpoint, or a config of configs/onnx and an .onnx file",
        metavar=("CONFIG", "WEIGHTS"),
        nargs=2,
    )
    batch_size: int | None = option(
        None,
        "images at once (default: the config's test_dataloader; for ONNX the model's, else 8)",
        **BATCH_SIZE,
    )


@documented
@dataclass(frozen=True, kw_only=True)
class PredictionOptions(DetectorOptions):
    """What a detector says of images: the detector itself, or its results.

    Raises:
        UserError: neither or both of them, or settings of the one with the other.
    """

    detector: tuple[str, str] | None = option(
        None,
        "an mmdet config and its checkpoint, or a config of configs/onnx and an .onnx file",
        metavar=("CONFIG", "WEIGHTS"),
        nargs=2,
    )
    predictions: str | Path | None = option(
        None, "in place of a detector: its COCO results json", metavar="RESULTS.json"
    )
    detector_classes: Sequence[str] | None = option(
        None,
        "with `predictions`: classes that the detector can name, or a text file with one a line (default: the "
        "categories that occur in the results)",
        metavar="NAME",
        nargs="+",
    )
    num_workers: int = option(0, "image loading processes, default: %(default)s", metavar="N", minimum=0)
    cache: str | Path | None = option(
        None,
        "folder of finished predictions, so that a stopped run continues and other thresholds cost no detecting "
        "(default: beside the output, its name with .predictions)",
        metavar="DIR",
    )
    no_cache: bool = option(False, "keep no predictions: a stopped run begins anew")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.detector is None) == (self.predictions is None):
            both = "" if self.detector is None else ", not both"
            raise UserError(f"name a detector by `detector`, or give its results by `predictions`{both}")
        if self.predictions is None:
            if self.detector_classes is not None:
                raise UserError(
                    "`detector_classes` is for `predictions`; a detector brings its own class names"
                )
            if self.cache is not None and self.no_cache:
                raise UserError("give `cache` or `no_cache`, not both")
            return
        for name in ("cache", "batch_size", "device", "cfg_options"):
            if getattr(self, name) is not None:
                raise UserError(f"`{name}` is for a detector; leave it out with `predictions`")

    def cache_beside(self, out: Path) -> Path | None:
        """The folder of finished predictions of a run that writes ``out``; None where none are kept."""
        if self.no_cache:
            return None
        return out.with_suffix(".predictions") if self.cache is None else Path(self.cache)


@documented
@dataclass(frozen=True, kw_only=True)
class AnnotatedImages(OptionGroup):
    """COCO annotations of one set, and its images."""

    ann: Sequence[str | Path] = option(
        help="COCO annotations of one set; may be repeated (things, stuff)", **ANNOTATIONS
    )
    img_dir: str | Path | None = option(
        None,
        "their images (default: 'images' beside the first of `ann` or beside its folder)",
        **IMAGE_FOLDER,
    )

    @property
    def files(self) -> list[str | Path]:
        """The annotation files; a single one need not be in a list."""
        return [self.ann] if isinstance(self.ann, (str, Path)) else list(self.ann)

    @property
    def file(self) -> str | Path:
        """The annotation file where only one will do.

        Raises:
            UserError: there are several.
        """
        if len(self.files) != 1:
            raise UserError(
                f"`ann`: one annotation file is wanted here, got {', '.join(map(str, self.files))}"
            )
        return self.files[0]


@documented
@dataclass(frozen=True, kw_only=True)
class FoundRule(OptionGroup):
    """When a detector finds an object (Equation 2)."""

    score_thr: float = option(
        0.3, "a detection counts above this score, default: %(default)s", metavar="THR", minimum=0, below=1
    )
    iou_thr: float = option(
        0.5,
        "and finds what it overlaps with more than this IoU, default: %(default)s",
        metavar="THR",
        minimum=0,
        below=1,
    )
