"""Images of one data set with objects of another pasted in (imports mmdet).

Import it by ``custom_imports=dict(imports=['detdiffusion.datasets.pasted_dataset'])``.
"""

from __future__ import annotations

from mmdet.datasets import ConcatDataset, MultiImageMixDataset

from detdiffusion.registry import DATASETS
from detdiffusion.utils.errors import UserError

from .transforms.copy_paste import CopyPaste  # noqa: F401  what its pipeline names


@DATASETS.register_module()
class PastedDataset(MultiImageMixDataset):
    """mmdet's ``MultiImageMixDataset`` of two data sets: images of the first, with objects of the second pasted in.

    :class:`~detdiffusion.datasets.transforms.copy_paste.CopyPaste` with ``from_last=True`` does that, e.g. for real
    objects in generated images.

    Args:
        dataset: a ``ConcatDataset`` of the two, or its config.
        pipeline, skip_type_keys, max_refetch: see ``MultiImageMixDataset``.

    Raises:
        UserError: ``dataset`` is not a ``ConcatDataset`` of two, or these have other classes.
    """

    def __init__(self, dataset: ConcatDataset | dict, pipeline, **kwargs) -> None:
        super().__init__(dataset, pipeline, **kwargs)
        if not isinstance(self.dataset, ConcatDataset) or len(self.dataset.datasets) != 2:
            raise UserError(
                "PastedDataset: needs a ConcatDataset of two data sets, images and objects to paste"
            )
        classes = [part.metainfo.get("classes") for part in self.dataset.datasets]
        if classes[0] != classes[1]:
            raise UserError(
                f"PastedDataset: images and objects must have the same classes in the same order, got {classes[0]} and "
                f"{classes[1]}"
            )
        self.num_samples = self.dataset.cumulative_sizes[0]
        self._metainfo = self.dataset.datasets[0].metainfo  # without ``cumulative_sizes``, which are of both
