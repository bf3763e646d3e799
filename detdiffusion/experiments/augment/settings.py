"""The options of ``tools/augment.py``: what the user decides; everything else is derived from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detdiffusion.generation.gate_options import IGNORE, KEEP
from detdiffusion.utils.option_groups import OptionGroup, documented, option
from detdiffusion.utils.sampling_plan import PLANS
from detdiffusion.utils.shared_options import DETECTOR

from .arms import ARMS, DEFAULT_ARMS
from .budget import BUDGET, LEAST_ITERS

LEARNERS = ("atss", "faster-rcnn", "fcos")
NO_BASE = "none"


@documented
@dataclass(frozen=True, kw_only=True)
class AugmentOptions(OptionGroup):
    """One run: the labelled data, the models, and the time that it may take."""

    train: str = option(
        help="the labelled training images: a COCO json, or a folder or file of VOC, YOLO, Roboflow, CVAT or Label "
        "Studio; its own val and test splits are used",
        metavar="SOURCE",
    )
    val: str | None = option(
        None, "the labelled held-out images (default: those of `train`; else a fifth of it)", metavar="SOURCE"
    )
    test: str | None = option(
        None,
        "images that only the final comparison reads (default: those of `train`; else `val`, which decides nothing)",
        metavar="SOURCE",
    )
    out: str = option(help="folder of the run; the same command continues there", metavar="DIR")
    img_dir: str | None = option(
        None,
        "image folder of COCO jsons (default: 'images' next to the file or next to its folder)",
        metavar="DIR",
    )
    classes: Sequence[str] | None = option(
        None, "classes to use (default: all that have objects in `train`)", metavar="NAME", nargs="+"
    )
    groups: str = option(
        "auto",
        "images that stay together where `train` is divided, see tools/dataset_converters/split_coco.py; default: "
        "%(default)s",
        metavar="auto|sequences|none|REGEX",
    )
    base: str = option(
        NO_BASE,
        "Stable Diffusion to fine-tune, a diffusers folder or a safetensors file; none trains a small generator from "
        "nothing on the latents of `vae`; default: %(default)s",
        metavar="FOLDER|FILE|none",
    )
    vae: Sequence[str] | None = option(
        None,
        "the autoencoder for `base` none: a diffusers folder, TAESD's two files (encoder, decoder), or hub://OWNER/NAME",
        metavar="FOLDER|FILE",
        nargs="+",
    )
    learner: str = option(
        "atss",
        "the detector that is trained in every arm: atss, faster-rcnn, fcos (small ones, from "
        "nothing), or an mmdet config whose data is one set, without a wrapper such as RepeatDataset; default: "
        "%(default)s",
        metavar="NAME|CONFIG",
    )
    detector: tuple[str, str] | None = option(
        None,
        "a trained detector that knows the classes and tells easy objects from hard ones: "
        + DETECTOR["help"]
        + " "
        "(default: the learner, each half of `train` judged by one that was trained on the other half)",
        metavar=DETECTOR["metavar"],
        nargs=2,
    )
    min_ap50: float = option(
        10.0,
        "held-out AP50 in percent that the learner must reach to judge, default: %(default)s; not with `smoke`",
        minimum=0,
        maximum=100,
    )
    min_area_ratio: float | None = option(
        None,
        "objects up to this share of the image are not prompted (default: what half a cell of the latents covers)",
        metavar="SHARE",
        minimum=0,
        below=1,
    )
    max_objects: int | None = option(
        None,
        "images with more objects above `min_area_ratio` are not drawn (default: what 99 %% of the images have, at "
        "most 60)",
        metavar="N",
        minimum=1,
    )
    arms: Sequence[str] = option(
        DEFAULT_ARMS,
        "what the detector is trained on beside real images alone: hard (the training layouts, all objects hard, as "
        "in the paper), edited (mirrored and shifted layouts), recompose and sample (new layouts), copy-paste (no "
        "generated images: objects of other real images pasted in), or a set and copy-paste, such as "
        "edited-copy-paste; default: " + " ".join(DEFAULT_ARMS),
        choices=ARMS,
        metavar="ARM",
        nargs="+",
    )
    missed: str = option(
        KEEP,
        "what becomes of generated objects that the detector misses: they are kept, or ignored, learned neither as "
        "objects nor as background; default: %(default)s",
        choices=(KEEP, IGNORE),
    )
    budget: float | None = option(
        None, f"minutes that all steps together may take, default: {BUDGET:g}", metavar="MINUTES", minimum=1
    )
    detector_iters: int | None = option(
        None,
        "iterations of each detector, in place of `budget`; with `generator_iters`",
        metavar="N",
        minimum=LEAST_ITERS,
    )
    generator_iters: int | None = option(
        None,
        "iterations of each training of the generator, likewise; sets are then as large as any budget makes them",
        metavar="N",
        minimum=LEAST_ITERS,
    )
    parallel: int = option(
        1,
        "steps at the same time, for small networks on a GPU that one of them leaves idle; with `detector_iters` and "
        "`generator_iters`, since steps that share a machine cannot be timed; default: %(default)s",
        metavar="N",
        minimum=1,
    )
    seeds: int = option(3, "trainings of each arm, default: %(default)s", metavar="N", minimum=1)
    rounds: int = option(
        1,
        "rounds of attributes, generator and sets: each further one extracts the attributes with learners that were "
        "trained on the last round's images too, and trains the last round's generator further; default: %(default)s",
        metavar="N",
        minimum=1,
    )
    seed: int = option(0, "first seed of trainings, noise and bootstrap, default: %(default)s")
    plan: str | None = option(
        None,
        "how images are sampled, see tools/generate.py (default: 10 steps, 25 of Stable Diffusion)",
        choices=tuple(PLANS),
    )
    device: str | None = option(
        None,
        "torch device of detection and generation (default: cuda where available, else cpu)",
        metavar="NAME",
    )
    smoke: bool = option(False, "tiny sizes, to test the steps; the answer is meaningless")
    dry_run: bool = option(False, "print the commands of the steps and exit")
