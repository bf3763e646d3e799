"""The paper's experiments on MiniScenes as jobs: every arm and seed a chain of steps with a result file.

A job's key is the digest of its facts: sizes, seed, what configs say of models, data and optimisers, layout
weights, and those of all that it builds on. A result file with the job's key is a finished job, wherever its
folders are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.steps import Step, config_digest

from .miniature_figures import detector_figures, fidelity_figures
from .miniscenes_steps import ZOO_LAYOUT, MiniScenesSteps, Weights, weights

DETECTOR, OTHER_DETECTOR = "atss", "fcos"
STRATEGIES = ("easy", "origin", "hard")


@dataclass(frozen=True)
class Scale:
    """Sizes of an experiment; the same for all arms.

    Attributes:
        detector_images, train_images, val_images: images of each split.
        image_size: side of the images in pixels.
        detector_iters: of the attribute detectors.
        score_thr: of Eq. 2, for the attributes of the evaluating detector (ATSS).
        generator_iters, generator_batch, generator_lr: of every fine-tuning.
        fidelity_layouts: held-out layouts that every set shows.
        sampling_steps, guidance_scale, sampling_batch: of the sampler.
        resamples: of the bootstrap inside a seed.
    """

    detector_images: int = 1500
    train_images: int = 1000
    val_images: int = 300
    image_size: int = 64
    detector_iters: int = 450
    score_thr: float = 0.5
    generator_iters: int = 800
    generator_batch: int = 32
    generator_lr: float = 1.5e-3
    fidelity_layouts: int = 200
    sampling_steps: int = 25
    guidance_scale: float = 3.5
    sampling_batch: int = 50
    resamples: int = 1000


SCALES = {
    "cpu": Scale(),
    "gpu": Scale(
        detector_images=4000,
        train_images=8000,
        val_images=1000,
        detector_iters=900,
        generator_iters=6000,
        generator_batch=128,
        fidelity_layouts=600,
        sampling_steps=50,
        sampling_batch=200,
    ),
    "smoke": Scale(
        detector_images=24,
        train_images=24,
        val_images=24,
        detector_iters=4,
        generator_iters=4,
        generator_batch=4,
        fidelity_layouts=6,
        sampling_steps=2,
        sampling_batch=4,
        resamples=20,
    ),
}


@dataclass(frozen=True)
class Arm:
    """A generator and the held-out sets that it draws.

    Attributes:
        config: of the generator.
        title: for the user.
        strategies: its sets; the models without attributes know only ``origin``.
        attributes: the detector that gives them, None for a model without.
    """

    config: str
    title: str
    strategies: tuple[str, ...]
    attributes: str | None = DETECTOR


ARMS = {
    "geodiffusion": Arm("configs/geodiffusion_miniscenes.py", "GeoDiffusion", ("origin",), None),
    "attr": Arm("configs/ablations/attr-only_miniscenes.py", "P.A. Attr", ("easy",)),
    "detdiffusion": Arm("configs/detdiffusion_miniscenes.py", "P.A. Attr and P.A. loss", STRATEGIES),
}
AUGMENTING = ("geodiffusion", "detdiffusion")
"""Arms whose images also train detectors."""


@dataclass(frozen=True)
class Job:
    """What ends with a result file.

    Attributes:
        name, seed: of the result file.
        title: for the user.
        facts: what decides the result, as json; its digest is the key.
        chain: steps of other jobs that come first.
        steps: its own.
        figures: reads the outputs of the steps; the figures of the result file.
        disposable: folders whose checkpoints no other job needs.
    """

    name: str
    seed: int
    title: str
    facts: dict
    chain: tuple[Step, ...]
    steps: tuple[Step, ...]
    figures: Callable[[], dict]
    disposable: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """SHA-256 of the facts."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()


