"""A synthetic COCO set from a config, a checkpoint and a strategy: what ``tools/generate.py`` runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.generation.generate import Progress, check_positive, generate, plan
from detdiffusion.generation.strategies import build_strategy
from detdiffusion.generation.writer import CocoWriter
from detdiffusion.perception.attributes_file import AttributesFile
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of


def generate_dataset(
    config: str,
    checkpoint: str | None,
    out: str | Path,
    strategy: str | dict,
    seed: int = 0,
    samples_per_image: int = 1,
    batch_size: int = 8,
    limit: int | None = None,
    steps: int = 50,
    guidance_scale: float = 3.5,
    split: str = "train",
    ann: Sequence[str] | None = None,
    img_dir: str | None = None,
    attributes: str | None = None,
    height: int | None = None,
    width: int | None = None,
    device: str | None = None,
    cfg_options: Sequence[str] | None = None,
    progress: bool = True,
) -> dict:
    """Generates a set, or continues one.

    Args:
        config, checkpoint, device, cfg_options: see :class:`.inferencer.DetDiffusionInferencer`.
        out: the set's folder: ``images/``, ``annotations.json``, ``manifest.jsonl``, ``run.json``.
        strategy: 'origin', 'easy', 'hard' or a config dict of a registered strategy.
        seed: other seeds give other ids and other noise.
        samples_per_image: images a layout.
        batch_size: images at once; part of what decides the last grey level.
        limit: only the first layouts.
        steps, guidance_scale: of the sampler.
        split: entry of the config's ``layout_datasets`` with the layouts ('train': else the training data).
        ann, img_dir: other COCO json files (and their images) in place of the split's.
        attributes: the layouts' attributes file, in place of the one the config names.
        height, width: pixels; default the model's.
        progress: print progress on stderr.

    Returns:
        The counts of :func:`detdiffusion.generation.generate.generate` with the writer's report.

    Raises:
        UserError: anything wrong with the input, see the parts.
    """
    check_positive(samples_per_image=samples_per_image, batch_size=batch_size, limit=limit, steps=steps)
    check_positive(height=height, width=width)
    inferencer = DetDiffusionInferencer(config, checkpoint, device, cfg_options)
    scale = inferencer.model.latent_scale
    for name, side in (("height", height), ("width", width)):
        if side is not None and side % scale:
            raise UserError(f"--{name} {side} does not divide by {scale}, the latent scale of the model")
    dataset, attributes = _layouts(inferencer.config, config, split, ann, img_dir, attributes)
    layouts = dataset.layouts[:limit]
    wants = inferencer.model.layout_tokenizer.attributes
    if not wants and strategy != "origin":
        raise UserError(f"strategy {strategy!r}: the model of {config} writes no attributes; use 'origin'")
    nameable = None
    if wants:
        layouts, nameable = _with_attributes(layouts, attributes, strategy, config, dataset.ann_files)
    chosen = build_strategy(strategy, nameable)
    drawings = plan(layouts, chosen, seed, samples_per_image)
    run = dict(
        strategy=chosen.name,
        seed=seed,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        height=height,
        width=width,
        checkpoint=None if checkpoint is None else Path(checkpoint).name,
        checkpoint_sha256=None if checkpoint is None else sha256_of(checkpoint),
        model_sha256=_digest(inferencer.config.model.to_dict()),
        annotation_files={Path(path).name: sha256_of(path) for path in dataset.ann_files},
        attributes_sha256=sha256_of(attributes) if wants and attributes else None,
    )

    def infer(batch: Sequence[Layout], generators) -> dict:
        return inferencer(
            batch,
            generators,
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
        )

    with CocoWriter(out, run, dataset.categories) as writer:
        found = {reason: count for reason, count in writer.report.items() if count}
        print(
            f"{out}: {len(drawings)} images of {len(layouts)} layouts, strategy {chosen.name}, seed {seed}"
            + (f"; continuing: {', '.join(f'{k} {v}' for k, v in found.items())}" if found else "")
        )
        counts = generate(infer, drawings, writer, batch_size, Progress() if progress else None)
        path = writer.finish()
        print(
            f"{path}: {len(writer)} images; now written {counts['written']}, already there "
            f"{counts['already_there']}; objects prompted now {counts['objects']}, not prompted (no room) "
            f"{counts['objects_not_prompted']}"
        )
        return {**counts, **writer.report}


def _layouts(cfg, config: str, split: str, ann, img_dir, attributes: str | None):
    """The data set of layouts, and the attributes file that goes with it."""
    from detdiffusion.registry import DATASETS

    splits = cfg.get("layout_datasets", {})
    spec = splits.get(split)
    if spec is None and split == "train":
        spec = cfg.get("train_dataloader", {}).get("dataset")
    if spec is None:
        known = sorted({*splits, *(["train"] if "train_dataloader" in cfg else [])})
        raise UserError(
            f"{config}: has no layouts for split {split!r} (it has: {', '.join(known) or 'none'}); "
            "name a set in layout_datasets"
        )
    spec = spec.to_dict() if hasattr(spec, "to_dict") else dict(spec)
    steps = spec.pop("pipeline", [])
    if attributes is None and not ann:
        # The training data's file serves another split too: easy and hard want only the nameable classes.
        steps = [*steps, *cfg.get("train_dataloader", {}).get("dataset", {}).get("pipeline", [])]
        loaders = [s for s in steps if str(s.get("type", "")).endswith("LoadPerceptionAttributes")]
        attributes = loaders[0]["attributes_file"] if loaders else None
    if ann:
        # Drawing reads no source image: without --img-dir any folder that exists will do.
        spec.pop("data_root", None)
        spec.update(ann_files=list(ann), img_dir=img_dir or str(Path(ann[0]).resolve().parent))
    elif img_dir:
        raise UserError("--img-dir goes with --ann; the config names the images of its own splits")
    return DATASETS.build(spec), attributes


def _with_attributes(layouts: list[Layout], path: str | None, strategy, config: str, ann_files):
    """Layouts with attributes from the file, or the nameable classes where the file is another split's."""
    if path is None:
        raise UserError(
            f"the model of {config} wants attributes, but no file is named: give --attributes FILE "
            "(tools/extract_attributes.py writes it)"
        )
    file = AttributesFile.read(path)
    ids = [i for layout in layouts for i in layout.ids]
    nameable = file.info.get("nameable")
    foreign = not file.made_from(ann_files) or any(i not in file.attributes for i in ids)
    if strategy in ("easy", "hard") and nameable and foreign:
        print(
            f"{path}: is of another set; {strategy!r} takes from it only the {len(nameable)} nameable classes"
        )
        return [replace(layout, attributes=None) for layout in layouts], nameable
    file.check(ids, config)
    file.check_files(ann_files)
    return [layout.with_attributes(file.lookup(layout.ids, "")) for layout in layouts], nameable


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
