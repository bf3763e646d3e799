"""Checks of free disk space, before a set is generated and in between."""

from __future__ import annotations

import shutil
from pathlib import Path

from detdiffusion.utils.errors import UserError

# Upper estimate of bytes per pixel for noisy colour images: PNG hardly compresses them, JPEG (quality 95) to a fifth.
_BYTES_A_PIXEL = {"png": 2.5, "jpeg": 0.75}


class DiskGuard:
    """Checks the free space of the disk that a set is written to.

    Args:
        folder: the set's folder; need not exist yet.
        reserve: bytes that must stay free.

    Raises:
        UserError: (in its methods) there is not enough space.
    """

    def __init__(self, folder: Path, reserve: int) -> None:
        self.folder, self.reserve = Path(folder).absolute(), reserve

    def free(self) -> int:
        """Return the number of bytes that this user can write."""
        existing = self.folder
        while not existing.exists():
            existing = existing.parent
        return shutil.disk_usage(existing).free

    def check_start(
        self, images: int, pixels: int, image_format: str, mean_bytes: float | None = None
    ) -> None:
        """Check before the first image that the set will fit.

        Args:
            images: number of images to write.
            pixels: number of pixels of an image.
            image_format: 'png' or 'jpeg'.
            mean_bytes: mean file size of the set's existing images, if any, for a better estimate.
        """
        each = mean_bytes or pixels * _BYTES_A_PIXEL[image_format]
        needed, free = images * each + self.reserve * (images > 0), self.free()
        if needed > free:
            raise UserError(
                f"{self.folder}: {images} images need about {_size(images * each)} and {_size(self.reserve)} must "
                f"stay free (`min_free_mb`), but only {_size(free)} are available; choose another `out`, "
                "`image_format` jpeg, or fewer images (`limit`)"
            )

    def check(self) -> None:
        """Check while images are written that the reserve is free."""
        free = self.free()
        if free < self.reserve:
            raise UserError(
                f"{self.folder}: only {_size(free)} are free, less than the {_size(self.reserve)} that must stay free "
                "(`min_free_mb`); stopped, and all images written so far are complete: free some space and run the "
                "same command again to continue"
            )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
