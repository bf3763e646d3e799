"""Options of a synthetic set: generator, content, layouts, sampling, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.option_groups import OptionGroup, documented, option
from detdiffusion.utils.sampling_plan import PLANS, SCHEDULES, SamplingPlan, choose_plan
from detdiffusion.utils.shared_options import ANNOTATIONS, BATCH_SIZE, IMAGE_FOLDER, ModelOptions


@documented
@dataclass(frozen=True, kw_only=True)
class GeneratorOptions(ModelOptions):
    """A trained generator, see :class:`detdiffusion.apis.DetDiffusionInferencer`."""

    config: str = option(help="the generator's config", positional=True)
    checkpoint: str | None = option(
        help="the generator's checkpoint, or 'none' to use the weights named in the config", positional=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint == "none":
            object.__setattr__(self, "checkpoint", None)


BACKGROUND, OBJECTS = "background", "objects"
EDIT, RECOMPOSE, SAMPLE = "edit", "recompose", "sample"


@documented
@dataclass(frozen=True, kw_only=True)
class ContentOptions(OptionGroup):
    """Which images of the layouts are generated; different values give a different set.

    Raises:
        UserError: options that exclude each other: ``keep`` without ``from_real``, ``layouts`` with ``edits``,
            ``samples_file`` with ``oversample_thr`` (unless ``layouts`` takes objects by it), or real images that would
            get the labels of other layouts.
    """

    strategy: str | Mapping = option(
        help="attributes of the objects that the attribute detector can name ([background] stays): origin, easy, hard, "
        "flip, mix, per-class, the class name of a registered strategy, or its config (on the command line as json)",
        metavar="NAME",
    )
    strategy_options: Mapping | None = option(
        None, "options of the strategy, e.g. ratio=0.3", metavar="KEY=VALUE", nargs="+"
    )
    edits: Mapping[str, float] | None = option(
        None,
        "edits of the layouts: jitter (fraction of a box's side), and the probabilities drop, flip and swap (replace a "
        "class by a rarer one)",
        flag="--edit",
        metavar="EDIT=VALUE",
        nargs="+",
    )
    layouts: str | None = option(
        None,
        "new layouts. edit: `edits` with default strengths; recompose: objects of several images at their own places; "
        "sample: around the places of the set (kernel density); overlaps stay those of the set",
        choices=(EDIT, RECOMPOSE, SAMPLE),
    )
    from_real: float | None = option(
        None,
        "start from the real image of each layout instead of noise alone: the share of the denoising steps that is "
        "run. 0 only encodes and decodes it: the bound that the autoencoder sets",
        metavar="STRENGTH",
        minimum=0,
        maximum=1,
    )
    keep: str | None = option(
        None,
        "with `from_real`: pixels of the real image that stay as they are. background: everything outside the objects; "
        "objects: those that `edits` leaves in place, with the attribute that they have",
        choices=(BACKGROUND, OBJECTS),
    )
    oversample_thr: float | None = option(
        None,
        "generate more images of layouts with classes that occur in less than this fraction of the layouts (repeat "
        "factor sampling)",
        metavar="SHARE",
    )
    seed: int = option(0, "seed of the noise, also part of the images' ids, default: %(default)s")
    samples_per_image: int = option(1, "images per layout, default: %(default)s", minimum=1)
    samples_file: str | Path | None = option(
        None,
        "json with the number of images of each layout by its image id, such as tools/quality_gate.py writes; layouts "
        "that it lacks get `samples_per_image`",
        metavar="FILE",
    )
    limit: int | None = option(
        None,
        "use only the first layouts; a later run can continue the set with a higher limit",
        minimum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep is not None and self.from_real is None:
            raise UserError("`keep` requires `from_real`: without it, no real image is read")
        if self.layouts is not None and self.edits:
            raise UserError("`layouts` and `edits` exclude each other: both make new layouts")
        composed = self.layouts in (RECOMPOSE, SAMPLE)
        # In composed layouts the threshold also says which objects are taken, so it stays when a file is given.
        if self.samples_file is not None and self.oversample_thr is not None and not composed:
            raise UserError(
                "`samples_file` and `oversample_thr` exclude each other: both set the number of images"
            )
        changed = self.layouts is not None or bool(set(self.edits or ()) - {"flip"})
        if self.from_real == 0 and changed:
            raise UserError(
                "`from_real` 0 leaves the real images as they are, so that `layouts` and `edits` other than flip would "
                "give them wrong labels; set a strength above 0 (0.8, for example)"
            )
        if self.keep == OBJECTS and composed:
            raise UserError(
                f"`keep` {OBJECTS!r} keeps no object of `layouts` {self.layouts!r}, whose objects are all new; set "
                f"`keep` {BACKGROUND!r}, or `layouts` {EDIT!r}"
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
        "key of the config's layout_datasets ('train' falls back to the training data), default: %(default)s",
    )
    ann: Sequence[str | Path] | None = option(
        None, "COCO annotations to take the layouts from, instead of a split; may be repeated", **ANNOTATIONS
    )
    img_dir: str | Path | None = option(
        None, "image folder of `ann` (only `from_real` reads the images)", **IMAGE_FOLDER
    )
    attributes: str | Path | None = option(
        None, "attributes file of the layouts (default: the config's)", metavar="FILE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.img_dir is not None and not self.ann:
            raise UserError("`img_dir` requires `ann`; for splits of the config, the config names the images")


@documented
@dataclass(frozen=True, kw_only=True)
class SamplingOptions(OptionGroup):
    """How images are sampled.

    Settings that are not given are those of `plan`; without it those of the config's ``sampling``, a dict with the same
    names, and else of the plan ``paper``.

    Raises:
        UserError: a setting is out of range.
    """

    batch_size: int = option(
        8,
        "images per batch on each process, default: %(default)s; halved when memory runs out; pixels may differ by one "
        "grey level between batch sizes",
        **BATCH_SIZE,
    )
    plan: str | None = option(
        None,
        "named settings: paper (50 steps, guidance 3.5: 100 network evaluations an image) or fast (10 steps, guidance "
        "in the middle 60 %% of them: 16 evaluations); the following options override it",
        choices=tuple(PLANS),
    )
    steps: int | None = option(None, "denoising steps, default: the plan's")
    guidance_scale: float | None = option(None, "scale of classifier-free guidance, default: the plan's")
    schedule: str | None = option(
        None,
        "spacing of the timesteps, as far as the scheduler has it, or ays (Align Your Steps, for Stable Diffusion "
        "1.5), default: the plan's, else the scheduler's own",
        choices=SCHEDULES,
    )
    guidance_interval: tuple[float, float] | None = option(
        None,
        "guide only in this part of the evaluations, e.g. 0.2 0.8; outside of it the empty prompt is not computed, "
        "default: the plan's",
        metavar=("LO", "HI"),
        nargs=2,
    )
    guidance_rescale: float | None = option(
        None,
        "rescale the guided prediction to the deviation of the conditional one, 0 (off) to 1 (completely), default: "
        "the plan's",
        metavar="SHARE",
    )
    height: int | None = option(None, "image height in pixels (default: the model's)", minimum=1)
    width: int | None = option(None, "image width in pixels (default: the model's)", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.settle()

    def settle(self, defaults: Mapping | None = None, where: str = "config") -> SamplingPlan:
        """Return the plan of a run.

        Args:
            defaults: the config's ``sampling``, or None.
            where: name of the config, for messages.

        Raises:
            UserError: a setting is not valid.
        """
        given = {field.name: getattr(self, field.name) for field in fields(SamplingPlan)}
        given = {name: value for name, value in given.items() if value is not None}
        return choose_plan(self.plan, given, defaults, where)


@documented
@dataclass(frozen=True, kw_only=True)
class SetFiles(OptionGroup):
    """The files of a set."""

    out: str | Path = option(
        help="the set's folder: images/, annotations.json, manifest.jsonl, run.json, preview.png",
        metavar="DIR",
    )
    image_format: str = option(
        "png", "format of the images, default: %(default)s", flag="--format", choices=("png", "jpeg")
    )
    jpeg_quality: int = option(95, "JPEG quality, 1 to 100, default: %(default)s", minimum=1, maximum=100)
    min_free_mb: float = option(
        500.0, "stop when the disk has fewer free megabytes, default: %(default)s", minimum=0
    )
    preview_every: float = option(
        30.0,
        "interval between updates of preview.png; 0: no preview, default: %(default)s",
        metavar="SECONDS",
        minimum=0,
    )
    verify: bool = option(
        False, "verify the checksums of existing images first and generate damaged or missing ones again"
    )
