"""Metrics of generated images for mmengine's ``val_evaluator``, to score a generator during training.

The ``val_dataloader`` yields real images with their layouts; the editor's ``val_step`` adds ``pred_img``, the image
generated for the layout, with noise that depends on the image id only, and ``prompted``, the indices of the objects in
its prompt. mmengine gathers the results of all ranks before metrics are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

import detdiffusion.evaluation.extractors  # noqa: F401  registers them
from detdiffusion.evaluation.consistency import consistency_report, match_objects
from detdiffusion.evaluation.detection import evaluate_detection
from detdiffusion.evaluation.extractors import build_extractor
from detdiffusion.evaluation.fid import SetFeatures, distances
from detdiffusion.evaluation.real_bound import describe_bound, halves
from detdiffusion.registry import METRICS
from detdiffusion.utils.errors import UserError


class _GenerationMetric(BaseMetric):
    """Base class: provides real and generated images of a batch as (B, 3, H, W) uint8 RGB."""

    default_prefix = "generation"

    def _images(self, data_batch: Mapping, data_samples: Sequence[Mapping]) -> tuple[Tensor, Tensor]:
        absent = [key for key in ("pred_img", "layout") if any(key not in sample for sample in data_samples)]
        if absent:
            raise UserError(
                f"{type(self).__name__}: the model's val_step returns no {' and no '.join(absent)}; this metric "
                "needs an editor such as DetDiffusion and a val_dataloader of LayoutCocoDataset"
            )
        real = data_batch["inputs"]
        real = torch.stack(list(real)) if not isinstance(real, Tensor) else real
        if real.dtype != torch.uint8:
            raise UserError(
                f"{type(self).__name__}: expected uint8 images from PackLayoutInputs, got {real.dtype}"
            )
        return _as_pixels([sample["pred_img"] for sample in data_samples]), real.cpu()


@METRICS.register_module()
class GenerationFrechetMetric(_GenerationMetric):
    """Fréchet distance between the generated and the real images of a validation set, at the training size.

    With Inception features it is called ``fid``. It compares the images of the val_dataloader with one generated image
    per layout, without saving them to files and without a resize other than that of the extractor.

    Args:
        extractor: config of an extractor (:mod:`.extractors`): ``DetectorExtractor`` or ``TorchFidelityExtractor``.
        kernel_metrics: also compute KID, precision and recall (torch-fidelity).
        collect_device, prefix, collect_dir: see :class:`mmengine.evaluator.BaseMetric`.

    Example:
        >>> val_evaluator = dict(
        ...     type='GenerationFrechetMetric',
        ...     extractor=dict(type='TorchFidelityExtractor', weights='pt_inception-2015-12-05-6726825d.pth'))
    """

    def __init__(self, extractor: dict, kernel_metrics: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.extractor_cfg, self.kernel_metrics = dict(extractor), kernel_metrics
        self._extractor = None
        self._real: dict = {}  # real images are the same in every epoch
        self._logged: set[str] = set()

    def process(self, data_batch: Mapping, data_samples: Sequence[Mapping]) -> None:
        """Extract the features of a batch, one result per image."""
        generated, real = self._images(data_batch, data_samples)
        if self._extractor is None:
            device = str(data_samples[0]["pred_img"].device)
            self._extractor = build_extractor(self.extractor_cfg, device)
        keys = [(sample["layout"].image_id, sample.get("flip", False)) for sample in data_samples]
        if any(key not in self._real for key in keys):
            self._real.update(zip(keys, self._extractor(real).numpy()))
        for key, vector in zip(keys, self._extractor(generated).numpy()):
            self.results.append((key[0], vector, self._real[key]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute ``fid`` or ``frechet``; with ``kernel_metrics`` also ``kid``, ``precision`` and ``recall``.

        ``real_fid`` or ``real_frechet`` is the bound, the distance of one half of the real images from the other, see
        :mod:`.real_bound`.
        """
        generated, real = (np.stack([np.asarray(row[k]) for row in results]) for k in (1, 2))
        features, name = self._extractor.features, self._extractor.distance
        sets = SetFeatures(generated, "validation"), SetFeatures(real, "real")
        metrics, notes = distances(*sets, features, self.kernel_metrics, name)
        lines = [f"Fréchet distance of the validation images: {features}", *self._extractor.notes, *notes]
        if pair := halves(sets[1], [row[0] for row in results]):
            bound, notes = distances(*pair, features, False, name)
            metrics[f"real_{name}"] = bound[name]
            lines += [
                f"real_{name}: {describe_bound(bound[name], len(real), real.shape[1], None, 0)}",
                *notes,
            ]
        for line in lines:
            if line not in self._logged:
                self._logged.add(line)
                print_log(line, logger="current")
        return {k: v for k, v in metrics.items() if k not in ("real_images", "kid_subset_size")}