class SeedJobs:
    """The jobs of one seed.

    Args:
        root: the folder with ``configs/`` and ``tools/``.
        work_dir: of this seed; in commands it is used as given.
        scale: sizes.
        seed: of data, trainings, noise and bootstrap.
        layout: diffusers folder that all generators start from; None takes the zoo's.
    """

    def __init__(self, root: Path, work_dir: Path, scale: Scale, seed: int, layout: Path | None = None):
        self.root, self.dir, self.scale, self.seed, self.layout = root, work_dir, scale, seed, layout
        self.make = MiniScenesSteps(root, work_dir / "data", seed, layout)
        self.data = self.make.draw(
            dict(detector=scale.detector_images, train=scale.train_images, val=scale.val_images),
            scale.image_size,
        )
        self.detector = self._trained_detector(DETECTOR)

    def jobs(self) -> dict[str, Job]:
        """All jobs by name."""
        jobs = [self._detector_job(), *(self._arm_job(name) for name in ARMS)]
        return {job.name: job for job in jobs}

    def synthetic(self, arm: str, split: str, strategy: str) -> Path:
        """The folder of a generated set."""
        return self.dir / "synthetic" / f"{arm}-{split}-{strategy}"

    # the detector and its attributes

    def _trained_detector(self, name: str) -> Weights:
        checkpoint = self.dir / "detectors" / name / f"iter_{self.scale.detector_iters}.pth"
        return Weights(f"configs/detectors/{name}_miniscenes.py", checkpoint)

    def _attributes(self, detector: str, split: str) -> Path:
        return self.dir / "attributes" / f"{detector}-{split}.json"

    def _train_detector(self, name: str) -> Step:
        to = self._trained_detector(name)
        title, iters = f"train the attribute detector {name}", self.scale.detector_iters
        return self.make.train_detector(
            f"detector-{name}", title, to.config, to.checkpoint.parent, iters, "detector"
        )

    def _extract(self, name: str, split: str, score_thr: float) -> Step:
        title = f"easy or hard? {name}'s attributes of the {split} split"
        out = self._attributes(name, split)
        return self.make.extract_attributes(
            f"attributes-{name}-{split}", title, self._trained_detector(name), split, out, score_thr
        )

    def _detector_facts(self, name: str, score_thr: float) -> dict:
        keys = ("detector_images", "train_images", "val_images", "image_size", "detector_iters")
        config = self._trained_detector(name).config
        return {
            "seed": self.seed,
            "attributes_from": name,
            "score_thr": score_thr,
            **{key: getattr(self.scale, key) for key in keys},
            "configs": {config: _digest(self.root / config)},
        }

    def _detector_steps(self) -> tuple[Step, ...]:
        extracted = (self._extract(DETECTOR, split, self.scale.score_thr) for split in ("train", "val"))
        return (self._train_detector(DETECTOR), *extracted)

    def _detector_job(self) -> Job:
        attributes = {split: self._attributes(DETECTOR, split) for split in ("train", "val")}
        things = {split: self.make.annotations(split)[0] for split in attributes}
        return Job(
            "detector",
            self.seed,
            "data, attribute detector, attributes",
            self._detector_facts(DETECTOR, self.scale.score_thr),
            (),
            (self.data, *self._detector_steps()),
            lambda: detector_figures(self.detector.checkpoint.parent, things, attributes),
        )

    # generators and fidelity

    def generator(self, arm: str) -> Weights:
        """The fine-tuned generator of an arm."""
        return Weights(
            ARMS[arm].config, self.dir / "generators" / arm / f"iter_{self.scale.generator_iters}.pth"
        )

    def _train_generator(self, name: str) -> Step:
        arm, to, s = ARMS[name], self.generator(name), self.scale
        return self.make.train_generator(
            f"generator-{name}",
            f"fine-tune the generator: {arm.title}",
            to.config,
            to.checkpoint.parent,
            s.generator_iters,
            s.generator_batch,
            self._attributes(arm.attributes, "train") if arm.attributes else None,
            {"optim_wrapper.optimizer.lr": s.generator_lr},
        )

    def _generator_chain(self, arm: str) -> tuple[Step, ...]:
        """What must be there before an arm's generator is trained and its images are scored."""
        return (self.data, *self._detector_steps())

    def _generate(self, arm: str, split: str, strategy: str, limit: int) -> Step:
        s = self.scale
        which = "held-out" if split == "val" else "training"
        return self.make.generate(
            f"generate-{arm}-{split}-{strategy}",
            f"generate {strategy} images of up to {limit} {which} layouts: {ARMS[arm].title}",
            self.generator(arm),
            self.synthetic(arm, split, strategy),
            split,
            strategy,
            self._attributes(DETECTOR, split) if ARMS[arm].attributes else None,
            limit=limit,
            batch=s.sampling_batch,
            sampling_steps=s.sampling_steps,
            guidance_scale=s.guidance_scale,
        )

    def _generator_facts(self, name: str) -> dict:
        arm = ARMS[name]
        detector = self._detector_facts(arm.attributes or DETECTOR, self.scale.score_thr)
        keys = ("generator_iters", "generator_batch", "generator_lr")
        keys += ("sampling_steps", "guidance_scale", "sampling_batch")
        return {
            **detector,
            **{key: getattr(self.scale, key) for key in keys},
            "configs": {**detector["configs"], arm.config: _digest(self.root / arm.config)},
            "layout_weights": _weights_digest(self.layout or ZOO_LAYOUT),
        }

    def _arm_job(self, name: str) -> Job:
        arm, s, out = ARMS[name], self.scale, self.dir / "fidelity" / name
        sets = {strategy: self.synthetic(name, "val", strategy) for strategy in arm.strategies}
        facts = self._generator_facts(name)
        facts["configs"] = {
            **facts["configs"],
            self.detector.config: _digest(self.root / self.detector.config),
        }
        facts |= dict(
            scored_by=DETECTOR,
            strategies=list(arm.strategies),
            fidelity_layouts=s.fidelity_layouts,
            resamples=s.resamples,
        )
        title = f"score: does the detector find the prompted objects? {arm.title}"
        return Job(
            name,
            self.seed,
            f"generator and its held-out images: {arm.title}",
            facts,
            self._generator_chain(name),
            (
                self._train_generator(name),
                *(self._generate(name, "val", strategy, s.fidelity_layouts) for strategy in arm.strategies),
                self.make.score(f"fidelity-{name}", title, self.detector, sets, out, s.resamples),
            ),
            lambda: fidelity_figures(out / "fidelity.json"),
            () if name in AUGMENTING else (self.generator(name).checkpoint.parent,),
        )


