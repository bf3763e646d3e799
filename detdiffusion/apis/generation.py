"""A synthetic COCO set from a config, a checkpoint and a strategy: what ``tools/generate.py`` runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from detdiffusion.apis.inferencer import TRAINING_ONLY, DetDiffusionInferencer, editor_class
from detdiffusion.generation.background import BackgroundWriter
from detdiffusion.generation.disk import DiskGuard
from detdiffusion.generation.generate import check_positive, generate
from detdiffusion.generation.layout_source import LayoutSource
from detdiffusion.generation.planning import Drawing, batches_to_draw, plan
from detdiffusion.generation.run_file import check_run
from detdiffusion.generation.strategies import Strategy
from detdiffusion.generation.writer import SUFFIXES, CocoWriter
from detdiffusion.models.editors.interface import check_sides
from detdiffusion.structures import Layout
from detdiffusion.utils.checkpoint import find_checkpoint
from detdiffusion.utils.config import load_config
from detdiffusion.utils.devices import choose_device
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.progress import Progress
from detdiffusion.utils.ranks import Ranks
from detdiffusion.visualization.preview import LivePreview

PREVIEW = "preview.png"
_PATIENCE = 20.0  # seconds for the ranks of a killed run to notice that their launcher is gone


def generate_dataset(
    config: str,
    checkpoint: str | None,
    out: str | Path,
    strategy: str | dict,
    strategy_options: Mapping | None = None,
    edits: Mapping[str, float] | None = None,
    oversample_thr: float | None = None,
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
    image_format: str = "png",
    jpeg_quality: int = 95,
    min_free_mb: float = 500.0,
    preview_every: float = 30.0,
    verify: bool = False,
    device: str | None = None,
    cfg_options: Sequence[str] | None = None,
    launcher: str | None = None,
    progress: bool = True,
) -> dict:
    """Generates a set, or continues one.

    Args:
        config, checkpoint, device, cfg_options: see :class:`.inferencer.DetDiffusionInferencer`.
        out: the set's folder: ``images/``, ``annotations.json``, ``manifest.jsonl``, ``run.json``, ``preview.png``.
        strategy: a name, class name or config dict, see :func:`detdiffusion.generation.build_strategy`.
        strategy_options: arguments of the strategy.
        edits: of the layouts, see :class:`detdiffusion.generation.edits.LayoutEdits`; None leaves them alone.
        oversample_thr: layouts with classes in a smaller share of the layouts get more images, see
            :func:`detdiffusion.generation.oversampling.repeat_factors`.
        seed: other seeds give other ids and other noise.
        samples_per_image: images a layout.
        batch_size: images at once on each rank; part of what decides the last grey level. Halved when memory runs out.
        limit: draw only the first layouts. The set is the beginning of the whole one, and a later call with a larger
            limit, or none, adds the rest.
        steps, guidance_scale: of the sampler.
        split: entry of the config's ``layout_datasets`` with the layouts ('train': else the training data).
        ann, img_dir: other COCO json files (and their images) in place of the split's.
        attributes: the layouts' attributes file, in place of the one the config names.
        height, width: pixels; default the model's.
        image_format, jpeg_quality: 'png' or 'jpeg'.
        min_free_mb: megabytes of the disk that stay free; checked before the start and before every batch.
        preview_every: seconds between renewals of ``preview.png``; 0 for none.
        verify: compare every finished file with its checksum, and make damaged and missing ones anew.
        launcher: see :meth:`~detdiffusion.utils.ranks.Ranks.join`; all ranks need one folder that all of them see.
        progress: print progress on stderr.

    Returns:
        Counts over all ranks: ``written``, ``objects``, ``objects_not_prompted``, ``in_smaller_batches``; with
        ``already_there`` and the writer's report, and with ``verify`` ``verified`` and ``repaired`` files.

    Raises:
        UserError: anything wrong with the input, see the parts.
    """
    check_positive(samples_per_image=samples_per_image, batch_size=batch_size, limit=limit, steps=steps)
    check_positive(height=height, width=width)
    if image_format not in SUFFIXES or not 1 <= jpeg_quality <= 100:
        raise UserError(
            f"--format is png or jpeg and --jpeg-quality 1 to 100, got {image_format} and {jpeg_quality}"
        )
    ranks = Ranks.join(launcher)
    try:
        # What can be checked without the model is checked before it: it may take minutes to load.
        device = choose_device(ranks.device(device))
        cfg = load_config(config, cfg_options)
        wants_attributes = editor_class(cfg).needs_attributes(cfg.model)
        source = LayoutSource.read(cfg, config, split, ann, img_dir, attributes, wants_attributes, ranks.say)
        chosen = source.strategy(strategy, strategy_options, ranks.say)
        editor = source.editor(edits)
        samples = source.samples(oversample_thr, samples_per_image, seed, limit, ranks.say)
        drawings = plan(source.layouts[:limit], chosen, seed, samples, editor, SUFFIXES[image_format])
        run = dict(
            strategy=chosen.name,
            strategy_options=_own_options(chosen, strategy, strategy_options),
            edits=editor.name if editor else None,
            seed=seed,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            height=height,
            width=width,
            format=image_format if image_format == "png" else f"jpeg {jpeg_quality}",
            checkpoint=None if checkpoint is None else Path(checkpoint).name,
            checkpoint_sha256=None if checkpoint is None else sha256_of(find_checkpoint(checkpoint)),
            model_sha256=_digest(_without_places(cfg.model.to_dict())),
            annotation_files=_checksums(source.ann_files),
            layouts_sha256=source.digest,
            attributes_sha256=sha256_of(source.file.path) if source.file else None,
        )
        check_run(Path(out), run)
        inferencer = DetDiffusionInferencer(cfg, checkpoint, device)
        side, own = check_sides(inferencer.model, height, width), inferencer.model.image_size
        if side != own:
            ranks.say(
                f"note: drawing {side[0]} x {side[1]} (height x width), the model's own size is {own[0]} x {own[1]}; "
                "a size that it was not trained at costs quality, and another shape stretches the objects"
            )
        # a checkpoint has all weights; without one they are those that lay where the config says
        run["weights_sha256"] = _weights_digest(inferencer.model) if checkpoint is None else None

        def infer(batch: Sequence[Layout], generators) -> dict:
            return inferencer(
                batch,
                generators,
                height=height,
                width=width,
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
            )

        def open_writer() -> CocoWriter:
            with Progress("verifying", "files", enabled=verify and progress) as bar:
                return CocoWriter(
                    out,
                    run,
                    source.categories,
                    checksums=verify,
                    rank=ranks.rank,
                    patience=_PATIENCE,
                    jpeg_quality=jpeg_quality,
                    progress=bar,
                )

        with ranks.first_then_others(open_writer) as writer:
            session = _Session(
                Path(out), ranks, writer, drawings, batch_size, DiskGuard(Path(out), round(min_free_mb * 1e6))
            )
            session.introduce(chosen.name, len(samples), seed, verify)
            session.disk.check_start(session.missing, side[0] * side[1], image_format, writer.mean_bytes)
            preview = LivePreview(Path(out) / PREVIEW, source.categories, 0 if ranks.rank else preview_every)
            with Progress("generating", total=session.missing, enabled=progress and ranks.is_main) as bar:
                return session.run(infer, preview, bar, verify)
    finally:
        ranks.close()


@dataclass
class _Session:
    """One rank's part of a run, from the opened set to the finished one."""

    out: Path
    ranks: Ranks
    writer: CocoWriter
    drawings: list[Drawing]
    batch_size: int
    disk: DiskGuard
    done: set[int] = field(init=False)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.done = set(self.writer.done)
        self.missing = sum(drawing.image_id not in self.done for drawing in self.drawings)

    def introduce(self, strategy: str, layouts: int, seed: int, verify: bool) -> None:
        """What this run is going to do, on rank 0."""
        report = self.writer.report
        found = {reason: count for reason, count in report.items() if count}
        self.ranks.say(
            f"{self.out}: {len(self.drawings)} images of {layouts} layouts, strategy {strategy}, seed {seed}"
            + (f", {self.ranks.size} ranks" if self.ranks.size > 1 else "")
            + (f"; continuing: {', '.join(f'{k} {v}' for k, v in found.items())}" if found else "")
        )
        if verify:
            bad = report["missing_files"] + report["damaged_files"]
            self.ranks.say(
                f"verified {report['resumed'] + bad} files: {report['damaged_files']} damaged, "
                f"{report['missing_files']} missing, {report['stray_files']} stray"
            )

    def run(self, infer, preview: LivePreview, progress: Progress, verify: bool) -> dict:
        """Draws this rank's share; rank 0 then finishes the set for all."""
        size, rank = self.ranks.size, self.ranks.rank
        batches = batches_to_draw(self.drawings, self.done, self.batch_size, rank, size)
        with BackgroundWriter(self.writer, depth=max(16, 2 * self.batch_size)) as background:

            def add(image, record, annotations, extra) -> None:
                background.add(image=image, record=record, annotations=annotations, extra=extra)
                preview.add(image, annotations)

            def before_batch() -> None:
                self.ranks.check_launcher()
                self.disk.check()

            def report(written: int, of: int) -> None:
                # the other ranks' shares are as large and about as far
                progress(min(written * size, self.missing), self.missing)

            counts = generate(infer, batches, self.done, add, report, before_batch)
        if rank:
            self.writer.close()
        counts = self.ranks.total(counts)
        if rank == 0:
            preview.write()
            path = self.writer.finish()
            counts.update(already_there=len(self.drawings) - self.missing, **self.writer.report)
            if verify:
                bad = counts["missing_files"] + counts["damaged_files"]
                counts["verified"] = counts["resumed"] + bad
                counts["repaired"] = len(self.writer.lost & self.writer.done)
            self._conclude(path, counts)
        return counts

    def _conclude(self, path: Path, counts: dict) -> None:
        print(
            f"{path}: {len(self.writer)} images; now written {counts['written']}, already there "
            f"{counts['already_there']}; objects prompted now {counts['objects']}, not prompted (no room) "
            f"{counts['objects_not_prompted']}"
            + (
                f"; drawn in smaller batches for want of memory {counts['in_smaller_batches']}"
                if counts["in_smaller_batches"]
                else ""
            )
        )
        if "repaired" in counts:
            lost = counts["missing_files"] + counts["damaged_files"] - counts["repaired"]
            print(
                f"repaired {counts['repaired']} files (drawn anew, checksums rewritten)"
                + (f"; {lost} are beyond --limit and --samples-per-image of this command" if lost else "")
            )


