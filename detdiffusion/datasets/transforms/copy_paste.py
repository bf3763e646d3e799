"""mmdet's copy-paste augmentation of detectors, for data sets of any size.

Import it by ``custom_imports=dict(imports=['detdiffusion.datasets.transforms.copy_paste'])`` (it imports mmdet), and
name it ``detdiffusion.CopyPaste``.
"""

from __future__ import annotations

import random

from mmcv.transforms.utils import cache_randomness
from mmdet.datasets import transforms
from mmengine.dataset import BaseDataset

from detdiffusion.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CopyPaste(transforms.CopyPaste):
    """mmdet's ``CopyPaste`` (Ghiasi et al. 2021) inside a ``MultiImageMixDataset``.

    mmdet draws the source image from ``0`` to ``len(dataset)`` inclusive, which once in ``len(dataset) + 1`` samples is
    an index outside the data set.
    """

    @cache_randomness
    def get_indexes(self, dataset: BaseDataset) -> int:
        """Return the index of a source image of the data set."""
        return random.randrange(len(dataset))
