"""One job of the low-data benchmark, i.e. a look, a number of real images and a seed, as a list of commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from detdiffusion.datasets.miniscenes.looks import RANDOM
from detdiffusion.datasets.miniscenes.scene import THINGS
from detdiffusion.experiments.common_steps import Sampling, Weights, halves
from detdiffusion.experiments.miniscenes_steps import ZOO_LOOKS, MiniScenesSteps
from detdiffusion.utils.steps import Step

from .arms import ARMS, LOOKS, REAL, SETS, Arm, GeneratedSet
from .settings import Settings

ATTRIBUTE_DETECTOR = "configs/trainability/atss_real_miniscenes.py"
GENERATOR_CONFIG = "configs/detdiffusion_miniscenes.py"
SCORE_THR = 0.5
"""Score above which a detection finds an object; see the demo for its choice."""
LEARNERS = ("atss", "faster-rcnn")
DRAWN = ("data", LOOKS)
"""Names of the steps that draw scenes: those of the job, and those of :data:`.arms.LOOKS`."""


class Job:
    """Paths and steps of a job.

    Args:
        root: folder with ``configs/`` and ``tools/``, in which the commands are run.
        out: folder of the benchmark; the job's own is ``out/LOOK-IMAGES/SEED``.
        look: look of MiniScenes.
        images: number of real training images.
        seed: seed of data, training and noise.
        settings: all other sizes.
        layout: diffusers folder of the layout checkpoint, or ``zoo://NAME``.
        base: the captions-only base, a folder or ``zoo://NAME``; only needed for arms that start from it.
        device: device of the tools that have ``--device``; None lets them choose.
    """

    def __init__(
        self,
        root: Path,
        out: Path,
        look: str,
        images: int,
        seed: int,
        settings: Settings,
        layout: Path | str = ZOO_LOOKS,
        base: Path | str | None = None,
        device: str | None = None,
    ) -> None:
        self.look, self.images, self.seed, self.settings = look, images, seed, settings
        self.layout, self.base = layout, base
        self.dir = out / f"{look}-{images}" / str(seed)
        self.data, self.attributes = self.dir / "data", self.dir / "attributes" / "train.json"
        self.make = MiniScenesSteps(root, self.data, seed, layout, device)
        self._make_from_base = MiniScenesSteps(root, self.data, seed, base, device)
        self._make_looks = MiniScenesSteps(root, self.dir / LOOKS, seed=0)  # the zoo's
        self.make.splits = {
            **self.make.splits,
            **halves(self.make.splits["train"], self.data / "halves"),
            LOOKS: self._make_looks.splits["zoo"],
        }

    def synthetic(self, name: str) -> Path:
        """Return the folder of a generated set."""
        return self.dir / "synthetic" / name

    def work_dir(self, arm: Arm, learner: str) -> Path:
        """Return the work dir of a learner."""
        return self.dir / "arms" / f"{arm.name}-{learner}"

    @property
    def near_copies(self) -> Path:
        """The folder of the reports on near copies of the real images, one for each generated set."""
        return self.dir / "near_copies"

    def steps(self, arms: Iterable[str], learners: Sequence[str]) -> list[Step]:
        """Return the steps of some arms in the order of their execution: those without generated images first."""
        chosen = [ARMS[name] for name in arms]
        steps = [self._draw()]
        steps += [self._draw_looks()] if any(LOOKS in arm.further for arm in chosen) else []
        steps += [self.train(arm, learner) for arm in chosen if not arm.generated for learner in learners]
        sets = {arm.generated: SETS[arm.generated] for arm in chosen if arm.generated}
        if sets:
            steps += [self.train(ARMS[REAL], LEARNERS[0]), *self._attributes()]  # the judge
        for from_base in (False, True):
            of_generator = [one for one in sets.values() if one.from_base == from_base]
            if of_generator:
                steps.append(self._train_generator(from_base))
            for one in of_generator:
                steps.append(self._generate(one))
                for arm in chosen:
                    if arm.generated == one.name:
                        steps += [self._check(arm)] if arm.gate else []
                        steps += [self.train(arm, learner) for learner in learners]
        steps += map(self.find_near_copies, sets)
        return list({step.name: step for step in steps}.values())

    def train(self, arm: Arm, learner: str) -> Step:
        """Return the step that trains a learner on an arm's images and validates it at the end."""
        iters = self.settings.learner_iters
        options = dict(arm.options)
        if arm.config.endswith("-schedule"):
            options["fall_end"] = iters
        if LOOKS in arm.further:
            root = self.make.splits[LOOKS].images.parent
            options.update(synthetic_root=root, synthetic_ann="instances.json")
        return self.make.train_detector(
            f"train-{arm.name}-{learner}",
            f"train {learner} on the images of the arm {arm.name}",
            f"configs/trainability/{learner}_{arm.config}_miniscenes.py",
            self.work_dir(arm, learner),
            iters,
            synthetic=self.synthetic(arm.generated) if arm.generated else None,
            gated=bool(arm.gate),
            further=arm.further,
            options=options,
        )

    def _judge(self) -> Weights:
        """Return the learner of the real images: it gave no attributes and saw no other labels."""
        step = self.train(ARMS[REAL], LEARNERS[0])
        return Weights(step.command[1], step.outputs[0])

    def _check(self, arm: Arm) -> Step:
        title = f"check the generated images of the set {arm.generated}"
        folder = self.synthetic(arm.generated)
        return self.make.gate(f"gate-{arm.generated}", title, self._judge(), folder, arm.gate)

    def find_near_copies(self, name: str) -> Step:
        """Return the step that looks for near copies of the real images in a generated set."""
        title = f"which images of the set {name} are near copies of real ones?"
        return self.make.find_near_copies(title, self._judge(), name, self.synthetic(name), self.near_copies)

    def _draw(self) -> Step:
        s = self.settings
        counts = {"train": self.images, "more": s.more_images, "val": s.val_images}
        return self.make.draw(counts, s.image_size, self.look)

    def _draw_looks(self) -> Step:
        """Return the step that draws the scenes that the layout checkpoint was trained on."""
        counts = {"zoo": self.settings.look_images}
        step = self._make_looks.draw(counts, self.settings.image_size, RANDOM)
        return replace(step, name=LOOKS)

    def _attributes(self) -> list[Step]:
        """Return the steps that write the attributes of the training images; each half of them is judged by a detector
        that was trained on the other half, and nothing reads the labels of other images."""
        make, config, iters = self.make, ATTRIBUTE_DETECTOR, self.settings.learner_iters
        steps, results = [make.halve("train", self.data / "halves", "none")], []
        for half, other in (("a", "b"), ("b", "a")):
            weights = Weights(config, self.dir / "detectors" / half / f"iter_{iters}.pth")
            results.append(self.dir / "attributes" / f"half_{other}.results.json")
            steps.append(self._train_attribute_detector(half, other, weights.checkpoint.parent))
            steps.append(
                make.extract_attributes(
                    f"attributes-{other}",
                    f"half {other} judged by the detector that was trained on half {half}",
                    weights,
                    other,
                    self.dir / "attributes" / f"half_{other}.json",
                    SCORE_THR,
                    results[-1],
                )
            )
        joined, title = self.dir / "attributes" / "results.json", "easy or hard? attributes of train"
        steps.append(make.join("join", results, joined))
        steps.append(
            make.attributes_of_predictions(
                "attributes-train", title, joined, THINGS, "train", self.attributes, SCORE_THR
            )
        )
        return steps

    def _train_attribute_detector(self, half: str, other: str, out: Path) -> Step:
        iters = self.settings.learner_iters
        files = {name: self.make.annotations(name)[0] for name in (half, other)}
        options = {
            "train_cfg.val_interval": iters,
            "data_root": self.data,
            "train_dataloader.dataset.ann_file": files[half].relative_to(self.data),
            "val_dataloader.dataset.ann_file": files[other].relative_to(self.data),
            "val_dataloader.dataset.data_prefix.img": "train/images/",
            "val_evaluator.ann_file": files[other],
        }
        title = f"train the attribute detector on half {half}"
        return self.make.train(
            f"detector-{half}", title, ATTRIBUTE_DETECTOR, out, iters, options, tuple(files.values())
        )

    def _generator(self, from_base: bool) -> Weights:
        iters = self.settings.base_iters if from_base else self.settings.generator_iters
        name = "generator-from-base" if from_base else "generator"
        return Weights(GENERATOR_CONFIG, self.dir / name / f"iter_{iters}.pth")

    def _train_generator(self, from_base: bool) -> Step:
        s, out = self.settings, self._generator(from_base).checkpoint.parent
        return (self._make_from_base if from_base else self.make).train_generator(
            out.name,
            f"fine-tune the {'captions-only base' if from_base else 'layout checkpoint'}",
            GENERATOR_CONFIG,
            out,
            s.base_iters if from_base else s.generator_iters,
            s.generator_batch,
            self.attributes,
        )

    def _generate(self, one: GeneratedSet) -> Step:
        s = self.settings
        return (self._make_from_base if one.from_base else self.make).generate(
            f"generate-{one.name}",
            f"generate images: {one.name}",
            self._generator(one.from_base),
            self.synthetic(one.name),
            "train",
            one.strategy,
            self.attributes,
            limit=self.images,
            sampling=Sampling(s.sampling_steps, s.guidance_scale, s.sampling_batch, s.plan),
            edits=one.edits,
            from_real=one.from_real,
            flags=["--samples-per-image", s.samples_per_image(self.images), *one.flags()],
        )
