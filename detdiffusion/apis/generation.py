"""Generation of a synthetic COCO set from a config, a checkpoint and a strategy, for ``tools/generate.py``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from detdiffusion.apis.generation_session import Session
from detdiffusion.apis.inferencer import TRAINING_ONLY, DetDiffusionInferencer
from detdiffusion.datasets.image_sizes import size_of_layout, training_sizes
from detdiffusion.generation.compose import LayoutComposer
from detdiffusion.generation.edits import LayoutEdits
from detdiffusion.generation.layout_source import LayoutSource
from detdiffusion.generation.options import (
    ContentOptions,
    GeneratorOptions,
    LayoutOptions,
    SamplingOptions,
    SetFiles,
)
from detdiffusion.generation.planning import Drawing, plan
from detdiffusion.generation.real_images import RealSource, real_name
from detdiffusion.generation.run_file import check_run
from detdiffusion.generation.strategies import Strategy
from detdiffusion.generation.writer import SUFFIXES, CocoWriter
from detdiffusion.models.editors.interface import check_sides, draw
from detdiffusion.models.editors.lookup import editor_class
from detdiffusion.utils.array_cache import digest_of
from detdiffusion.utils.checkpoint import find_checkpoint
from detdiffusion.utils.config import load_config
from detdiffusion.utils.devices import choose_device
from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.progress import Progress
from detdiffusion.utils.ranks import Ranks
from detdiffusion.utils.sampling_plan import SamplingPlan, steps_from_real
from detdiffusion.visualization.preview import LivePreview

if TYPE_CHECKING:
    from mmengine.config import Config

PREVIEW = "preview.png"
_PATIENCE = 20.0  # seconds to wait until the ranks of a killed run notice that their launcher is gone


def generate_dataset(
    generator: GeneratorOptions,
    layouts: LayoutOptions,
    content: ContentOptions,
    files: SetFiles,
    sampling: SamplingOptions | None = None,
    *,
    launcher: str | None = None,
    progress: bool = True,
    inferencer: DetDiffusionInferencer | None = None,
) -> dict:
    """Generate a synthetic set, or continue one.

    Args:
        generator: the model.
        layouts: where the layouts come from.
        content: which images of the layouts are generated.
        files: the set's folder and files.
        sampling: how the images are sampled.
        launcher: see :meth:`~detdiffusion.utils.ranks.Ranks.join`; all ranks must see the same output folder.
        progress: show progress on stderr.
        inferencer: the model, if it was built from ``generator`` before, for example for another set.

    Returns:
        Counts over all ranks: ``written``, ``objects``, ``objects_not_prompted``, ``in_smaller_batches``, ``seconds``
        (of sampling and writing, summed over the ranks), ``already_there`` and those of the writer's report; with
        ``files.verify`` also ``verified`` and ``repaired`` files.

    Raises:
        UserError: an option or an input file is not valid.
    """
    sampling = sampling or SamplingOptions()
    ranks = Ranks.join(launcher)
    try:
        # Check everything that does not need the model before loading it, which may take minutes.
        device = choose_device(ranks.device(generator.device))
        run = _plan(generator, layouts, content, sampling, files, ranks)
        sampled = sampling.settle(run.config.get("sampling"), generator.config)
        if content.from_real is not None:
            steps_from_real(sampled.steps, content.from_real)  # raises if none is run
        facts = _facts(run, generator, content, sampling, sampled, files)
        check_run(Path(files.out), facts)
        inferencer = inferencer or DetDiffusionInferencer(run.config, generator.checkpoint, device)
        sizes = _sizes(run.sizes, sampling, inferencer, ranks)
        for drawing in run.drawings:
            drawing.size = size_of_layout(drawing.layout, sizes)
        # without a checkpoint, the weights are those in the folders that the config names
        facts["weights_sha256"] = weights_digest(inferencer.model) if generator.checkpoint is None else None
        with ranks.first_then_others(
            partial(_open_writer, files, facts, run.source.categories, ranks, progress)
        ) as writer:
            session = Session(ranks, writer, run.drawings, sampling.batch_size, files)
            session.introduce(content.seed, run.strategy.name, run.layouts)
            pixels = max(height * width for height, width in sizes)
            session.disk.check_start(session.missing, pixels, files.image_format, writer.mean_bytes)
            every = 0 if ranks.rank else files.preview_every
            preview = LivePreview(Path(files.out) / PREVIEW, run.source.categories, every)
            with Progress("generating", total=session.missing, enabled=progress and ranks.is_main) as bar:
                infer = partial(draw, inferencer.model, **sampled.arguments())
                return session.run(infer, preview, bar, run.real)
    finally:
        ranks.close()


@dataclass(frozen=True)
class _Plan:
    """The images to generate, planned before the model is loaded.

    Attributes:
        config: parsed config of the generator.
        source: the layouts with their attributes.
        strategy: sets the attributes.
        editor: makes new layouts, or None.
        layouts: number of layouts that are used.
        drawings: all images of the set.
        real: reads the real images to start from, or None.
        sizes: the sizes of the training, if there are several and no size is given.
    """

    config: Config
    source: LayoutSource
    strategy: Strategy
    editor: LayoutEdits | LayoutComposer | None
    layouts: int
    drawings: list[Drawing]
    real: RealSource | None
    sizes: list[tuple[int, int]]


def _plan(
    generator: GeneratorOptions,
    layouts: LayoutOptions,
    content: ContentOptions,
    sampling: SamplingOptions,
    files: SetFiles,
    ranks: Ranks,
) -> _Plan:
    config = load_config(generator.config, generator.cfg_options)
    needs_attributes = editor_class(config).needs_attributes(config.model)
    source = LayoutSource.read(config, generator.config, layouts, needs_attributes, ranks.print)
    strategy = source.strategy(content.strategy, content.strategy_options, ranks.print)
    editor = source.editor(content)
    samples = source.samples(content, ranks.print)
    chosen = source.layouts[: content.limit]
    real = source.real_images(chosen, content.from_real, content.keep, ranks.print)
    name = real_name(content.from_real, content.keep)
    drawings = plan(chosen, strategy, content.seed, samples, editor, SUFFIXES[files.image_format], name)
    if real:
        real.check(drawings, strategy.name, ranks.print)
    sizes = training_sizes(config) if sampling.height is sampling.width is None else []
    sizes = sizes if len(sizes) > 1 else []
    return _Plan(config, source, strategy, editor, len(samples), drawings, real, sizes)


def _facts(
    run: _Plan,
    generator: GeneratorOptions,
    content: ContentOptions,
    sampling: SamplingOptions,
    sampled: SamplingPlan,
    files: SetFiles,
) -> dict:
    """Return the settings that must be equal whenever the set is continued, for ``run.json``."""
    checkpoint, source = generator.checkpoint, run.source
    png = files.image_format == "png"
    attributes = source.file.path if source.file else None
    if run.editor or run.real:  # they depend on which classes are objects
        attributes = attributes or source.nameable_file
    return dict(
        strategy=run.strategy.name,
        strategy_options=_custom_options(run.strategy, content.strategy, content.strategy_options),
        edits=run.editor.name if run.editor else None,
        from_real=real_name(content.from_real, content.keep) or None,
        seed=content.seed,
        **sampled.facts(),
        height=sampling.height,
        width=sampling.width,
        **({"sizes": run.sizes} if run.sizes else {}),
        format="png" if png else f"{files.image_format} {files.jpeg_quality}",
        checkpoint=None if checkpoint is None else Path(checkpoint).name,
        checkpoint_sha256=None if checkpoint is None else sha256_of(find_checkpoint(checkpoint)),
        model_sha256=digest_of(_without_folders(run.config.model.to_dict())),
        annotation_files=_checksums(source.ann_files),
        layouts_sha256=source.digest,
        attributes_sha256=sha256_of(attributes) if attributes else None,
    )


def _sizes(
    trained: list[tuple[int, int]],
    sampling: SamplingOptions,
    inferencer: DetDiffusionInferencer,
    ranks: Ranks,
) -> list[tuple[int, int]]:
    """Return (height, width) of the images; print a note if they differ from the model's."""
    if trained:
        ranks.print(
            f"each image has the training size nearest in aspect ratio to its source, of {len(trained)} sizes"
        )
        return [check_sides(inferencer.model, *size) for size in trained]
    side = check_sides(inferencer.model, sampling.height, sampling.width)
    default = inferencer.model.image_size
    if side != default:
        ranks.print(
            f"note: generating {side[0]} x {side[1]} images (height x width), but the model's default is {default[0]} "
            f"x {default[1]}; other sizes reduce the quality, and another aspect ratio stretches the objects"
        )
    return [side]


