"""The demo on MiniScenes as a list of commands, for ``tools/quickstart.py``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from detdiffusion.experiments.common_steps import AUTOENCODER, Sampling, Weights, pairs, texts
from detdiffusion.experiments.miniscenes_steps import MiniScenesSteps, weights
from detdiffusion.utils.steps import Step

DETECTOR = "atss"
DETECTOR_CONFIG = f"configs/detectors/{DETECTOR}_miniscenes.py"
GENERATOR_CONFIG = "configs/detdiffusion_miniscenes.py"
# With ATSS and this threshold, attributes agree best with the hidden difficulty: rank correlation 0.56, a quarter of
# the objects hard (with Faster R-CNN, nine of ten objects are easy at any threshold).
SCORE_THR = 0.5
STRATEGIES = ("easy", "origin", "hard")
ZOO_MODELS = ("vae", "base", "layout")  # in the order of their training
# of the layout checkpoint, which starts from the base instead of the checkpoint of many looks
FROM_BASE_ITERS = 10000


@dataclass(frozen=True)
class Settings:
    """Sizes of the demo.

    Attributes:
        detector_images, train_images, val_images, zoo_images: number of images of each split; ``zoo`` is only needed
            for training from scratch.
        image_size: side of the images in pixels.
        detector_iters: iterations of the attribute detector.
        generator_iters, generator_batch: iterations and batch size of fine-tuning.
        trainability_iters: iterations of each of the two compared detectors.
        fidelity_layouts, synthetic_layouts: maximum number of held-out and training layouts to generate images of.
        sampling_steps, guidance_scale, sampling_batch: settings of the sampler.
        zoo_iters: iterations of each model of the zoo; None uses those of the configs.
        resamples: number of bootstrap resamples.
    """

    detector_images: int = 1500
    train_images: int = 1000
    val_images: int = 300
    zoo_images: int = 12000
    image_size: int = 64
    detector_iters: int = 450
    generator_iters: int = 400
    generator_batch: int = 32
    trainability_iters: int = 250
    fidelity_layouts: int = 200
    synthetic_layouts: int = 200
    sampling_steps: int = 10
    guidance_scale: float = 3.5
    sampling_batch: int = 64
    zoo_iters: int | None = None
    resamples: int = 1000

    def to_dict(self) -> dict:
        """Return all fields, for the summary."""
        return asdict(self)


SMOKE = Settings(
    detector_images=24,
    train_images=24,
    val_images=24,
    zoo_images=24,
    detector_iters=4,
    generator_iters=4,
    generator_batch=4,
    trainability_iters=4,
    fidelity_layouts=6,
    synthetic_layouts=6,
    sampling_steps=2,
    sampling_batch=4,
    zoo_iters=4,
    resamples=20,
)


class Demo:
    """Paths and steps of one demo.

    Args:
        root: folder with ``configs/`` and ``tools/``, in which the commands are run.
        work_dir: folder of all outputs; used as given in commands.
        settings: sizes.
        layout_checkpoint: diffusers folder to fine-tune from; None uses the zoo's; not used with ``full``.
        seed: seed of data, training, noise and bootstrap.
        full: first train VAE, base model and layout checkpoint, and fine-tune from that.
    """

    def __init__(
        self,
        root: Path,
        work_dir: Path,
        settings: Settings,
        layout_checkpoint: Path | None = None,
        seed: int = 0,
        full: bool = False,
    ) -> None:
        self.dir, self.settings, self.seed, self.full = work_dir, settings, seed, full
        self.data = work_dir / "data"
        layout = work_dir / "zoo" / "layout" if full else layout_checkpoint
        self.make = MiniScenesSteps(root, self.data, seed, layout)
        self.detector = work_dir / "detector"
        self.generator = work_dir / "generator"
        self.fidelity = work_dir / "fidelity"
        self.arms = {name: work_dir / "trainability" / name for name in ("real_only", "real_plus_hard")}
        self.comparison = work_dir / "trainability" / "comparison"
        self._detector = Weights(DETECTOR_CONFIG, self.detector / f"iter_{settings.detector_iters}.pth")
        self._generator = Weights(GENERATOR_CONFIG, self.generator / f"iter_{settings.generator_iters}.pth")

    def attributes(self, split: str) -> Path:
        """Return the attributes file of a split."""
        return self.dir / "attributes" / f"{split}.json"

    def synthetic(self, split: str, strategy: str) -> Path:
        """Return the folder of a synthetic set."""
        return self.dir / "synthetic" / f"{split}-{strategy}"

    def annotations(self, split: str) -> tuple[Path, Path]:
        """Return the annotation files of things and stuff of a split."""
        return self.make.annotations(split)

    def steps(self) -> list[Step]:
        """Return all steps in executable order."""
        steps = [self._data(), *(self._zoo() if self.full else ())]
        steps += [self._train_detector()]
        steps += [self._attributes(split) for split in ("train", "val")]
        steps += [self._train_generator()]
        steps += [self._generate("val", strategy) for strategy in STRATEGIES]
        steps += [self._reconstruct(), self._generate("train", "hard"), self._score()]
        steps += [self._train_arm("real_only", "real"), self._train_arm("real_plus_hard", "hard")]
        return [*steps, self._compare()]

    def _data(self) -> Step:
        s = self.settings
        splits = dict(detector=s.detector_images, train=s.train_images, val=s.val_images)
        if self.full:
            splits["zoo"] = s.zoo_images
        return self.make.draw(splits, s.image_size)

    def _train_detector(self) -> Step:
        title = f"train the attribute detector: {DETECTOR}"
        iters = self.settings.detector_iters
        return self.make.train_detector("detector", title, DETECTOR_CONFIG, self.detector, iters, "detector")

    def _train_arm(self, name: str, arm: str) -> Step:
        words = name.replace("_", " ")
        data = "real" if arm == "real" else "mixed"
        return self.make.train_detector(
            f"train-{name.replace('_', '-')}",
            f"train the detector on {words} images: {DETECTOR}",
            f"configs/trainability/{DETECTOR}_{data}_miniscenes.py",
            self.arms[name],
            self.settings.trainability_iters,
            synthetic=None if arm == "real" else self.synthetic("train", arm),
        )

    def _attributes(self, split: str) -> Step:
        title = f"easy or hard? the detector's attributes of the {split} split"
        out = self.attributes(split)
        return self.make.extract_attributes(
            f"attributes-{split}", title, self._detector, split, out, SCORE_THR
        )

    def _train_generator(self) -> Step:
        s, title = self.settings, "fine-tune the generator: P.A. Attr and P.A. loss"
        return self.make.train_generator(
            "generator",
            title,
            GENERATOR_CONFIG,
            self.generator,
            s.generator_iters,
            s.generator_batch,
            self.attributes("train"),
        )

    def _generate(self, split: str, strategy: str) -> Step:
        s = self.settings
        limit = s.fidelity_layouts if split == "val" else s.synthetic_layouts
        which = "held-out" if split == "val" else "training"
        return self.make.generate(
            f"generate-{split}-{strategy}",
            f"generate {strategy} images of up to {limit} {which} layouts",
            self._generator,
            self.synthetic(split, strategy),
            split,
            strategy,
            self.attributes(split),
            limit=limit,
            sampling=Sampling(s.sampling_steps, s.guidance_scale, s.sampling_batch),
        )

    def _reconstruct(self) -> Step:
        s = self.settings
        return self.make.generate(
            f"generate-val-{AUTOENCODER}",
            f"encode and decode the real images of up to {s.fidelity_layouts} held-out layouts",
            self._generator,
            self.synthetic("val", AUTOENCODER),
            "val",
            "origin",
            self.attributes("val"),
            limit=s.fidelity_layouts,
            sampling=Sampling(s.sampling_steps, s.guidance_scale, s.sampling_batch),
            from_real=0,
        )

    def _score(self) -> Step:
        sets = {name: self.synthetic("val", name) for name in (AUTOENCODER, *STRATEGIES)}
        title = "score: does the detector find the prompted objects?"
        return self.make.score(
            "fidelity", title, self._detector, sets, self.fidelity, self.settings.resamples
        )

    def _compare(self) -> Step:
        checkpoints = tuple(d / f"iter_{self.settings.trainability_iters}.pth" for d in self.arms.values())
        title = "score: does the synthetic data help a detector?"
        runs, val = list(self.arms.items()), self.annotations("val")[:1]
        return self.make.compare("compare", title, runs, self.comparison, checkpoints, val)

    def _zoo(self) -> list[Step]:
        """Return the steps that train VAE, base model and layout checkpoint from scratch and export them.

        All of them see the ``zoo`` split alone; patches of its images stand for photographs.
        """
        zoo, steps, given_iters = self.dir / "zoo", [], self.settings.zoo_iters
        vae, base = zoo / "vae", zoo / "base"
        on_vae = {"model.vae.from_pretrained": vae}
        given = (
            ({"looks": self.data, "photographs": self.make.splits["zoo"].images}, (), given_iters),
            (on_vae, weights(vae)[:1], given_iters),
            ({**on_vae, "base_folder": base}, weights(base), given_iters or FROM_BASE_ITERS),
        )
        for name, (options, inputs, iters) in zip(ZOO_MODELS, given, strict=True):
            config, out = f"configs/zoo/{name}_miniscenes.py", zoo / f"{name}_training"
            options = {**options, "data_root": self.data}
            inputs = (*self.annotations("zoo"), *inputs)
            train = self.make.train(
                f"zoo-{name}", f"train the zoo's {name}", config, out, iters, options, inputs
            )
            command = ["tools/model_converters/to_diffusers.py", config, train.outputs[0], zoo / name]
            export = Step(
                f"zoo-{name}-export",
                f"write the zoo's {name} as a diffusers folder",
                texts([*command, "--cfg-options", *pairs(options)]),
                (config,),
                train.outputs,
                weights(zoo / name)[: 1 if name == "vae" else 3],
                (zoo / name,),
            )
            steps += [train, export]
        return steps
