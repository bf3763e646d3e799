"""A detector without a network, which records its training data and returns the same boxes for every image."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmengine.structures import InstanceData


@MODELS.register_module()
class RecordingDetector(BaseDetector):
    """Detector that records its training data and returns constant boxes.

    Args:
        record: file to which one json line per image is written: its id and ``[label, [x1, y1, x2, y2]]`` of its
            objects, including crowds.
        found: (label, x1, y1, x2, y2) of the detections on every image; their score is 0.9.
    """

    def __init__(
        self, record: str, found: Sequence[Sequence[float]], data_preprocessor=None, init_cfg=None
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.record, self.found = record, found

    def loss(self, batch_inputs, batch_data_samples) -> dict:
        with open(self.record, "a") as file:
            for sample in batch_data_samples:
                objects = []
                for instances in (sample.gt_instances, getattr(sample, "ignored_instances", None)):
                    if instances is not None:
                        boxes = getattr(instances.bboxes, "tensor", instances.bboxes)
                        objects += [[int(n), box.tolist()] for n, box in zip(instances.labels, boxes)]
                file.write(json.dumps(dict(image=sample.img_id, objects=objects)) + "\n")
        return dict(loss=(self.weight**2).sum())

    def predict(self, batch_inputs, batch_data_samples, rescale: bool = True):
        rows = torch.tensor(self.found, dtype=torch.float32)
        for sample in batch_data_samples:
            scores = torch.full((len(rows),), 0.9)
            sample.pred_instances = InstanceData(bboxes=rows[:, 1:], labels=rows[:, 0].long(), scores=scores)
        return batch_data_samples

    def _forward(self, batch_inputs, batch_data_samples=None):
        return batch_inputs

    def extract_feat(self, batch_inputs):
        return batch_inputs