def _open_writer(
    files: SetFiles, facts: dict, categories: Sequence[dict], ranks: Ranks, progress: bool
) -> CocoWriter:
    with Progress("verifying", "files", enabled=files.verify and progress) as bar:
        return CocoWriter(
            files.out,
            facts,
            categories,
            checksums=files.verify,
            rank=ranks.rank,
            patience=_PATIENCE,
            jpeg_quality=files.jpeg_quality,
            progress=bar,
        )


def _checksums(paths: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 by file name, in the files' order; repeated names get a number."""
    sums: dict[str, str] = {}
    for path in paths:
        name = Path(path).name
        seen = sum(Path(other).name == name for other in paths[: len(sums)])
        sums[f"{name} ({seen + 1})" if seen else name] = sha256_of(path)
    return sums


def _custom_options(chosen: object, strategy: str | dict, options: Mapping | None) -> dict | None:
    """Return the arguments of a custom strategy; built-in strategies encode theirs in their name."""
    if type(chosen).__module__ == Strategy.__module__:
        return None
    given = {**(strategy if isinstance(strategy, Mapping) else {}), **(options or {})}
    given.pop("type", None)
    return json.loads(json.dumps(given, sort_keys=True, default=str)) or None


def _without_folders(value: object) -> object:
    """Return a config without ``from_pretrained``, so that moving a model's folder does not change its digest."""
    if isinstance(value, dict):
        return {k: _without_folders(v) for k, v in value.items() if k != "from_pretrained"}
    return [_without_folders(v) for v in value] if isinstance(value, (list, tuple)) else value


def weights_digest(model: torch.nn.Module) -> str:
    """Return the SHA-256 of the weights used in inference (a mask head without a checkpoint is random)."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(TRAINING_ONLY):
            continue
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
