"""The commands of MiniScenes experiments as steps: what the demo and the paper in miniature are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import Step

ZOO_LAYOUT = "zoo://miniscenes_layout"  # what the configs name


@dataclass(frozen=True)
class Weights:
    """A trained model: its config and its checkpoint."""

    config: str
    checkpoint: Path


class MiniScenesSteps:
    """Builds the steps of experiments on one drawn data set, with one seed.

    Args:
        root: the folder with ``configs/`` and ``tools/``, where the commands run.
        data: the data set's folder; in commands it is used as given.
        seed: of data, trainings, noise and bootstrap.
        layout: diffusers folder that generators start from; None takes the zoo's.
    """

    def __init__(self, root: Path, data: Path, seed: int, layout: Path | None = None) -> None:
        self.root, self.data, self.seed, self.layout = root, data, seed, layout

    def annotations(self, split: str) -> tuple[Path, Path]:
        """Things and stuff of a split."""
        return self.data / split / "instances.json", self.data / split / "stuff.json"

    def draw(self, splits: Mapping[str, int], image_size: int) -> Step:
        """The data set: split name -> number of images."""
        counts = [f"{name}={count}" for name, count in splits.items()]
        command = ["tools/dataset_converters/miniscenes.py", "--out", self.data, "--counts", *counts]
        command += ["--size", image_size, "--seed", self.seed]
        return Step(
            "data",
            f"draw MiniScenes: {', '.join(counts)} images",
            texts(command),
            outputs=tuple(path for split in splits for path in self.annotations(split)),
            remove=(self.data,),
        )

    def train(
        self,
        name: str,
        title: str,
        config: str,
        out: Path,
        iters: int | None,
        options: Mapping[str, object],
        inputs: Sequence[Path] = (),
    ) -> Step:
        """Any training.

        Args:
            name, title, inputs: of the step; the title gets the number of iterations.
            config, out: of ``tools/train.py``.
            iters: iterations, a tenth of them warm-up; None takes the config's schedule.
            options: overrides of the config.
        """
        options = {"default_hooks.checkpoint.interval": 100, "randomness.seed": self.seed, **options}
        if iters is None:
            iters = _config_iters(self.root / config)
        else:
            warm_up = max(2, iters // 10)
            options["train_cfg.max_iters"] = options["param_scheduler.1.end"] = iters
            options["default_hooks.logger.interval"] = min(25, iters)
            options["param_scheduler.0.end"] = options["param_scheduler.1.begin"] = warm_up
        command = ["tools/train.py", config, "--work-dir", out, "--resume", "--cfg-options", *pairs(options)]
        outputs = (out / f"iter_{iters}.pth",)
        title = f"{title}, {iters} iterations"
        return Step(name, title, texts(command), (config,), tuple(inputs), outputs, (out,))

    def train_detector(
        self,
        name: str,
        title: str,
        config: str,
        out: Path,
        iters: int,
        split: str = "train",
        synthetic: Path | None = None,
    ) -> Step:
        """A detector on a split, scored on ``val`` at its end.

        Args:
            split: the split that the config trains on.
            synthetic: folder of a generated set, for configs that add one.
        """
        options: dict[str, object] = {"train_cfg.val_interval": iters, "data_root": self.data}
        inputs = [self.annotations(split)[0], self.annotations("val")[0]]
        if synthetic:
            options["synthetic_root"] = synthetic
            inputs += [synthetic / "annotations.json", synthetic / "manifest.jsonl"]
        return self.train(name, title, config, out, iters, options, inputs)

    def extract_attributes(
        self, name: str, title: str, detector: Weights, split: str, out: Path, score_thr: float
    ) -> Step:
        """A detector's attributes of a split, written to ``out``."""
        annotations = self.annotations(split)
        command = ["tools/extract_attributes.py", "--detector", detector.config, detector.checkpoint]
        for path in annotations:
            command += ["--ann", path]
        command += ["--img-dir", self.data / split / "images", "--out", out, "--score-thr", score_thr]
        inputs = (*annotations, detector.checkpoint)
        return Step(name, title, texts(command), (detector.config,), inputs, (out,), (out,))

    def layout_options(self) -> dict[str, object]:
        """Overrides that name the layout checkpoint."""
        return {"layout_folder": self.layout} if self.layout else {}

    def train_generator(
        self,
        name: str,
        title: str,
        config: str,
        out: Path,
        iters: int,
        batch: int,
        attributes: Path | None,
        options: Mapping[str, object] | None = None,
    ) -> Step:
        """A generator on the ``train`` split, from the layout checkpoint.

        Args:
            attributes: of the ``train`` split; None for a model without.
            options: further overrides of the config.
        """
        fixed: dict[str, object] = {"train_dataloader.batch_size": batch, "data_root": self.data}
        if attributes:
            fixed["attributes_file"] = attributes
        inputs = [*self.annotations("train"), *([attributes] if attributes else ())]
        inputs += weights(self.layout)
        options = {**fixed, **self.layout_options(), **(options or {})}
        return self.train(name, title, config, out, iters, options, inputs)

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
        limit: int,
        batch: int,
        sampling_steps: int,
        guidance_scale: float,
    ) -> Step:
        """A synthetic set of the first ``limit`` layouts of a split.

        Args:
            attributes: of the split; None for a model without.
        """
        annotations = self.annotations(split)
        command = ["tools/generate.py", generator.config, generator.checkpoint, "--out", out]
        for path in annotations:
            command += ["--ann", path]
        if attributes:
            command += ["--attributes", attributes]
        command += ["--strategy", strategy, "--limit", limit, "--batch-size", batch]
        command += ["--steps", sampling_steps, "--guidance-scale", guidance_scale, "--seed", self.seed]
        if options := self.layout_options():
            command += ["--cfg-options", *pairs(options)]
        inputs = (*annotations, *([attributes] if attributes else ()), generator.checkpoint)
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
    ) -> Step:
        """Fidelity of sets of ``val`` layouts: writes ``out/fidelity.json``."""
        things = self.annotations("val")[0]
        command = ["tools/evaluate_fidelity.py", "--detector", detector.config, detector.checkpoint]
        command += ["--ann", things, "--img-dir", self.data / "val" / "images", "--synthetic"]
        command += [f"{strategy}={folder}" for strategy, folder in sets.items()]
        command += ["--out", out, "--resamples", resamples, "--seed", self.seed]
        inputs = (things, detector.checkpoint, *(folder / "manifest.jsonl" for folder in sets.values()))
        return Step(name, title, texts(command), (detector.config,), inputs, (out / "fidelity.json",), (out,))