@METRICS.register_module()
class GenerationDetectionMetric(_GenerationMetric):
    """A detector's AP of the prompted objects on generated and on real images.

    Only classes of the detector are scored. Objects of a real image that are not part of its layout (below 2 % of the
    area) are unknown here, so detections of them count as false positives in the real bound.

    Args:
        config, checkpoint, cfg_options: those of an mmdet detector.
        real_bound: also run the detector on the real images and, if the model gives them, on the real images after its
            autoencoder, which no generated image can be expected to exceed; once, in the first validation.
        score_thr, iou_thr: thresholds for counting an object as found.
        collect_device, prefix, collect_dir: see :class:`mmengine.evaluator.BaseMetric`.
    """

    def __init__(
        self,
        config: str,
        checkpoint: str,
        cfg_options: Sequence[str] | None = None,
        real_bound: bool = True,
        score_thr: float = 0.3,
        iou_thr: float = 0.5,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.detector_args = dict(config=config, checkpoint=checkpoint, cfg_options=cfg_options)
        self.real_bound, self.score_thr, self.iou_thr = real_bound, score_thr, iou_thr
        self._detector = None
        self._bounds: dict[str, dict] = {"real": {}, "autoencoder": {}}

    def process(self, data_batch: Mapping, data_samples: Sequence[Mapping]) -> None:
        """Detect objects in the images of a batch, one result per image."""
        from detdiffusion.perception.detector import MMDetDetector

        generated, real = self._images(data_batch, data_samples)
        if self._detector is None:
            self._detector = MMDetDetector(
                device=str(data_samples[0]["pred_img"].device), **self.detector_args
            )
        keys = [(sample["layout"].image_id, sample.get("flip", False)) for sample in data_samples]
        if self.real_bound and any(key not in self._bounds["real"] for key in keys):
            self._bounds["real"].update(zip(keys, self._detect(real)))
            if all("round_trip" in sample for sample in data_samples):
                copies = _as_pixels([sample["round_trip"]() for sample in data_samples])
                self._bounds["autoencoder"].update(zip(keys, self._detect(copies)))
        for key, sample, found in zip(keys, data_samples, self._detect(generated)):
            layout = sample["layout"]
            if sample.get("prompted") is not None:
                layout = layout.select(sample["prompted"])
            height, width = sample["pred_img"].shape[-2:]
            boxes = layout.boxes.double().cpu().numpy() * [width, height, width, height]
            self.results.append(
                dict(
                    size=(height, width),
                    boxes=boxes,
                    names=list(layout.names),
                    attributes=layout.attributes,
                    generated=found,
                    **{name: found_there.get(key) for name, found_there in self._bounds.items()},
                )
            )

    def _detect(self, images: Tensor) -> list[dict]:
        arrays = [image.permute(1, 2, 0).contiguous().numpy() for image in images]
        return self._detector.predict_arrays(arrays)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute ``bbox_mAP``, ``bbox_mAP_50``, ``bbox_mAP_75``, ``found`` (fraction of objects) and ``mean_score``
        of the generated images, ``real_bbox_mAP`` and ``autoencoder_bbox_mAP`` of the bounds, and
        ``mean_score_easy`` and ``mean_score_hard`` if the layouts have attributes."""
        classes = self._detector.classes
        ids = {name: index for index, name in enumerate(classes, 1)}
        truth = dict(images=[], annotations=[], categories=[dict(id=i, name=n) for n, i in ids.items()])
        attributes: dict[int, str] = {}
        for image_id, row in enumerate(results, 1):
            height, width = row["size"]
            truth["images"].append(dict(id=image_id, width=int(width), height=int(height), file_name=""))
            for k, (box, name) in enumerate(zip(np.asarray(row["boxes"]).tolist(), row["names"])):
                if name in ids:
                    x1, y1, x2, y2 = box
                    number = len(truth["annotations"]) + 1
                    truth["annotations"].append(
                        dict(
                            id=number,
                            image_id=image_id,
                            category_id=ids[name],
                            bbox=[x1, y1, x2 - x1, y2 - y1],
                            area=(x2 - x1) * (y2 - y1),
                            iscrowd=0,
                        )
                    )
                    attributes[number] = row["attributes"][k] if row["attributes"] else ""
        if not truth["annotations"]:
            names = sorted({name for row in results for name in row["names"]})
            raise UserError(
                f"GenerationDetectionMetric: the detector knows none of the layouts' classes {names[:5]}; it knows "
                f"{list(classes)[:5]}"
            )
        found = _as_results([row["generated"] for row in results])
        scores = evaluate_detection(found, truth)
        metrics = {key: scores[key] for key in ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75")}
        for name in self._bounds:
            if all(row[name] is not None for row in results):
                bound = evaluate_detection(_as_results([row[name] for row in results]), truth)
                metrics[f"{name}_bbox_mAP"] = bound["bbox_mAP"]
        matches = match_objects(found, truth, self.score_thr, self.iou_thr)
        total = consistency_report(matches, truth)["all"]
        metrics.update(found=total["found"], mean_score=total["mean_score"], objects=total["objects"])
        words = np.array([attributes[i] for i in matches.source_ids.tolist()])
        for word in ("easy", "hard"):
            if (words == word).any():
                metrics[f"mean_score_{word}"] = float(matches.score[words == word].mean())
        return metrics


def _as_pixels(images: Sequence[Tensor]) -> Tensor:
    """Return images (3, H, W), float in [0, 1], as (B, 3, H, W) uint8."""
    images = torch.stack(list(images)).detach().float().cpu()
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def _as_results(found: Sequence[Mapping]) -> list[dict]:
    """Convert detections to COCO results, with images numbered from 1 and label + 1 as category id."""
    results = []
    for image_id, image in enumerate(found, 1):
        for box, score, label in zip(*(np.asarray(image[k]).tolist() for k in ("boxes", "scores", "labels"))):
            x1, y1, x2, y2 = box
            results.append(
                dict(image_id=image_id, category_id=label + 1, bbox=[x1, y1, x2 - x1, y2 - y1], score=score)
            )
    return results
