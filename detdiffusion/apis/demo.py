"""The demo loop on MiniScenes as a list of commands: what ``tools/quickstart.py`` runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from detdiffusion.utils.steps import Step

DETECTOR = "atss"
DETECTOR_CONFIG = f"configs/detectors/{DETECTOR}_miniscenes.py"
GENERATOR_CONFIG = "configs/detdiffusion_miniscenes.py"
ZOO_LAYOUT = Path(__file__).resolve().parents[1] / "zoo" / "miniscenes_layout"  # what the config names
# ATSS scores are spread out, and at 0.5 its attributes agree best with the hidden difficulty: rank correlation 0.56,
# a quarter of the objects hard (Faster R-CNN finds nine of ten easy at any threshold).
SCORE_THR = 0.5
STRATEGIES = ("easy", "origin", "hard")


@dataclass(frozen=True)
class Settings:
    """Sizes of the demo.

    Attributes:
        detector_images, train_images, val_images, zoo_images: images of each split; ``zoo`` is only for
            training from nothing.
        image_size: side of the images in pixels.
        detector_iters: of the attribute detector.
        generator_iters, generator_batch: of the fine-tuning.
        trainability_iters: of each of the two compared detectors.
        fidelity_layouts, synthetic_layouts: at most so many held-out and training layouts are drawn.
        sampling_steps, guidance_scale, sampling_batch: of the sampler.
        zoo_iters: of each model of the zoo; None takes the recipes' own.
        resamples: of the bootstrap.
    """

    detector_images: int = 1500
    train_images: int = 800
    val_images: int = 300
    zoo_images: int = 12000
    image_size: int = 64
    detector_iters: int = 450
    generator_iters: int = 600
    generator_batch: int = 32
    trainability_iters: int = 250
    fidelity_layouts: int = 200
    synthetic_layouts: int = 200
    sampling_steps: int = 50
    guidance_scale: float = 3.5
    sampling_batch: int = 64
    zoo_iters: int | None = None
    resamples: int = 1000

    def to_dict(self) -> dict:
        """For records."""
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
        root: the folder with ``configs/`` and ``tools/``, where the commands run.
        work_dir: everything is written below it; in commands it is used as given.
        settings: sizes.
        layout_checkpoint: diffusers folder to fine-tune from; None takes the zoo's; with ``full`` not used.
        seed: of data, trainings, noise and bootstrap.
        full: train VAE, base and layout checkpoint first, and fine-tune from that.
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
        self.root, self.dir, self.settings, self.seed, self.full = root, work_dir, settings, seed, full
        self.data = work_dir / "data"
        self.layout = work_dir / "zoo" / "layout" if full else layout_checkpoint
        self.detector = work_dir / "detector"
        self.generator = work_dir / "generator"
        self.fidelity = work_dir / "fidelity"
        self.arms = {name: work_dir / "trainability" / name for name in ("real_only", "real_plus_hard")}
        self.comparison = work_dir / "trainability" / "comparison"

    def attributes(self, split: str) -> Path:
        """The attributes file of a split."""
        return self.dir / "attributes" / f"{split}.json"

    def synthetic(self, split: str, strategy: str) -> Path:
        """The folder of a synthetic set."""
        return self.dir / "synthetic" / f"{split}-{strategy}"

    def annotations(self, split: str) -> tuple[Path, Path]:
        """Things and stuff of a split."""
        return self.data / split / "instances.json", self.data / split / "stuff.json"

    def steps(self) -> list[Step]:
        """All steps, in an order that they can run in."""
        steps = [self._data(), *(self._zoo() if self.full else ())]
        steps += [self._train_detector("detector", DETECTOR_CONFIG, self.detector, "attribute detector")]
        steps += [self._attributes(split) for split in ("train", "val")]
        steps += [self._train_generator()]
        steps += [self._generate("val", strategy) for strategy in STRATEGIES]
        steps += [self._generate("train", "hard"), self._score()]
        steps += [self._train_arm("real_only", "real"), self._train_arm("real_plus_hard", "hard")]
        return [*steps, self._compare()]

    def _data(self) -> Step:
        s = self.settings
        splits = dict(detector=s.detector_images, train=s.train_images, val=s.val_images)
        if self.full:
            splits["zoo"] = s.zoo_images
        counts = [f"{name}={count}" for name, count in splits.items()]
        command = ["tools/dataset_converters/miniscenes.py", "--out", self.data, "--split", *counts]
        command += ["--size", s.image_size, "--seed", self.seed]
        return Step(
            "data",
            f"draw MiniScenes: {', '.join(counts)} images",
            _texts(command),
            outputs=tuple(path for split in splits for path in self.annotations(split)),
            remove=(self.data,),
        )

    def _train(self, name, title, config, out, iters, options, inputs) -> Step:
        options = {"default_hooks.checkpoint.interval": 100, "randomness.seed": self.seed, **options}
        if iters is None:
            iters = _config_iters(self.root / config)
        else:
            warm_up = max(2, iters // 10)
            options["train_cfg.max_iters"] = options["param_scheduler.1.end"] = iters
            options["default_hooks.logger.interval"] = min(25, iters)
            options["param_scheduler.0.end"] = options["param_scheduler.1.begin"] = warm_up
        command = ["tools/train.py", config, "--work-dir", out, "--resume", "--cfg-options", *_pairs(options)]
        outputs = (out / f"iter_{iters}.pth",)
        title = f"{title}, {iters} iterations"
        return Step(name, title, _texts(command), (config,), tuple(inputs), outputs, (out,))

    def _train_detector(self, name, config, out, title, options=None, inputs=(), iters=None) -> Step:
        iters = iters or self.settings.detector_iters
        things = self.annotations("val")[0]
        fixed = {
            "train_cfg.val_interval": iters,
            "data_root": self.data,
        }
        split = "detector" if name == "detector" else "train"
        inputs = (self.annotations(split)[0], things, *inputs)
        title = f"train the {title}: {DETECTOR}"
        return self._train(name, title, config, out, iters, {**fixed, **(options or {})}, inputs)

    def _train_arm(self, name: str, arm: str) -> Step:
        options, inputs = {}, ()
        if arm != "real":
            folder = self.synthetic("train", arm)
            options["synthetic_root"] = folder
            inputs = (folder / "annotations.json", folder / "manifest.jsonl")
        return self._train_detector(
            f"train-{name.replace('_', '-')}",
            f"configs/trainability/{DETECTOR}_{arm}_miniscenes.py",
            self.arms[name],
            f"detector on {name.replace('_', ' ')} images",
            options,
            inputs,
            self.settings.trainability_iters,
        )

    @property
    def detector_checkpoint(self) -> Path:
        return self.detector / f"iter_{self.settings.detector_iters}.pth"

    @property
    def generator_checkpoint(self) -> Path:
        return self.generator / f"iter_{self.settings.generator_iters}.pth"

    def _attributes(self, split: str) -> Step:
        annotations, out = self.annotations(split), self.attributes(split)
        command = ["tools/extract_attributes.py", DETECTOR_CONFIG, self.detector_checkpoint]
        for path in annotations:
            command += ["--ann", path]
        command += ["--img-dir", self.data / split / "images", "--out", out, "--score-thr", SCORE_THR]
        return Step(
            f"attributes-{split}",
            f"easy or hard? the detector's attributes of the {split} split",
            _texts(command),
            (DETECTOR_CONFIG,),
            (*annotations, self.detector_checkpoint),
            (out,),
            (out,),
        )

    def _layout_options(self) -> dict:
        return {"layout_folder": self.layout} if self.layout else {}

    def _train_generator(self) -> Step:
        s, attributes = self.settings, self.attributes("train")
        options = {
            "train_dataloader.batch_size": s.generator_batch,
            "data_root": self.data,
            "attributes_file": attributes,
            **self._layout_options(),
        }
        inputs = (*self.annotations("train"), attributes, *weights(self.layout or ZOO_LAYOUT))
        title = "fine-tune the generator: P.A. Attr and P.A. loss"
        return self._train(
            "generator", title, GENERATOR_CONFIG, self.generator, s.generator_iters, options, inputs
        )

    def _generate(self, split: str, strategy: str) -> Step:
        s, out, attributes = self.settings, self.synthetic(split, strategy), self.attributes(split)
        limit = s.fidelity_layouts if split == "val" else s.synthetic_layouts
        annotations = self.annotations(split)
        command = ["tools/generate.py", GENERATOR_CONFIG, self.generator_checkpoint, "--out", out]
        for path in annotations:
            command += ["--ann", path]
        command += ["--attributes", attributes, "--strategy", strategy, "--limit", limit]
        command += ["--batch-size", s.sampling_batch, "--steps", s.sampling_steps]
        command += ["--guidance-scale", s.guidance_scale, "--seed", self.seed]
        if options := self._layout_options():
            command += ["--cfg-options", *_pairs(options)]
        which = "held-out" if split == "val" else "training"
        return Step(
            f"generate-{split}-{strategy}",
            f"generate {strategy} images of up to {limit} {which} layouts",
            _texts(command),
            (GENERATOR_CONFIG,),
            (*annotations, attributes, self.generator_checkpoint),
            (out / "annotations.json", out / "manifest.jsonl"),
            (out,),
        )

    def _score(self) -> Step:
        things, out = self.annotations("val")[0], self.fidelity / "fidelity.json"
        folders = {strategy: self.synthetic("val", strategy) for strategy in STRATEGIES}
        command = ["tools/evaluate_fidelity.py", "--detector", DETECTOR_CONFIG, self.detector_checkpoint]
        command += ["--real", things, "--real-images", self.data / "val" / "images", "--synthetic"]
        command += [f"{strategy}={folder}" for strategy, folder in folders.items()]
        command += ["--out", self.fidelity, "--resamples", self.settings.resamples, "--seed", self.seed]
        return Step(
            "fidelity",
            "score: does the detector find the prompted objects?",
            _texts(command),
            (DETECTOR_CONFIG,),
            (things, self.detector_checkpoint, *(f / "manifest.jsonl" for f in folders.values())),
            (out,),
            (self.fidelity,),
        )

    def _compare(self) -> Step:
        checkpoints = tuple(d / f"iter_{self.settings.trainability_iters}.pth" for d in self.arms.values())
        pairs = [f"{name}={folder}" for name, folder in self.arms.items()]
        return Step(
            "compare",
            "score: does the synthetic data help a detector?",
            _texts(["tools/compare_trainability.py", *pairs, "--out", self.comparison]),
            inputs=checkpoints,
            outputs=(self.comparison / "comparison.json",),
            remove=(self.comparison,),
        )

    def _zoo(self) -> list[Step]:
        """VAE, base and layout checkpoint from nothing, each exported as a diffusers folder."""
        zoo, steps = self.dir / "zoo", []
        vae, base = zoo / "vae", zoo / "base"
        on_vae, on_base = {"model.vae.from_pretrained": vae}, {"base_folder": base}
        given = dict(vae=({}, ()), base=(on_vae, weights(vae)[:1]), layout=(on_base, weights(base)))
        for name, (options, inputs) in given.items():
            config, out = f"configs/zoo/{name}_miniscenes.py", zoo / f"{name}_training"
            options = {**options, "data_root": self.data}
            inputs = (*self.annotations("zoo"), *inputs)
            title = f"train the zoo's {name}"
            train = self._train(f"zoo-{name}", title, config, out, self.settings.zoo_iters, options, inputs)
            command = ["tools/model_converters/to_diffusers.py", config, train.outputs[0], zoo / name]
            export = Step(
                f"zoo-{name}-export",
                f"write the zoo's {name} as a diffusers folder",
                _texts([*command, "--cfg-options", *_pairs(options)]),
                (config,),
                train.outputs,
                weights(zoo / name)[: 1 if name == "vae" else 3],
                (zoo / name,),
            )
            steps += [train, export]
        return steps


def weights(folder: Path) -> tuple[Path, ...]:
    """The weight files of a diffusers folder: VAE, UNet, text encoder."""
    name = "diffusion_pytorch_model.safetensors"
    return folder / "vae" / name, folder / "unet" / name, folder / "text_encoder" / "model.safetensors"


def _config_iters(config: Path) -> int:
    from detdiffusion.utils.config import load_config

    return load_config(str(config)).train_cfg.max_iters


def _pairs(options: dict) -> list[str]:
    return [f"{key}={value}" for key, value in options.items()]


def _texts(command) -> tuple[str, ...]:
    return tuple(str(part) for part in command)
