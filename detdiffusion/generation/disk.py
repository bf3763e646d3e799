"""Is there room for the set, before it starts and while it grows?"""

from __future__ import annotations

import shutil
from pathlib import Path

from detdiffusion.utils.errors import UserError

# Bytes a pixel of noisy colour images, generous: PNG holds them almost uncompressed, JPEG at quality 95 in a fifth.
_BYTES_A_PIXEL = {"png": 2.5, "jpeg": 0.75}


class DiskGuard:
    """Watches the free space where a set is written.

    Args:
        folder: of the set; it or its nearest parent must exist.
        reserve: bytes that stay free.

    Raises:
        UserError: from its methods, when the room does not do.
    """

    def __init__(self, folder: Path, reserve: int) -> None:
        self.folder, self.reserve = Path(folder).absolute(), reserve

    def free(self) -> int:
        """Free bytes for this user."""
        here = self.folder
        while not here.exists():
            here = here.parent
        return shutil.disk_usage(here).free

    def check_start(
        self, images: int, pixels: int, image_format: str, mean_bytes: float | None = None
    ) -> None:
        """Before the first image.

        Args:
            images: that are to be written.
            pixels: of one.
            image_format: 'png' or 'jpeg'.
            mean_bytes: of files of this set that are there already: a better guess.
        """
        each = mean_bytes or pixels * _BYTES_A_PIXEL[image_format]
        needed, free = images * each + self.reserve * (images > 0), self.free()
        if needed > free:
            raise UserError(
                f"{self.folder}: {images} images need about {_size(images * each)} and {_size(self.reserve)} must "
                f"stay free (`min_free_mb`), but only {_size(free)} are free; choose another `out`, "
                "`image_format` jpeg, or fewer images (`limit`)"
            )

    def check(self) -> None:
        """While images are written."""
        free = self.free()
        if free < self.reserve:
            raise UserError(
                f"{self.folder}: only {_size(free)} are free, less than the {_size(self.reserve)} that must stay free "
                "(`min_free_mb`); stopped with everything written so far in order: make room and run the same "
                "command again to continue"
            )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
