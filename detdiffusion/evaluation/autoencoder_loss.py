"""What an autoencoder loses of a set's own images: PSNR, AP of a detector, and the scale of its latents.

A generator on an autoencoder's latents cannot show more than the autoencoder itself, so this bounds every later figure.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from detdiffusion.datasets.coco_json import CocoFile, read_coco
from detdiffusion.datasets.image_files import image_folder
from detdiffusion.datasets.image_reading import read_rgb, resize_pixels
from detdiffusion.evaluation.detection import evaluate_detection
from detdiffusion.evaluation.detections import detect_images
from detdiffusion.models.editors.detdiffusion.components import HUB, build_component
from detdiffusion.models.editors.detdiffusion.latents import (
    LatentVariance,
    decode,
    latent_scale,
    latent_sides,
    posterior,
)
from detdiffusion.perception.detector_factory import load_detector
from detdiffusion.utils.devices import choose_device
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.progress import Progress
from detdiffusion.utils.shared_options import AnnotatedImages

KINDS = ("resized", "reconstructed")


def measure_autoencoder(
    vae: str,
    real: AnnotatedImages,
    size: tuple[int, int],
    out: str | Path,
    *,
    limit: int = 64,
    detector: tuple[str, str] | None = None,
    device: str | None = None,
) -> dict:
    """Encode and decode images of a set; write ``autoencoder.json`` and the images to ``out``.

    Args:
        vae: diffusers folder of an autoencoder, or ``hub://OWNER/NAME``.
        real: COCO json and folder of the images.
        size: (height, width) of generated images, which the images are resized to.
        out: folder; the images are in ``resized`` and ``reconstructed``.
        limit: number of images, spread evenly over the file.
        detector: config and weights of a detector, whose AP is measured on both; None measures none.
        device: torch device.

    Returns:
        ``type`` (diffusers class), ``psnr`` (dB, of the mean squared error of all images), ``latent_std`` (over all
        images together), ``scaling_factor`` (its inverse), ``images``, ``size``, and with a detector ``bbox_mAP`` and
        ``bbox_mAP_50`` by kind of image.

    Raises:
        UserError: a file is missing or not valid, a side is not divisible by the autoencoder's scale, or ``limit`` is
            below 1.
    """
    if limit < 1:
        raise UserError(f"`limit` must be at least 1, it is {limit}")
    chosen, out = choose_device(device), Path(out)
    kind = autoencoder_type(vae)
    model = build_component(dict(type=kind, from_pretrained=vae), "vae").to(chosen).eval()
    latent_sides(*size, latent_scale(model))  # checks the size
    file, folder = read_coco(real.file), image_folder(real.img_dir, real.file)
    step = max(1, len(file.images) // limit)
    images = file.images[::step][:limit]
    errors, variance = [], LatentVariance()
    with Progress("encoding and decoding", total=len(images)) as bar, torch.inference_mode():
        for image in bar.track(images):
            pixels = resize_pixels(np.asarray(read_rgb(folder / image["file_name"], image)), size)
            inputs = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(chosen).float() / 127.5 - 1
            mean, std = posterior(model, inputs)
            variance.add(mean, std)
            shown = decode(model, mean * model.config.scaling_factor)[0].permute(1, 2, 0).cpu().numpy()
            errors.append(float(np.mean((shown - pixels / 255.0) ** 2)))
            for name, array in zip(KINDS, (pixels, (shown * 255).round().astype(np.uint8))):
                _save(array, out / name / f"{image['id']}.png")
    result = dict(
        type=kind,
        vae=str(vae),
        images=len(images),
        size=list(size),
        psnr=round(-10 * math.log10(max(float(np.mean(errors)), 1e-12)), 2),
        latent_std=round(variance.deviation, 4),
        scaling_factor=round(1 / variance.deviation, 3),
    )
    if detector is not None:
        result |= _scores(file, images, size, out, detector, device)
    write_atomic(out / "autoencoder.json", json.dumps(result, indent=1).encode() + b"\n")
    return result


def autoencoder_type(vae: str) -> str:
    """Return the diffusers class of an autoencoder, from its config.

    Raises:
        UserError: there is no such config, or it is of another class.
    """
    from diffusers import AutoencoderKL

    source = str(vae).removeprefix(HUB)
    try:
        kind = AutoencoderKL.load_config(source).get("_class_name")
    except OSError as error:
        raise UserError(f"{vae}: no autoencoder's config.json ({str(error).splitlines()[0]})") from None
    if kind not in ("AutoencoderKL", "AutoencoderTiny"):
        raise UserError(f"{vae}: {kind} is not supported; use an AutoencoderKL or an AutoencoderTiny")
    return kind


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _scores(
    file: CocoFile,
    images: list[dict],
    size: tuple[int, int],
    out: Path,
    detector: tuple[str, str],
    device: str | None,
) -> dict:
    """Return the AP of a detector on the resized and the reconstructed images."""
    model = load_detector(*detector, device)
    classes = {c["name"]: c["id"] for c in file.categories if c["name"] in set(model.classes)}
    if not classes:
        raise UserError(f"{detector[0]}: the detector knows none of the categories of {file.path}")
    scale = {i["id"]: (size[1] / i["width"], size[0] / i["height"]) for i in images}
    small = [dict(id=i["id"], file_name=f"{i['id']}.png", width=size[1], height=size[0]) for i in images]
    truth = []
    for annotation in file.annotations:
        if annotation["image_id"] in scale:
            (sx, sy), (x, y, w, h) = scale[annotation["image_id"]], annotation["bbox"]
            box = [x * sx, y * sy, w * sx, h * sy]
            kept = {key: annotation[key] for key in ("id", "image_id", "category_id", "iscrowd")}
            truth.append({**kept, "bbox": box, "area": box[2] * box[3]})
    truth = dict(images=small, annotations=truth, categories=file.categories)
    found = {}
    for kind in KINDS:
        predictions, _ = detect_images(model, small, out / kind, classes, name=kind)
        scores = evaluate_detection(predictions.to_coco_results(), truth, category_ids=classes.values())
        found[kind] = {key: round(scores[key], 4) for key in ("bbox_mAP", "bbox_mAP_50")}
    return {key: {kind: found[kind][key] for kind in KINDS} for key in ("bbox_mAP", "bbox_mAP_50")}
