"""Settings of a synthetic set: where it comes from, what is drawn, how, into which files; and of its quality gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.option_groups import OptionGroup, documented, option
from detdiffusion.utils.shared_options import ANNOTATIONS, BATCH_SIZE, IMAGE_FOLDER, FoundRule, ModelOptions

KEEP, IGNORE, DROP = "keep", "ignore", "drop"


@documented
@dataclass(frozen=True, kw_only=True)
class GeneratorOptions(ModelOptions):
    """A trained generator, see :class:`detdiffusion.apis.DetDiffusionInferencer`."""

    config: str = option(help="the generator's config", positional=True)
    checkpoint: str | None = option(
        help="its weights, or 'none' for those that the config names", positional=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint == "none":
            object.__setattr__(self, "checkpoint", None)


@documented
@dataclass(frozen=True, kw_only=True)
class ContentOptions(OptionGroup):
    """What is drawn of the layouts; other settings give another set."""

    strategy: str | Mapping = option(
        help="attributes of the objects that the attribute detector can name ([background] stays): origin, easy, hard, "
        "flip, mix, per-class, the class name of a registered strategy, or its config (on the command line as json)",
        metavar="NAME",
    )
    strategy_options: Mapping | None = option(
        None, "of the strategy, e.g. ratio=0.3", metavar="KEY=VALUE", nargs="+"
    )
    edits: Mapping[str, float] | None = option(
        None,
        "edited layouts: jitter (share of a box's side), and probabilities drop, flip, swap (to rarer classes)",
        flag="--edit",
        metavar="EDIT=VALUE",
        nargs="+",
    )
    oversample_thr: float | None = option(
        None,
        "more images of layouts with classes in less than this share of the layouts (repeat factor sampling)",
        metavar="SHARE",
    )
    seed: int = option(0, "other seeds give other ids and other noise, default: %(default)s")
    samples_per_image: int = option(1, "images a layout, default: %(default)s", minimum=1)
    limit: int | None = option(
        None,
        "only the first layouts: the beginning of the whole set, which a later run can add to",
        minimum=1,
    )


@documented
@dataclass(frozen=True, kw_only=True)
class LayoutOptions(OptionGroup):
    """Where the layouts come from.

    Raises:
        UserError: ``img_dir`` without ``ann``.
    """

    split: str = option(
        "train",
        "entry of the config's layout_datasets ('train': else the training data), default: %(default)s",
    )
    ann: Sequence[str | Path] | None = option(
        None, "layouts of these COCO annotations instead; may be repeated", **ANNOTATIONS
    )
    img_dir: str | Path | None = option(
        None, "images of `ann` (drawing itself does not read them)", **IMAGE_FOLDER
    )
    attributes: str | Path | None = option(
        None, "attributes file of the layouts (default: the config's)", metavar="FILE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.img_dir is not None and not self.ann:
            raise UserError("`img_dir` goes with `ann`; the config names the images of its own splits")


@documented
@dataclass(frozen=True, kw_only=True)
class SamplingOptions(OptionGroup):
    """How images are drawn."""

    batch_size: int = option(
        8,
        "images at once on each process, default: %(default)s; halved when memory runs out; part of what decides the "
        "last grey level",
        **BATCH_SIZE,
    )
    steps: int = option(50, "denoising steps, default: %(default)s", minimum=1)
    guidance_scale: float = option(3.5, "of classifier-free guidance, default: %(default)s")
    height: int | None = option(None, "pixels (default: the model's)", minimum=1)
    width: int | None = option(None, "pixels (default: the model's)", minimum=1)


@documented
@dataclass(frozen=True, kw_only=True)
class SetFiles(OptionGroup):
    """The files of a set."""

    out: str | Path = option(
        help="the set's folder: images/, annotations.json, manifest.jsonl, run.json, preview.png",
        metavar="DIR",
    )
    image_format: str = option(
        "png", "of the images, default: %(default)s", flag="--format", choices=("png", "jpeg")
    )
    jpeg_quality: int = option(95, "1 to 100, default: %(default)s", minimum=1, maximum=100)
    min_free_mb: float = option(
        500.0, "stop before the disk has less megabytes left, default: %(default)s", minimum=0
    )
    preview_every: float = option(
        30.0, "renew preview.png; 0: no preview, default: %(default)s", metavar="SECONDS", minimum=0
    )
    verify: bool = option(False, "check all checksums first and make what is damaged or missing anew")


@documented
@dataclass(frozen=True, kw_only=True)
class GateThresholds(FoundRule):
    """When a prompted object is kept, moved or missed, see :func:`.quality_gate.judge`.

    Raises:
        UserError: ``moved_iou`` is not above 0, or above ``iou_thr``.
    """

    moved_iou: float = option(
        0.1,
        "from this IoU up to `iou_thr` an object is moved, default: %(default)s",
        metavar="THR",
        minimum=0,
        below=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.moved_iou <= self.iou_thr:
            raise UserError(f"`moved_iou` must be above 0 and at most `iou_thr`, it is {self.moved_iou}")


@documented
@dataclass(frozen=True, kw_only=True)
class GateRules(OptionGroup):
    """What is done about a detector's verdicts; by default nothing.

    'ignore' makes an object an ignored region (``iscrowd`` 1); images without a judged object stay.
    """

    min_found: float = option(
        0.0,
        "drop images with a smaller share of found objects (kept ones, and moved ones that are refined), "
        "default: %(default)s",
        metavar="SHARE",
        minimum=0,
        maximum=1,
    )
    missed: str = option(KEEP, "missed objects, default: %(default)s", choices=(KEEP, IGNORE, DROP))
    moved: str = option(KEEP, "moved objects, default: %(default)s", choices=(KEEP, IGNORE, DROP))
    extra: str = option(
        KEEP, "ignore: extra detections become ignored regions, default: %(default)s", choices=(KEEP, IGNORE)
    )
    refine: float = option(
        0.0,
        "boxes of kept and moved objects go this far to their detection, default: %(default)s",
        metavar="SHARE",
        minimum=0,
        maximum=1,
    )
    refine_score: float = option(
        0.7,
        "only to detections above this score, default: %(default)s",
        metavar="SCORE",
        minimum=0,
        maximum=1,
    )
