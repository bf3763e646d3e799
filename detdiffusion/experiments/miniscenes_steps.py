"""Steps (commands) of experiments on MiniScenes: of the demo, the paper in miniature and the low-data benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import Step
from detdiffusion.utils.work_folder import seen_from
from detdiffusion.utils.zoo import ZOO, resolve_source

from .common_steps import GATED, CommonSteps, Split, Weights, texts

ZOO_LAYOUT = "zoo://miniscenes_layout"  # what the configs name
ZOO_LOOKS = "zoo://miniscenes_looks"
"""The layout checkpoint that has seen many looks."""
SPLITS = ("detector", "train", "val", "zoo", "more")


class MiniScenesSteps(CommonSteps):
    """Builds the steps of experiments with one MiniScenes data set and one seed.

    Args:
        root: folder with ``configs/`` and ``tools/``, in which the commands are run.
        data: folder of the data set; used as given in commands.
        seed: seed of data, training, noise and bootstrap.
        layout: diffusers folder that generators start from, or ``zoo://NAME``; None uses the configs'.
        device: device of the tools that have ``--device``; None lets them choose.
    """

    def __init__(
        self, root: Path, data: Path, seed: int, layout: Path | str | None = None, device: str | None = None
    ) -> None:
        splits = {
            name: Split((data / name / "instances.json", data / name / "stuff.json"), data / name / "images")
            for name in SPLITS
        }
        super().__init__(root, splits, seed, {"layout_folder": layout} if layout else {}, device)
        self.data, self.layout = data, layout

    def draw(self, splits: Mapping[str, int], image_size: int, look: str = "classic") -> Step:
        """Return the step that writes the data set, with the given number of images per split and a look."""
        counts = [f"{name}={count}" for name, count in splits.items()]
        command = ["tools/dataset_converters/miniscenes.py", "--out", self.data, "--counts", *counts]
        command += ["--size", image_size, "--seed", self.seed]
        if look != "classic":
            command += ["--look", look]
        return Step(
            "data",
            f"draw MiniScenes: {', '.join(counts)} images",
            texts(command),
            outputs=tuple(path for split in splits for path in self.annotations(split)),
            remove=(self.data,),
        )

    def train_detector(
        self,
        name: str,
        title: str,
        config: str,
        out: Path,
        iters: int,
        split: str = "train",
        synthetic: Path | None = None,
        gated: bool = False,
        further: Sequence[str] = (),
        options: Mapping[str, object] | None = None,
    ) -> Step:
        """Return the step that trains a detector on a split and validates it on ``val`` at the end.

        Args:
            split: the split that the config trains on.
            synthetic: folder of a generated set, for configs that use one.
            gated: whether the set's annotations are those of :meth:`gate`.
            further: further splits that the config trains on.
            options: further overrides of the config.
        """
        options = {"train_cfg.val_interval": iters, "data_root": self.data, **(options or {})}
        inputs = [self.annotations(name)[0] for name in (split, *further, "val")]
        if synthetic:
            options["synthetic_root"] = synthetic
            if gated:
                options["synthetic_ann"] = GATED
            inputs += [synthetic / (GATED if gated else "annotations.json"), synthetic / "manifest.jsonl"]
        return self.train(name, title, config, out, iters, options, inputs)

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
        """Return the step that fine-tunes a generator on the ``train`` split, starting from the layout checkpoint.

        Args:
            attributes: attributes file of the ``train`` split; None for a model without attributes.
            options: further overrides of the config.
        """
        fixed: dict[str, object] = {"train_dataloader.batch_size": batch, "data_root": self.data}
        if attributes:
            fixed["attributes_file"] = attributes
        inputs = [*self.annotations("train"), *([attributes] if attributes else ())]
        inputs += weights(self.layout)
        options = {**fixed, **self.generator_options, **(options or {})}
        return self.train(name, title, config, out, iters, options, inputs)

    def generate(self, name: str, title: str, generator: Weights, *args, **kwargs) -> Step:
        """See :meth:`CommonSteps.generate`; without a checkpoint the generator is the layout checkpoint."""
        step = super().generate(name, title, generator, *args, **kwargs)
        return step if generator.checkpoint else replace(step, inputs=(*step.inputs, *weights(self.layout)))


def weights(source: Path | str | None) -> tuple[Path, ...]:
    """Return the weight files (VAE, UNet, text encoder) of a diffusers folder or ``zoo://NAME``; None is the layout
    checkpoint that the configs name."""
    folder, vae = (Path(resolve_source(str(source or ZOO_LAYOUT), part)) for part in (None, "vae"))
    name = "diffusion_pytorch_model.safetensors"
    return vae / "vae" / name, folder / "unet" / name, folder / "text_encoder" / "model.safetensors"


def checked_source(root: Path, given: str | None, option: str = "--layout-checkpoint") -> Path | str | None:
    """Return the weights that an option names, as commands in ``root`` see them, after a check that they are complete.

    Args:
        root: folder in which the commands are run.
        given: a diffusers folder or ``zoo://NAME``; None, which is returned, is the layout checkpoint of the configs.
        option: the option, for messages.

    Raises:
        UserError: a weight file is missing, or the zoo has no such model.
    """
    source = seen_from(root, given) if given and not given.startswith(ZOO) else given
    absent = [str(path) for path in weights(source) if not (root / path).is_file()]
    if absent:
        raise UserError(
            f"{option}: no complete model: {', '.join(absent)} missing. Name a folder written by "
            "tools/model_converters/to_diffusers.py or a model of the zoo with a UNet, zoo://NAME"
        )
    return source