# Which jobs decide which claim, in the order of the work: whole claims for all seeds come early.
CLAIM_JOBS: dict[str, tuple[str, ...]] = {
    "C3": ("detector", "detdiffusion"),
    "C2": ("geodiffusion", "detdiffusion"),
    "C1": ("geodiffusion", "detdiffusion"),
    "C4": ("geodiffusion", "attr", "detdiffusion"),
    "M1": ("detector",),
}
# Jobs of one stage run seed by seed, stages one after the other.
STAGES: tuple[tuple[str, ...], ...] = (("detector", "detdiffusion", "geodiffusion"), ("attr",))


def ordered_jobs(seeds: Sequence[SeedJobs], claims: Sequence[str] | None = None) -> list[Job]:
    """The jobs that some claims need (None: all), in the order in which they are to be done."""
    wanted = {name for claim in claims or CLAIM_JOBS for name in CLAIM_JOBS[claim]}
    by_seed = [one.jobs() for one in seeds]
    return [jobs[name] for stage in STAGES for jobs in by_seed for name in stage if name in wanted]


def scale_dict(scale: Scale) -> dict:
    """For records."""
    return asdict(scale)


@cache
def _digest(config: Path) -> str:
    """Of the parts that decide the weights; where logs and checkpoints go does not."""
    return config_digest(
        config, ("model", "train_dataloader", "optim_wrapper", "param_scheduler", "custom_hooks")
    )


@cache
def _weights_digest(folder: Path) -> str:
    return hashlib.sha256("".join(sha256_of(path) for path in weights(folder)).encode()).hexdigest()
