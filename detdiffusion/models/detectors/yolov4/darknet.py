"""Conversion between darknet's ``.cfg`` and ``.weights`` files and mmdet checkpoints."""

from __future__ import annotations

import io
from pathlib import Path

from detdiffusion.datasets.class_names import read_names
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import check_not_input, write_atomic


def from_darknet(
    network: str | Path, weights: str | Path, out: str | Path, classes: str | Path | None = None
) -> dict:
    """Convert darknet weights to a checkpoint for configs with ``type='detdiffusion.YOLOv4'`` and this network.

    Args:
        network: a darknet ``.cfg``, the name of a built-in network, or an mmdet config ``.py`` with a YOLOv4.
        weights: path of the darknet ``.weights`` file.
        out: path of the checkpoint to write.
        classes: text file with one class name per line (``coco.names``); default: the classes of the config, or
            of COCO for a network of 80 classes.

    Returns:
        ``layers``, ``parameters``, ``seen``, ``version`` and ``classes`` (the number of classes, or None if their
        names are unknown).

    Raises:
        UserError: a file is missing, damaged or does not match the network, or its weights are not finite.
    """
    import torch

    from detdiffusion.models.detectors.yolov4.weights import read_weights
    from detdiffusion.utils.checkpoint import check_finite

    check_not_input(out, (network, weights, classes))
    model, config = _build(network)
    layers = model.darknet_convolutions()
    header = read_weights(weights, layers)
    check_finite(model.state_dict(), str(weights))
    names = _class_names(classes, config, model.bbox_head.num_classes)
    meta = {"darknet": {"version": list(header.version), "seen": header.seen}}
    if names:
        meta["dataset_meta"] = {"classes": names}
    buffer = io.BytesIO()
    torch.save({"state_dict": model.state_dict(), "meta": meta}, buffer)
    write_atomic(out, buffer.getvalue())
    return {
        "layers": len(layers),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seen": header.seen,
        "version": ".".join(map(str, header.version)),
        "classes": len(names) if names else None,
    }


def to_darknet(network: str | Path, checkpoint: str | Path, out: str | Path) -> dict:
    """Convert a checkpoint to ``out`` (``.weights``) and a ``.cfg`` next to it, for darknet and OpenCV 4.

    Args:
        network: as for :func:`from_darknet`.
        checkpoint: checkpoint of that network, loaded strictly.
        out: path that ends in ``.weights``.

    Returns:
        ``layers``, ``parameters`` and ``cfg``, the path of the network file.

    Raises:
        UserError: a file is missing, damaged or does not match the network.
    """
    from detdiffusion.models.detectors.yolov4.weights import Header, write_weights
    from detdiffusion.utils.checkpoint import load_checkpoint, load_strictly

    out = Path(out)
    if out.suffix != ".weights":
        raise UserError(f"{out}: the name of a darknet weights file must end in .weights")
    check_not_input(out, (network, checkpoint))
    check_not_input(out.with_suffix(".cfg"), (network, checkpoint))
    model, _ = _build(network)
    stored = load_checkpoint(checkpoint)
    load_strictly(model, stored, f"checkpoint {checkpoint}", hint="Use the network it was trained with.")
    seen = ((stored.get("meta") or {}).get("darknet") or {}).get("seen", 0)
    layers = model.darknet_convolutions()
    write_weights(out, layers, Header(seen=seen))
    write_atomic(out.with_suffix(".cfg"), model.network_cfg.to_text().encode())
    return {
        "layers": len(layers),
        "parameters": sum(p.numel() for p in model.parameters()),
        "cfg": str(out.with_suffix(".cfg")),
    }


def _build(network: str | Path):
    """Return the model, and its mmdet config (None if ``network`` is not a config)."""
    from detdiffusion.models.detectors import YOLOv4

    if not str(network).endswith(".py"):
        return YOLOv4(cfg=str(network)), None
    from detdiffusion.utils.config import load_config

    config = load_config(str(network))
    model = dict(config.get("model") or {})
    if str(model.pop("type", "")).rpartition(".")[2] != "YOLOv4":
        raise UserError(f"{network}: its model is not detdiffusion.YOLOv4")
    return YOLOv4(**model), config


def _class_names(path: str | Path | None, config, count: int) -> list[str] | None:
    if path is not None:
        try:
            names = read_names(path)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot read the class names: {error}") from None
        where = str(path)
    elif config is not None and config.get("metainfo", {}).get("classes"):
        names, where = list(config.metainfo["classes"]), config.filename
    elif count == 80:
        from mmdet.datasets import CocoDataset

        names, where = list(CocoDataset.METAINFO["classes"]), "COCO"
    else:
        return None
    if len(names) != count:
        raise UserError(f"{where}: {len(names)} class names for a network of {count} classes")
    return names