def _checksums(paths: Sequence[str]) -> dict[str, str]:
    """SHA-256 by file name, in the files' order; a name that came before gets a number."""
    sums: dict[str, str] = {}
    for path in paths:
        name = Path(path).name
        seen = sum(Path(other).name == name for other in paths[: len(sums)])
        sums[f"{name} ({seen + 1})" if seen else name] = sha256_of(path)
    return sums


def _own_options(chosen: object, strategy: str | dict, options: Mapping | None) -> dict | None:
    """Arguments of a user's own strategy; the names of the library's own strategies say theirs."""
    if type(chosen).__module__ == Strategy.__module__:
        return None
    given = {**(strategy if isinstance(strategy, Mapping) else {}), **(options or {})}
    given.pop("type", None)
    return json.loads(json.dumps(given, sort_keys=True, default=str)) or None


def _without_places(value: object) -> object:
    """A config without the folders that its parts come from: a model that was moved is the same model."""
    if isinstance(value, dict):
        return {k: _without_places(v) for k, v in value.items() if k != "from_pretrained"}
    return [_without_places(v) for v in value] if isinstance(value, (list, tuple)) else value


def _weights_digest(model: torch.nn.Module) -> str:
    """Of the weights that draw: a mask head without a checkpoint is another one in every process."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(TRAINING_ONLY):
            continue
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
