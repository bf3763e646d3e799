"""Finding the checkpoint to resume from, and making mmengine's checkpoint loading safe."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from detdiffusion.utils.checkpoint import load_checkpoint


def latest_checkpoint(folder: str | os.PathLike) -> Path | None:
    """Return the checkpoint to resume from in a work dir, or None if there is none.

    This is the file given in ``last_checkpoint`` if it exists; otherwise (if the run was killed while saving, or the
    folder was moved) the newest ``iter_*.pth`` or ``epoch_*.pth``.
    """
    folder = Path(folder)
    try:
        named = (folder / "last_checkpoint").read_text().strip()
    except (OSError, UnicodeDecodeError):
        named = ""
    if named and Path(named).is_file():
        return Path(named)
    kinds = []
    for kind in ("iter", "epoch"):
        files = [p for p in folder.glob(f"{kind}_*.pth") if re.fullmatch(r"\d+", p.stem[len(kind) + 1 :])]
        if files:
            kinds.append(max(files, key=lambda p: int(p.stem.rpartition("_")[2])))
    return max(kinds, key=lambda p: p.stat().st_mtime, default=None)


def use_safe_loader() -> None:
    """Make mmengine load all local files, also those of ``init_cfg``, by our :func:`load_checkpoint`. Idempotent."""
    from mmengine.runner import CheckpointLoader

    def load_from_local(filename: str, map_location: Any) -> dict:
        return load_checkpoint(filename, map_location=map_location)

    CheckpointLoader.register_scheme("", load_from_local, force=True)
