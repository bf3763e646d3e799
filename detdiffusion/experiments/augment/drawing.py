"""Steps of the generator: its parts, its training, its held-out score and its synthetic sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from detdiffusion.experiments.common_steps import AUTOENCODER, Sampling, texts
from detdiffusion.utils.steps import Step

from .arms import SETS, in_round
from .plan import FACTOR
from .run_folder import HELD_OUT_SETS, RunFolder
from .settings import NO_BASE

GUIDANCE_SCALE = 3.5
BATCH = 8
LARGE_INTERVAL = 1000
"""Iterations between checkpoints of Stable Diffusion, of 12 GB each."""
LOSS_IMAGES = 24
"""Images that the autoencoder is measured on."""


def parts(run: RunFolder) -> Iterator[Step]:
    """Yield the steps that make the autoencoder and the tokenizer of a generator from nothing, and print what the
    autoencoder loses of the user's own images; none with Stable Diffusion."""
    options, train = run.options, run.splits["train"]
    if options.base != NO_BASE:
        return
    vae = run.vae()
    if len(options.vae) == 2:
        yield Step(
            "taesd",
            "convert TAESD to a diffusers folder",
            texts(["tools/model_converters/taesd_to_diffusers.py", *options.vae, vae]),
            inputs=tuple(map(Path, options.vae)),
            outputs=(Path(vae) / "config.json", Path(vae) / "diffusion_pytorch_model.safetensors"),
            remove=(Path(vae),),
        )
    classes = run.plan.classes if run.plan else ("CLASSES",)
    command = ["tools/model_converters/small_tokenizer.py", "--words", *classes]
    yield Step(
        "tokenizer",
        "make a tokenizer of the class names",
        texts([*command, "--out", run.tokenizer]),
        outputs=(run.tokenizer / "vocab.json",),
        remove=(run.tokenizer,),
    )
    out, (height, width) = run.dir / "autoencoder", run.plan.image_size if run.plan else ("HEIGHT", "WIDTH")
    command = ["tools/analysis_tools/autoencoder_loss.py", vae, "--ann", train.annotations[0]]
    command += ["--img-dir", train.images, "--height", height, "--width", width, "--out", out]
    command += ["--limit", 4 if options.smoke else LOSS_IMAGES, *run.make().device]
    configs, weights = (), ()
    if options.detector:
        command += ["--detector", *options.detector]
        configs, weights = options.detector[:1], (Path(options.detector[1]),)
    yield Step(
        "autoencoder",
        "measure what the autoencoder loses of these images",
        texts(command),
        configs=() if run.dry else configs,
        inputs=run.inputs(*train.annotations, *run.given_weights(), *weights),
        outputs=(out / "autoencoder.json",),
        remove=(out,),
    )
    if not run.dry:
        print(what_to_expect(run.autoencoder()))


def what_to_expect(found: dict) -> str:
    """Return in a sentence what to expect of a generator from nothing.

    Args:
        found: content of ``autoencoder.json``.
    """
    height, width = found["size"]
    line = f"The autoencoder keeps {found['psnr']:.1f} dB of these images at {width} x {height} px"
    if "bbox_mAP" in found:
        before, after = (100 * max(0.0, value) for value in found["bbox_mAP"].values())
        line += f", and a detector's AP falls from {before:.1f} to {after:.1f}"
    return (
        f"{line}. A small generator from nothing learns the look of this set and no other, and hardly draws objects of "
        f"about {FACTOR} px."
    )


def generator(run: RunFolder, number: int) -> Iterator[Step]:
    """Yield the steps of a round's generator: training, score on held-out layouts in the last round, training sets."""
    config, out = run.config("generator"), run.generator(number)
    attributes, iters = run.attributes("train", number), "N" if run.dry else None
    inputs = [*run.splits["train"].annotations, attributes, *run.given_weights()]
    options = {} if run.options.base == NO_BASE else {"default_hooks.checkpoint.interval": LARGE_INTERVAL}
    title = "train the generator"
    if number > 1:
        last = run.weights(config, run.generator(number - 1)).checkpoint
        options |= {"attributes_file": attributes, "load_from": last}
        inputs.append(last)
        title += f" further, round {number}"
    name = in_round("generator", number)
    step = run.make().train(name, title, config, out, iters, options, run.inputs(*inputs))
    if number == run.rounds[-1]:
        yield replace(step, after=partial(_link, run.dir / "generator.pth", step.outputs[0]))
        yield from _held_out(run)
    else:
        yield step
    yield from _training_sets(run, number)


def _sampling(run: RunFolder) -> Sampling:
    if run.options.plan and not run.options.smoke:
        return Sampling(None, None, BATCH, run.options.plan)
    return Sampling(run.schedule.sampling_steps, GUIDANCE_SCALE, BATCH)


def _held_out(run: RunFolder) -> Iterator[Step]:
    """Yield the steps that draw and score held-out layouts."""
    make, schedule, sampling = run.make(), run.schedule, _sampling(run)
    weights = run.weights(run.config("generator"), run.generator())
    attributes = run.attributes("val")
    for strategy in HELD_OUT_SETS:
        yield make.generate(
            f"held-out-{strategy}",
            f"draw held-out layouts, all objects {strategy}",
            weights,
            run.held_out(strategy),
            "val",
            strategy,
            attributes,
            limit="N" if run.dry else schedule.held_out,
            sampling=sampling,
        )
    yield make.generate(
        f"held-out-{AUTOENCODER}",
        "encode and decode the real images of held-out layouts",
        weights,
        run.held_out(AUTOENCODER),
        "val",
        "origin",
        attributes,
        limit="N" if run.dry else schedule.held_out,
        sampling=sampling,
        from_real=0,
    )
    sets = {name: run.held_out(name) for name in (AUTOENCODER, *HELD_OUT_SETS)}
    title = "does the detector find the prompted objects?"
    yield make.score("fidelity", title, run.judge(), sets, run.fidelity, schedule.resamples)


def _training_sets(run: RunFolder, number: int) -> Iterator[Step]:
    """Yield the steps that draw and check the training sets of a round."""
    make, sampling = run.make(), _sampling(run)
    weights = run.weights(run.config("generator"), run.generator(number))
    may_flip = run.dry or run.plan.flip_prob > 0
    layouts, samples = ("N", "N") if run.dry else run.schedule.samples(run.plan.images)
    for kind in run.kinds:
        one, name = SETS[kind], in_round(kind, number)
        edits = {edit: value for edit, value in one.edits.items() if edit != "flip" or may_flip}
        yield make.generate(
            f"synthetic-{name}",
            f"draw the training set {name}",
            weights,
            run.synthetic(name),
            "train",
            one.strategy,
            run.attributes("train", number),
            limit=layouts,
            sampling=sampling,
            edits=edits,
            flags=["--samples-per-image", samples, *(["--layouts", one.layouts] if one.layouts else [])],
        )
        title = f"which objects of the {name} set does the detector miss?"
        rules = ("--missed", run.options.missed)
        yield make.gate(f"gate-{name}", title, run.judge(), run.synthetic(name), rules)
        title = f"which images of the {name} set are near copies of training images?"
        judge = run.judge() if run.judge_shows_features else None
        yield make.find_near_copies(title, judge, name, run.synthetic(name), run.near_copies)


def _link(link: Path, checkpoint: Path) -> None:
    """Make a link to the trained generator, whose name does not depend on the number of iterations."""
    target = checkpoint.relative_to(link.parent)
    if not link.is_symlink() or link.readlink() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
