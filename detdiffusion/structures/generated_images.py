"""`GeneratedImages`: the result of an inference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic

from .layout import Layout

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


class GeneratedImages(dict):
    """Generated images and what is known about them: a dict, as mmengine's inferencers return.

    Keys:
        images: B PIL images, RGB.
        samples: (B, 3, H, W) float32 in [0, 1], the same images.
        kept: for each image the indices of the layout's objects that its prompt had room for, in prompt order.
        prompts: the B prompts as text.
        predictions: for each image a dict that json can store: ``width`` and ``height``, ``prompt``, ``seed`` (None if
            unknown), and of the kept objects ``bboxes`` (xyxy in pixels), ``labels`` (class names) and ``attributes``
            (None without).
        visualization: the images with boxes, if asked for.
    """

    @classmethod
    def collect(
        cls, results: Sequence[Mapping], layouts: Sequence[Layout], seeds: Sequence[int] | None = None
    ) -> GeneratedImages:
        """Join the results of the editor's ``infer`` for consecutive batches of layouts.

        Args:
            results: dicts with ``samples``, ``kept`` and ``prompts``.
            layouts: the layouts of all batches.
            seeds: the seed of each layout, if known.
        """
        samples = torch.cat([result["samples"] for result in results])
        kept = [indices for result in results for indices in result["kept"]]
        prompts = [prompt for result in results for prompt in result["prompts"]]
        pixels = (samples.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        images = [Image.fromarray(array) for array in pixels]
        known = [None] * len(images) if seeds is None else seeds
        return cls(
            images=images,
            samples=samples,
            kept=kept,
            prompts=prompts,
            predictions=[_prediction(*one) for one in zip(images, layouts, kept, prompts, known)],
        )

    @property
    def images(self) -> list[Image.Image]:
        """The images."""
        return self["images"]

    def save(self, path: str | Path) -> list[Path]:
        """Save the images; existing files of these names are replaced.

        Args:
            path: a folder for ``00000.png``, ``00001.png``, ... and ``predictions.json`` (the predictions, each with
                its ``file_name``); for a single image also a file (.png, .jpg or .webp).

        Returns:
            The paths of the images.

        Raises:
            UserError: a file is named for several images, or a file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() in _FORMATS:
            if len(self.images) != 1:
                raise UserError(f"{path}: {len(self.images)} images do not go into one file; name a folder")
            files = [path]
        else:
            files = [path / f"{index:05d}.png" for index in range(len(self.images))]
            listed = [dict(file_name=f.name, **p) for f, p in zip(files, self["predictions"])]
            write_atomic(path / "predictions.json", (json.dumps(listed, indent=1) + "\n").encode())
        for file, image in zip(files, self.images):
            buffer = BytesIO()
            image.save(buffer, format=_FORMATS[file.suffix.lower()])
            write_atomic(file, buffer.getvalue())
        return files


def _prediction(image: Image.Image, layout: Layout, kept: list[int], prompt: str, seed: int | None) -> dict:
    chosen = layout.select(kept)
    size = torch.tensor([image.width, image.height] * 2)
    return dict(
        width=image.width,
        height=image.height,
        prompt=prompt,
        seed=seed,
        bboxes=(chosen.boxes * size).tolist(),
        labels=list(chosen.names),
        attributes=chosen.attributes,
    )
