"""The measured seconds of an iteration, which a run stores, so that a resumed one has the same sizes."""

from __future__ import annotations

import json
from pathlib import Path

from detdiffusion.utils.digests import config_digest
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.training_logs import TrainingLogs

from .arms import COPY_PASTE, Arm
from .budget import Rates

TIMED_PASTING = Arm(COPY_PASTE, copy_paste=True).config
"""The config whose iterations tell what copy-paste costs."""
SPEED_PARTS = ("model", "train_dataloader", "optim_wrapper", "custom_hooks")
"""Parts of a config that the seconds of an iteration depend on."""


def speed_digest(config: Path) -> str:
    """Return the digest of the parts of a config that the seconds of an iteration depend on, without lengths."""
    return config_digest(config, SPEED_PARTS)


class StoredRates:
    """The file of the measured seconds.

    Args:
        path: the file, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Rates:
        """Return the rates measured so far."""
        found = {name: row["seconds"] for name, row in self._rows().items()}
        return Rates(found.get("detector", 1.0), found.get("generator", 0.0), found.get(TIMED_PASTING, 0.0))

    def store(self, name: str, work_dir: Path, of: str) -> None:
        """Store the seconds of an iteration from a training's logs; what is stored stays while its config does.

        Args:
            name: the config.
            work_dir: folder of the logs.
            of: :func:`speed_digest` of the config.

        Raises:
            UserError: the logs have no times.
        """
        known = self._rows()
        if known.get(name, {}).get("of") != of:
            seconds = TrainingLogs.read(work_dir).seconds_per_step()
            if seconds is None:
                raise UserError(
                    f"{work_dir}: its logs have no times; remove the folder and run the command again"
                )
            known[name] = dict(seconds=round(seconds, 4), of=of)
            write_atomic(self.path, json.dumps(known, indent=1).encode() + b"\n")
        print(f"{known[name]['seconds']:.2f} s an iteration of the {name}")

    def _rows(self) -> dict[str, dict]:
        return json.loads(self.path.read_text()) if self.path.is_file() else {}