def weights(folder: Path | None) -> tuple[Path, ...]:
    """The weight files of a diffusers folder: VAE, UNet, text encoder; None is the zoo's layout checkpoint."""
    vae = folder
    if folder is None:
        from detdiffusion.models.editors.detdiffusion.components import resolve_source

        folder, vae = Path(resolve_source(ZOO_LAYOUT)), Path(resolve_source(ZOO_LAYOUT, "vae"))
    name = "diffusion_pytorch_model.safetensors"
    return vae / "vae" / name, folder / "unet" / name, folder / "text_encoder" / "model.safetensors"


def require_layout(folder: Path | None) -> None:
    """Checks that a layout checkpoint is whole before minutes are spent; None is the zoo's.

    Raises:
        UserError: a weight file is missing.
    """
    absent = [str(path) for path in weights(folder) if not path.is_file()]
    if absent:
        raise UserError(
            f"no layout checkpoint: {', '.join(absent)} missing. Name a folder written by "
            "tools/model_converters/to_diffusers.py with --layout-checkpoint, or train one with "
            "tools/quickstart.py --full."
        )


def pairs(options: Mapping[str, object]) -> list[str]:
    """What follows ``--cfg-options``."""
    return [f"{key}={value}" for key, value in options.items()]


def texts(command: Sequence[object]) -> tuple[str, ...]:
    """A command's arguments as text."""
    return tuple(str(part) for part in command)


def _config_iters(config: Path) -> int:
    from detdiffusion.utils.config import load_config

    return load_config(str(config)).train_cfg.max_iters
