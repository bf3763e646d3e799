"""Describe what a config is for, in error messages about a config that a tool cannot use."""

from __future__ import annotations

from collections.abc import Mapping

_DETECTOR_PARTS = ("bbox_head", "roi_head", "rpn_head", "mask_head", "panoptic_head", "backbone")
_GENERATOR_PARTS = ("unet", "layout_tokenizer", "text_encoder")


def kind_of(cfg: Mapping) -> str:
    """Describe a config by its keys, e.g. as ``"a detector's config (model ATSS)"``."""
    model = cfg.get("model")
    if "onnx_detector" in cfg:
        return "the config of an ONNX detector"
    if "fid" in cfg and model is None:
        return "the config of a FID protocol"
    if not isinstance(model, Mapping):
        return "a base to inherit from, without a model"
    model_type = str(model.get("type", "")).rpartition(".")[2]
    if "layout_datasets" in cfg or any(part in model for part in _GENERATOR_PARTS):
        return f"a generator's config (model {model_type})"
    if model_type == "YOLOv4" or any(part in model for part in _DETECTOR_PARTS):
        return f"a detector's config (model {model_type})"
    return f"the config of another kind of model ({model_type or 'without a type'})"
