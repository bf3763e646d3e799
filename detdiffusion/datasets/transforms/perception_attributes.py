"""Loading perception-aware attributes from a file."""

from __future__ import annotations

from collections.abc import Sequence

from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.registry import TRANSFORMS
from detdiffusion.utils.errors import UserError


@TRANSFORMS.register_module()
class LoadPerceptionAttributes:
    """Sets ``results['layout'].attributes`` from an ``attributes.json``, by annotation id.

    Args:
        attributes_file: a file written by ``tools/extract_attributes.py``.
        missing: 'error', or the attribute for annotations that the file lacks.
        check_files: for a file that records no objects (from an earlier version), compare the annotation files that it
            was made from with the data set's; disable this for a subset that keeps the annotation ids of the full set.

    Raises:
        UserError: if the file is missing or broken (on construction); if annotations have no attribute (gives their
            number).

    Example:
        >>> pipeline = [dict(type='LoadPerceptionAttributes', attributes_file='work_dirs/attributes.json')]
    """

    def __init__(self, attributes_file: str, missing: str = "error", check_files: bool = True) -> None:
        self.missing, self.check_files = missing, check_files
        self._file = AttributesFile.read(attributes_file)
        if missing not in ("error", *self._file.words):
            raise UserError(
                f"LoadPerceptionAttributes: missing={missing!r}; it must be 'error' or one of "
                f"{', '.join(self._file.words)}"
            )

    def check(
        self,
        ids: Sequence[int],
        where: str,
        ann_files: Sequence[str] = (),
        digests: Sequence[int] | None = None,
    ) -> None:
        """Check that the file matches an entire data set.

        Args:
            ids: annotation ids.
            where: what they belong to, used in error messages.
            ann_files: the COCO jsons that they come from.
            digests: digests of the objects, see
                :meth:`~detdiffusion.datasets.attributes_file.AttributesFile.misfit`.

        Raises:
            UserError: if annotation ids have no attribute (gives their number), or the objects are not those that the
                attributes were computed for.
        """
        ids = list(map(int, ids))
        if ann_files and (self.check_files or self._file.digests):
            self._file.check_objects(ids, ann_files, digests)
        if self.missing == "error":
            self._file.check(ids, where)

    def __call__(self, results: dict) -> dict:
        layout = results["layout"]
        if layout.ids is None:
            raise UserError(
                f"layout of image {layout.image_id}: has no annotation ids, so attributes cannot be looked up; load it "
                "with LayoutCocoDataset"
            )
        words = self._file.lookup(layout.ids, f"image {layout.image_id}", self.missing)
        return dict(results, layout=layout.with_attributes(words))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(attributes_file={str(self._file.path)!r}, missing={self.missing!r})"
