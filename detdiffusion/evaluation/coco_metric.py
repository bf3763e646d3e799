"""mmdet's ``CocoMetric`` on a checked annotation file (imports mmdet)."""

from __future__ import annotations

from collections import Counter

from mmdet.evaluation.metrics import CocoMetric
from mmengine.fileio import get_local_path
from mmengine.logging import print_log

from detdiffusion.datasets.coco_for_mmdet import check_classes, open_checked
from detdiffusion.registry import METRICS
from detdiffusion.utils.errors import UserError, some


@METRICS.register_module()
class CheckedCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric`` with the ground truth of this project's data sets (checked annotations).

    ``tools/train.py`` and ``tools/test.py`` replace mmdet's metric by this one.

    Args:
        ann_file: COCO json; None takes the ground truth from the data set.
        sort_categories, backend_args: see mmdet's ``CocoMetric``.
        **kwargs: see mmdet's ``CocoMetric``.

    Raises:
        UserError: see :func:`~detdiffusion.datasets.coco_for_mmdet.open_checked`; in :meth:`compute_metrics`, if the
            file lacks classes or images, or has the classes in another order.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        sort_categories: bool = False,
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(None, backend_args=backend_args, **kwargs)
        self.ann_file = ann_file
        if ann_file is None:
            return
        with get_local_path(ann_file, backend_args=backend_args) as path:
            self._coco_api = open_checked(path, Counter(), masks="segm" in self.metrics)
        if sort_categories:
            self._coco_api.dataset["categories"].sort(key=lambda category: category["id"])
            self._coco_api.createIndex()

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Check classes and images, then compute mmdet's metrics; without any detection mmdet has none, and AP is 0."""
        if self.ann_file is not None:
            check_classes(self.ann_file, self._coco_api, self.dataset_meta["classes"])
            self._check_images({truth["img_id"] for truth, _ in results})
        return super().compute_metrics(results) or self._nothing_found()

    def _nothing_found(self) -> dict[str, float]:
        """Return AP 0, in total and by class, for a detector without any detection."""
        kinds = [kind for kind in self.metrics if kind in ("bbox", "segm")]
        found = {f"{kind}_{name}": 0.0 for kind in kinds for name in ("mAP", "mAP_50", "mAP_75")}
        if self.classwise:
            found |= {f"{name}_precision": 0.0 for name in self.dataset_meta["classes"]}
        return found

    def _check_images(self, seen: set[int]) -> None:
        known = set(self._coco_api.imgs)
        if unknown := sorted(seen - known):
            raise UserError(
                f"{self.ann_file}: lacks {len(unknown)} of the {len(seen)} images of the data set (ids "
                f"{some(unknown, 5)}); the evaluator's ann_file must be that of the data set"
            )
        if absent := len(known - seen):
            print_log(
                f"{self.ann_file}: {absent} of its {len(known)} images were not tested; their objects count as missed",
                logger="current",
                level=30,
            )
