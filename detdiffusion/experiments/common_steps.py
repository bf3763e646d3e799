"""Steps (commands) that all experiments share: training, attributes, generation, scores, comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.steps import Step


@dataclass(frozen=True)
class Weights:
    """A trained model: its config and its checkpoint; None for a generator with the weights that the config names."""

    config: str
    checkpoint: Path | None


@dataclass(frozen=True)
class Split:
    """A split of a data set.

    Attributes:
        annotations: its COCO files, that of the things first.
        images: folder of its images.
    """

    annotations: tuple[Path, ...]
    images: Path


@dataclass(frozen=True)
class Sampling:
    """How images are sampled.

    Attributes:
        steps, guidance_scale: see ``tools/generate.py``; None leaves them to the plan.
        batch: images per batch.
        plan: name of a plan; None for none.
    """

    steps: int | None
    guidance_scale: float | None
    batch: int
    plan: str | None = None

    def flags(self) -> list[object]:
        """Return the flags of ``tools/generate.py``."""
        flags = {
            "--batch-size": self.batch,
            "--plan": self.plan,
            "--steps": self.steps,
            "--guidance-scale": self.guidance_scale,
        }
        return [word for flag, value in flags.items() if value is not None for word in (flag, value)]


GATED = "annotations_gated.json"
"""Annotations of a generated set that :meth:`CommonSteps.gate` writes."""
AUTOENCODER = "autoencoder"
"""Name of the set of real images after the autoencoder, the bound of every generated image."""


class CommonSteps:
    """Builds the steps of experiments with one data set and one seed.

    Args:
        root: folder with ``configs/`` and ``tools/``, in which the commands are run.
        splits: the splits of the data set by name.
        seed: seed of training, noise and bootstrap.
        generator_options: overrides of every generator's config.
        device: device of the tools that have ``--device``; None lets them choose.
    """

    def __init__(
        self,
        root: Path,
        splits: Mapping[str, Split],
        seed: int,
        generator_options: Mapping[str, object] | None = None,
        device: str | None = None,
    ) -> None:
        self.root, self.splits, self.seed = root, splits, seed
        self.generator_options = dict(generator_options or {})
        self.device = ("--device", device) if device else ()

    def annotations(self, split: str) -> tuple[Path, ...]:
        """Return the annotation files of a split, that of the things first."""
        return self.splits[split].annotations

    def train(
        self,
        name: str,
        title: str,
        config: str,
        out: Path,
        iters: int | str | None,
        options: Mapping[str, object],
        inputs: Sequence[Path] = (),
    ) -> Step:
        """Return a training step.

        Args:
            name, title, inputs: see :class:`~detdiffusion.utils.steps.Step`; the number of iterations is added to the
                title.
            config, out: config and work dir of ``tools/train.py``.
            iters: number of iterations, a tenth of them warm-up; None uses the config's schedule; a word stands for
                the config's where the config is not written yet.
            options: overrides of the config.
        """
        options = {"default_hooks.checkpoint.interval": 100, "randomness.seed": self.seed, **options}
        if iters is None:
            iters = config_iters(self.root / config)
        elif isinstance(iters, int):
            warm_up = max(2, iters // 10)
            options["train_cfg.max_iters"] = options["param_scheduler.1.end"] = iters
            options["default_hooks.logger.interval"] = min(25, iters)
            options["param_scheduler.0.end"] = options["param_scheduler.1.begin"] = warm_up
        command = ["tools/train.py", config, "--work-dir", out, "--resume", "--cfg-options", *pairs(options)]
        outputs = (out / f"iter_{iters}.pth",)
        title = f"{title}, {iters} iterations"
        return Step(name, title, texts(command), (config,), tuple(inputs), outputs, (out,))

    def extract_attributes(
        self,
        name: str,
        title: str,
        detector: Weights,
        split: str,
        out: Path,
        score_thr: float,
        save_predictions: Path | None = None,
    ) -> Step:
        """Return the step that extracts a detector's attributes of a split to ``out``.

        Args:
            save_predictions: file for the detector's predictions; None does not write them.
        """
        annotations = self.annotations(split)
        command = ["tools/extract_attributes.py", "--detector", detector.config, detector.checkpoint]
        for path in annotations:
            command += ["--ann", path]
        command += ["--img-dir", self.splits[split].images, "--out", out, "--score-thr", score_thr]
        command += self.device
        if save_predictions:
            command += ["--save-predictions", save_predictions]
        inputs = (*annotations, detector.checkpoint)
        outputs = (out, save_predictions) if save_predictions else (out,)
        return Step(name, title, texts(command), (detector.config,), inputs, outputs, outputs)

    def halve(self, split: str, out: Path, groups: str) -> Step:
        """Return the step that divides a split into the two halves of :func:`halves`, for cross-fitting.

        Args:
            groups: images that stay together, see ``tools/dataset_converters/split_coco.py --groups``.
        """
        things = self.annotations(split)[0]
        command = ["tools/dataset_converters/split_coco.py", things, "--out", out]
        command += ["--images", "none", "--val-share", 0.5, "--groups", groups, "--seed", self.seed]
        outputs = tuple(half.annotations[0] for half in halves(self.splits[split], out).values())
        title = "two halves of the training images"
        return Step("halves", title, texts(command), inputs=(things,), outputs=outputs, remove=(out,))

    def join(self, name: str, results: Sequence[Path], out: Path) -> Step:
        """Return the step that joins the predictions of the two halves."""
        command = texts(["tools/analysis_tools/join_results.py", *results, "--out", out])
        return Step(name, "join what both found", command, inputs=tuple(results), outputs=(out,))

    def attributes_of_predictions(
        self,
        name: str,
        title: str,
        predictions: Path,
        classes: Sequence[str],
        split: str,
        out: Path,
        score_thr: float,
    ) -> Step:
        """Return the step that extracts the attributes of a split from predictions to ``out``.

        Args:
            predictions: predictions of a detector, e.g. of :meth:`join`.
            classes: the detector's classes.
        """
        annotations = self.annotations(split)
        command = [
            "tools/extract_attributes.py",
            "--predictions",
            predictions,
            "--detector-classes",
            *classes,
        ]
        for path in annotations:
            command += ["--ann", path]
        command += ["--out", out, "--score-thr", score_thr]
        inputs = (predictions, *annotations)
        return Step(name, title, texts(command), inputs=inputs, outputs=(out,), remove=(out,))

    def generate(
        self,
        name: str,
        title: str,
        generator: Weights,
        out: Path,
        split: str,
        strategy: str,
        attributes: Path | None,
        *,
        limit: int | str,
        sampling: Sampling,
        edits: Mapping[str, float] | None = None,
        from_real: float | None = None,
        flags: Sequence[object] = (),
    ) -> Step:
        """Return the step that generates a synthetic set of the first ``limit`` layouts of a split.

        Args:
            attributes: attributes file of the split; None for a model without attributes.
            edits: edits of the layouts, see ``tools/generate.py --edit``.
            from_real: strength of a start from the real images, see ``tools/generate.py --from-real``.
            flags: further flags of ``tools/generate.py``.
        """
        annotations = self.annotations(split)
        command = ["tools/generate.py", generator.config, generator.checkpoint or "none", "--out", out]
        for path in annotations:
            command += ["--ann", path]
        if attributes:
            command += ["--attributes", attributes]
        command += [
            "--strategy",
            strategy,
            "--limit",
            limit,
            *sampling.flags(),
            "--seed",
            self.seed,
            *self.device,
        ]
        if edits:
            command += ["--edit", *pairs(edits)]
        if from_real is not None:
            command += ["--from-real", from_real, "--img-dir", self.splits[split].images]
        command += flags
        if self.generator_options:
            command += ["--cfg-options", *pairs(self.generator_options)]
        inputs = (*annotations, *(path for path in (attributes, generator.checkpoint) if path))
        outputs = (out / "annotations.json", out / "manifest.jsonl")
        return Step(name, title, texts(command), (generator.config,), inputs, outputs, (out,))

    def score(
        self,
        name: str,
        title: str,
        detector: Weights,
        sets: Mapping[str, Path],
        out: Path,
        resamples: int,
        split: str = "val",
    ) -> Step:
        """Return the step that scores sets of a split's layouts, written to ``out/fidelity.json``."""
        things = self.annotations(split)[0]
        command = ["tools/evaluate_fidelity.py", "--detector", detector.config, detector.checkpoint]
        command += ["--ann", things, "--img-dir", self.splits[split].images, "--synthetic"]
        command += [f"{strategy}={folder}" for strategy, folder in sets.items()]
        command += ["--out", out, "--resamples", resamples, "--seed", self.seed, *self.device]
        inputs = (things, detector.checkpoint, *(folder / "manifest.jsonl" for folder in sets.values()))
        return Step(name, title, texts(command), (detector.config,), inputs, (out / "fidelity.json",), (out,))

    def gate(self, name: str, title: str, detector: Weights, folder: Path, rules: Sequence[str]) -> Step:
        """Return the step that checks a generated set with a detector and writes ``annotations_gated.json`` to it."""
        out = folder / GATED
        command = ["tools/quality_gate.py", folder, "--detector", detector.config, detector.checkpoint]
        command += [*rules, "--out", out, *self.device]
        inputs = (folder / "manifest.jsonl", detector.checkpoint)
        outputs = (out, out.with_suffix(".report.json"))
        return Step(name, title, texts(command), (detector.config,), inputs, outputs, outputs)

    def find_near_copies(
        self, title: str, detector: Weights | None, name: str, folder: Path, out: Path
    ) -> Step:
        """Return the step that looks for near copies of training images in a generated set, by pixels and, with a
        detector, by its features, written to ``out/NAME/near_copies.json``."""
        train, out = self.splits["train"], out / name
        command = ["tools/analysis_tools/near_copies.py", "--ann", train.annotations[0]]
        command += ["--img-dir", train.images]
        command += ["--detector", detector.config, detector.checkpoint] if detector else []
        command += ["--synthetic", f"{name}={folder}", "--out", out, *self.device]
        configs, weights = ((detector.config,), (detector.checkpoint,)) if detector else ((), ())
        inputs = (train.annotations[0], *weights, folder / "manifest.jsonl")
        outputs = (out / "near_copies.json",)
        return Step(f"near-copies-{name}", title, texts(command), configs, inputs, outputs, (out,))

    def compare(
        self,
        name: str,
        title: str,
        runs: Sequence[tuple[str, Path]],
        out: Path,
        checkpoints: Sequence[Path],
        validated_on: Sequence[Path],
    ) -> Step:
        """Return the step that compares trained detectors, written to ``out/comparison.json``.

        Args:
            runs: arm and work dir of every training; the first arm is the reference.
            checkpoints: those at the end of the trainings, which tell that these are the same.
            validated_on: annotations on which they were validated, which tell that their scores are.
        """
        command = [
            "tools/compare_trainability.py",
            *(f"{arm}={folder}" for arm, folder in runs),
            "--out",
            out,
        ]
        return Step(
            name,
            title,
            texts(command),
            inputs=(*checkpoints, *validated_on),
            outputs=(out / "comparison.json",),
            remove=(out,),
        )


def halves(split: Split, folder: Path) -> dict[str, Split]:
    """Return the halves ``a`` and ``b`` of a split's things, which :meth:`CommonSteps.halve` writes to a folder."""
    files = {"a": "train", "b": "val"}
    return {half: Split((folder / f"annotations/{name}.json",), split.images) for half, name in files.items()}


def pairs(options: Mapping[str, object]) -> list[str]:
    """Return the arguments of ``--cfg-options``."""
    return [f"{key}={value}" for key, value in options.items()]


def texts(command: Sequence[object]) -> tuple[str, ...]:
    """Convert the arguments of a command to text."""
    return tuple(str(part) for part in command)


def config_iters(config: Path) -> int:
    """Return the number of iterations of a config."""
    from detdiffusion.utils.config import load_config

    return load_config(str(config)).train_cfg.max_iters
