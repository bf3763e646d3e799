"""Settings of the scores of generated images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.option_groups import OptionGroup, documented, option


@documented
@dataclass(frozen=True, kw_only=True)
class ResultFolder(OptionGroup):
    """Where results go."""

    out: str | Path = option(help="folder for the results", metavar="DIR")
    cache: str | Path | None = option(
        None, "folder of what the networks said of the images (default: cache in `out`)", metavar="DIR"
    )

    @property
    def cache_folder(self) -> Path:
        """The cache's folder."""
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
        "other real images: the distances' bound is theirs from the real ones (default: half against half)",
        metavar=("ANN", "DIR"),
        nargs=2,
    )


@documented
@dataclass(frozen=True, kw_only=True)
class BootstrapOptions(OptionGroup):
    """The bootstraps behind the intervals."""

    resamples: int = option(1000, "of the bootstraps, default: %(default)s", minimum=1)
    seed: int = option(0, "of the bootstraps, default: %(default)s")


@documented
@dataclass(frozen=True, kw_only=True)
class YoloScoreOptions(OptionGroup):
    """Which images the YOLO score is of."""

    ids: str | Path | None = option(
        None,
        "the layouts of LAMA's filter, or a file with image ids (a json list, or one a line); every method must have "
        "them (default: the layouts that all methods have)",
        metavar="lama|FILE",
    )
    stuff: str | Path | None = option(None, "COCO stuff annotations, for `ids` lama", metavar="STUFF.json")
    samples: int | None = option(
        None, "samples of a layout that count, the first ones (default: all)", minimum=1
    )
    size: int = option(512, "pixels that PIL resizes to, default: %(default)s", minimum=1)
    min_area_ratio: float = option(
        0.02,
        "share of the image for 'AP filtered', default: %(default)s",
        flag="--min-area",
        minimum=0,
        below=1,
    )
