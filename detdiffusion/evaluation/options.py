"""Options of the evaluation of generated images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.option_groups import OptionGroup, documented, option
from detdiffusion.utils.shared_options import BATCH_SIZE, DETECTOR, DetectorOptions

SIZE = 512  # of the YOLO score's protocol
MIN_AREA_RATIO = 0.02
PLANS = (  # of a sweep: 100, 50, 20, 20, 16, 16, 13 and 9 evaluations an image
    "paper",
    "steps=25",
    "steps=10",
    "steps=10,schedule=ays",
    "fast",
    "fast,schedule=ays",
    "fast,steps=8",
    "fast,steps=6",
)


@documented
@dataclass(frozen=True, kw_only=True)
class ResultFolder(OptionGroup):
    """Folders of the results."""

    out: str | Path = option(help="folder for the results", metavar="DIR")
    cache: str | Path | None = option(
        None,
        "cache folder for predictions and features of the images (default: cache in `out`)",
        metavar="DIR",
    )

    @property
    def cache_folder(self) -> Path:
        """Folder of the cache."""
        return Path(self.out) / "cache" if self.cache is None else Path(self.cache)


@documented
@dataclass(frozen=True, kw_only=True)
class FidOptions(OptionGroup):
    """Distances between sets of images."""

    fid: Sequence[str] = option(
        (),
        "protocols by name (lama_tf, modern), or config files with fid = dict(protocol=..., extractor=...)",
        metavar="PROTOCOL",
        nargs="+",
    )
    extractor_weights: str | None = option(
        None, "Inception weights of `fid` (default: torch's hub folder); 'hub' downloads them", metavar="PATH"
    )
    real_reference: tuple[str | Path, str | Path] | None = option(
        None,
        "annotations and folder of other real images, whose distance from the real images is the bound (default: the "
        "distance between two halves of the real images)",
        metavar=("ANN", "DIR"),
        nargs=2,
    )


@documented
@dataclass(frozen=True, kw_only=True)
class BootstrapOptions(OptionGroup):
    """Bootstrap of the confidence intervals."""

    resamples: int = option(1000, "number of bootstrap resamples, default: %(default)s", minimum=1)
    seed: int = option(0, "seed of the bootstrap, default: %(default)s")
    baseline: str | None = option(
        None,
        "name of the set that all other sets are compared with (default: easy with hard, if both are given)",
        metavar="NAME",
    )


@documented
@dataclass(frozen=True, kw_only=True)
class SweepOptions(OptionGroup):
    """A comparison of sampling plans, see :func:`detdiffusion.apis.sweep_sampling`."""

    detector: tuple[str, str] = option(**DETECTOR)
    plans: Sequence[str] | None = option(
        None,
        "plans by name or settings, e.g. fast steps=20 steps=10,schedule=ays fast,steps=8; settings that are not given "
        f"are those of paper, which is always included (default, as far as the generator has them: {' '.join(PLANS)})",
        metavar="PLAN",
        nargs="+",
    )
    strategy: str = option("origin", "strategy of the images, default: %(default)s", metavar="NAME")
    limit: int = option(200, "use only the first layouts, default: %(default)s", minimum=1)
    batch_size: int = option(8, "generated images per batch, default: %(default)s", **BATCH_SIZE)
    seed: int = option(0, "seed of the noise and of the bootstrap, default: %(default)s")
    resamples: int = option(1000, "number of bootstrap resamples, default: %(default)s", minimum=1)


@documented
@dataclass(frozen=True, kw_only=True)
class YoloScoreOptions(OptionGroup):
    """Images that are scored by the YOLO score, and their preparation."""

    ids: str | Path | None = option(
        None,
        "layouts to score: lama for those selected by LAMA's filter, or a file of image ids (a json list, or one per "
        "line); every method must have them (default: the layouts that all methods have)",
        metavar="lama|FILE",
    )
    stuff: str | Path | None = option(None, "COCO stuff annotations, for `ids` lama", metavar="STUFF.json")
    samples: int | None = option(
        None, "score only the first samples of each layout (default: all)", minimum=1
    )
    size: int = option(
        SIZE,
        "side in pixels of the square that images are resized to by PIL, default: %(default)s",
        minimum=1,
    )
    min_area_ratio: float = option(
        MIN_AREA_RATIO,
        "minimum area of an object for 'AP filtered', as a fraction of the image, default: %(default)s",
        flag="--min-area",
        minimum=0,
        below=1,
    )


@documented
@dataclass(frozen=True, kw_only=True)
class CopyOptions(DetectorOptions):
    """What counts as a near copy of a training image; with a detector, its features are compared, too."""

    detector: tuple[str, str] | None = option(None, **DETECTOR)
    quantile: float = option(
        0.05,
        "an image is a near copy if it is nearer to a training image than this share of the training images are to "
        "their nearest other one, default: %(default)s",
        metavar="SHARE",
        minimum=0.001,
        maximum=0.999,
    )
    pairs: int = option(
        8, "pairs in the picture of each set, the nearest first, default: %(default)s", minimum=1
    )
