"""Names of metrics, apart so that reading results imports nothing heavy."""

METRIC_NAMES = ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l")
"""Of COCO's bbox protocol."""

MEASURES = ("contrast", "sharpness", "camouflage")
"""Of :mod:`.factors`."""
