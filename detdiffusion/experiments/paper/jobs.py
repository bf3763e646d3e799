"""The jobs of a seed of the paper in miniature."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from detdiffusion.evaluation.names import MEASURES
from detdiffusion.evaluation.training_runs import read_run
from detdiffusion.experiments.common_steps import AUTOENCODER, Sampling, Weights
from detdiffusion.experiments.miniscenes_steps import MiniScenesSteps, weights
from detdiffusion.utils.digests import config_digest
from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.steps import Step

from .arms import ARMS, BASELINE, DETECTOR, REAL, SETS, STRATEGIES, TRAINED
from .figures import detector_figures, factor_figures, fidelity_figures
from .scales import Job, Scale


class SeedJobs:
    """The jobs of one seed.

    Args:
        root: folder with ``configs/`` and ``tools/``.
        work_dir: folder of this seed; used as given in commands.
        scale: sizes.
        seed: seed of data, training, noise and bootstrap.
        layout: diffusers folder that all generators start from; None uses the zoo's.
    """

    def __init__(self, root: Path, work_dir: Path, scale: Scale, seed: int, layout: Path | None = None):
        self.root, self.dir, self.scale, self.seed, self.layout = root, work_dir, scale, seed, layout
        self.data_dir = work_dir / "data"
        self.make = MiniScenesSteps(root, self.data_dir, seed, layout)
        self.data = self.make.draw(
            dict(detector=scale.detector_images, train=scale.train_images, val=scale.val_images),
            scale.image_size,
        )
        self.detector = self._trained_detector(DETECTOR)

    def jobs(self) -> dict[str, Job]:
        """Return all jobs by name."""
        jobs = [self._detector_job(), self._autoencoder_job()]
        jobs += [*(self._arm_job(name) for name in ARMS), self._factors_job()]
        jobs += [self._training_job(detector, data) for detector in TRAINED for data in (*REAL, *SETS)]
        return {job.name: job for job in jobs}

    def synthetic(self, arm: str, split: str, strategy: str) -> Path:
        """Return the folder of a generated set."""
        return self.dir / "synthetic" / f"{arm}-{split}-{strategy}"

    def _digest(self, config: str) -> str:
        return _digest(self.root / config)

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
        return {
            "seed": self.seed,
            "attributes_from": name,
            "score_thr": score_thr,
            **{key: getattr(self.scale, key) for key in keys},
            "configs": {"detector": self._digest(self._trained_detector(name).config)},
        }

    def _detector_steps(self) -> tuple[Step, ...]:
        extracted = (self._extract(DETECTOR, split, self.scale.score_thr) for split in ("train", "val"))
        return (self._train_detector(DETECTOR), *extracted)

    def _first_steps(self) -> tuple[Step, ...]:
        """Return the steps required before a generator is trained and its images are scored."""
        return (self.data, *self._detector_steps())

    def _detector_job(self) -> Job:
        attributes = {split: self._attributes(DETECTOR, split) for split in ("train", "val")}
        things = {split: self.make.annotations(split)[0] for split in attributes}
        return Job(
            "detector",
            self.seed,
            "data, attribute detector, attributes",
            self._detector_facts(DETECTOR, self.scale.score_thr),
            (),
            self._first_steps(),
            lambda: detector_figures(self.detector.checkpoint.parent, things, attributes),
        )

    def _autoencoder_job(self) -> Job:
        """Return the job of the bound: held-out real images after the autoencoder, which all generators share."""
        s, out = self.scale, self.dir / "fidelity" / AUTOENCODER
        untrained, folder = Weights(BASELINE, None), self.synthetic(AUTOENCODER, "val", "origin")
        title = "real images after the autoencoder"
        facts = self._detector_facts(DETECTOR, s.score_thr)
        facts["configs"] = {**facts["configs"], "generator": self._digest(BASELINE)}
        facts |= dict(
            layout_weights=_weights_digest(self.layout),
            scored_by=DETECTOR,
            from_real=0,
            fidelity_layouts=s.fidelity_layouts,
            resamples=s.resamples,
        )
        return Job(
            AUTOENCODER,
            self.seed,
            title,
            facts,
            self._first_steps(),
            (
                self.make.generate(
                    f"generate-{AUTOENCODER}-val-origin",
                    f"{title}: up to {s.fidelity_layouts} held-out ones",
                    untrained,
                    folder,
                    "val",
                    "origin",
                    None,
                    limit=s.fidelity_layouts,
                    sampling=Sampling(s.sampling_steps, s.guidance_scale, s.sampling_batch),
                    from_real=0,
                ),
                self.make.score(
                    f"fidelity-{AUTOENCODER}",
                    "score: does the detector find the objects?",
                    self.detector,
                    {AUTOENCODER: folder},
                    out,
                    s.resamples,
                ),
            ),
            lambda: fidelity_figures(out / "fidelity.json"),
        )

    # generators and fidelity

    def generator(self, arm: str) -> Weights:
        """Return the fine-tuned generator of an arm."""
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

    def _other_steps(self, name: str) -> tuple[Step, ...]:
        """Return the steps for the attributes of an arm whose attribute detector is not the evaluating one."""
        other = ARMS[name].attributes
        if other in (None, DETECTOR):
            return ()
        return self._train_detector(other), self._extract(other, "train", self.scale.other_score_thr)

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
            sampling=Sampling(s.sampling_steps, s.guidance_scale, s.sampling_batch),
        )

    def _generator_facts(self, name: str) -> dict:
        arm = ARMS[name]
        is_other = arm.attributes not in (None, DETECTOR)
        score_thr = self.scale.other_score_thr if is_other else self.scale.score_thr
        detector = self._detector_facts(arm.attributes or DETECTOR, score_thr)
        keys = ("generator_iters", "generator_batch", "generator_lr")
        keys += ("sampling_steps", "guidance_scale", "sampling_batch")
        return {
            **detector,
            **{key: getattr(self.scale, key) for key in keys},
            "arm": name,
            "configs": {**detector["configs"], "generator": self._digest(arm.config)},
            "layout_weights": _weights_digest(self.layout),
        }

    def _arm_job(self, name: str) -> Job:
        arm, s, out = ARMS[name], self.scale, self.dir / "fidelity" / name
        sets = {strategy: self.synthetic(name, "val", strategy) for strategy in arm.strategies}
        facts = self._generator_facts(name)
        facts["configs"] = {**facts["configs"], "scored_by": self._digest(self.detector.config)}
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
            self._first_steps(),
            (
                *self._other_steps(name),
                self._train_generator(name),
                *(self._generate(name, "val", strategy, s.fidelity_layouts) for strategy in arm.strategies),
                self.make.score(f"fidelity-{name}", title, self.detector, sets, out, s.resamples),
            ),
            lambda: fidelity_figures(out / "fidelity.json"),
            () if name in {arm for arm, _ in SETS.values()} else (self.generator(name).checkpoint.parent,),
        )

    def _factors_job(self) -> Job:
        arm, things = self._arm_job("detdiffusion"), self.make.annotations("val")[0]
        sets = {strategy: self.synthetic("detdiffusion", "val", strategy) for strategy in STRATEGIES}
        return Job(
            "factors",
            self.seed,
            "contrast, sharpness and camouflage of the generated objects",
            {**arm.facts, "measures": list(MEASURES)},
            (*arm.chain, *arm.steps),
            (),
            lambda: factor_figures(things, self.data_dir / "val" / "images", sets),
        )

    # detectors on real and synthetic images

    def _training_job(self, detector: str, data: str) -> Job:
        s, out = self.scale, self.dir / "trainability" / f"{detector}-{data}"
        arm, strategy = SETS.get(data, (None, None))
        kind = "real" if data in REAL else "mixed"
        config = f"configs/trainability/{detector}_{kind}_miniscenes.py"
        iters = s.trainability_iters
        if data == "real":
            iters = max(1, round(iters * s.train_images / (s.train_images + s.synthetic_images)))
        keys = ("train_images", "val_images", "image_size")
        facts: dict = {"seed": self.seed, **{key: getattr(s, key) for key in keys}, "configs": {}}
        chain: tuple[Step, ...] = (self.data,)
        folder = None
        if arm:
            facts = self._generator_facts(arm) | dict(strategy=strategy, synthetic_images=s.synthetic_images)
            folder = self.synthetic(arm, "train", strategy)
            generate = self._generate(arm, "train", strategy, s.synthetic_images)
            chain = (*self._first_steps(), self._train_generator(arm), generate)
        facts |= dict(trained=detector, data=data, trainability_iters=iters)
        facts["configs"] = {**facts["configs"], "trained": self._digest(config)}
        title = f"train {detector}: {data}"
        step = self.make.train_detector(
            f"train-{detector}-{data}", title, config, out, iters, synthetic=folder
        )
        return Job(
            f"train-{detector}-{data}",
            self.seed,
            f"{detector} trained on {data.replace('-', ' ') if data in REAL else f'real + {data}'} images",
            facts,
            chain,
            (step,),
            lambda: dict(real=read_run(out).metrics, iterations=iters),
            (out,),
        )


# Stages run one after the other, the jobs of a stage seed by seed, so that claims are completed early for all seeds.
STAGES: tuple[tuple[str, ...], ...] = (
    ("detector", AUTOENCODER, "detdiffusion", "geodiffusion"),
    ("attr",),
    ("factors",),
    ("without-sqrt",),
    ("without-dice",),
    ("other-detector",),
    *(tuple(f"train-{detector}-{data}" for data in (*REAL, *SETS)) for detector in TRAINED),
)


def ordered_jobs(seeds: Sequence[SeedJobs], wanted: Collection[str] | None = None) -> list[Job]:
    """Return the jobs with these names (None: all) in the order of execution."""
    by_seed = [seed_jobs.jobs() for seed_jobs in seeds]
    return [
        jobs[name]
        for stage in STAGES
        for jobs in by_seed
        for name in stage
        if wanted is None or name in wanted
    ]


_DECISIVE = ("model", "train_dataloader", "optim_wrapper", "param_scheduler", "custom_hooks")
# Values that jobs override are part of their facts. In the digest of a config they are replaced by fixed values, so
# that the config's own values do not matter.
_SET_BY_JOBS = {"param_scheduler.0.end": 50, "param_scheduler.1.begin": 50, "param_scheduler.1.end": 600}
_SET_FOR_GENERATORS = {
    "param_scheduler.0.end": 40,
    "param_scheduler.1.begin": 40,
    "param_scheduler.1.end": 600,
    "optim_wrapper.optimizer.lr": 1e-3,
    "train_dataloader.batch_size": 32,
}


@cache
def _digest(config: Path) -> str:
    """Return a digest of the parts of a config that affect the weights; others, such as output folders, are ignored."""
    generators = {arm.config for arm in ARMS.values()}
    is_generator = any(config.as_posix().endswith(name) for name in generators)
    return config_digest(config, _DECISIVE, _SET_FOR_GENERATORS if is_generator else _SET_BY_JOBS)


@cache
def _weights_digest(folder: Path | None) -> str:
    return hashlib.sha256("".join(sha256_of(path) for path in weights(folder)).encode()).hexdigest()
