"""Options of the studio, see :func:`.start.serve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.option_groups import OptionGroup, documented, option
from detdiffusion.utils.shared_options import ANNOTATIONS, DETECTOR


@documented
@dataclass(frozen=True, kw_only=True)
class StudioOptions(OptionGroup):
    """What the page shows beside the generator, and where it is served.

    Raises:
        UserError: a value is out of range, or ``attributes`` are given without ``ann``.
    """

    detector: tuple[str, str] | None = option(
        None, **{**DETECTOR, "help": f"detector whose boxes are shown on the images: {DETECTOR['help']}"}
    )
    ann: Sequence[str | Path] | None = option(
        None,
        "COCO annotations of one data set whose layouts can be opened on the page; may be repeated (things, stuff)",
        **ANNOTATIONS,
    )
    attributes: str | Path | None = option(None, "attributes file of the layouts of `ann`", metavar="FILE")
    out: str | Path = option(
        "work_dirs/studio",
        "folder of the COCO set that the page saves to, default: %(default)s",
        metavar="DIR",
    )
    host: str = option(
        "127.0.0.1",
        "address to listen on, default: %(default)s, which only this machine reaches; 0.0.0.0 listens on all networks "
        "(there is no password)",
        metavar="ADDRESS",
    )
    port: int = option(
        7860, "port to listen on, 0 for any free one, default: %(default)s", minimum=0, maximum=65535
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attributes is not None and not self.ann:
            raise UserError("`attributes` requires `ann`: they are the attributes of its objects")
