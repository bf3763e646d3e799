"""Names of metrics, in a separate module so that reading results imports nothing heavy."""

METRIC_NAMES = ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l")
"""Metrics of COCO's bbox protocol."""

MEASURES = ("contrast", "sharpness", "camouflage")
"""Measures of :mod:`detdiffusion.experiments.paper.factors`."""
