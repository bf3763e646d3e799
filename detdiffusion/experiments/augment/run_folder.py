"""The folder of a run: its paths, what has been derived from the labels so far, and its configs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cached_property
from io import StringIO
from pathlib import Path

from detdiffusion.experiments.common_steps import GATED, CommonSteps, Split, Weights, config_iters, halves
from detdiffusion.utils.files import list_files, write_atomic
from detdiffusion.utils.sampling_plan import PLANS

from .arm_configs import arm_config
from .arms import COPY_PASTE, REAL, Arm, arms_of, in_round, learned_kind, set_of
from .budget import BUDGET, SMOKE, Schedule, Work, divide, enough_iters, fixed, minutes_for, minutes_of
from .plan import Plan, make_plan
from .preflight import HUB, vae_folder
from .rates import StoredRates
from .settings import NO_BASE, AugmentOptions
from .sources import Sources
from .survey import Facts, check_labels, survey
from .write_configs import ConfigFolder, detector_config, generator_config

HELD_OUT_SETS = ("easy", "hard")
"""Strategies of the sets of held-out layouts, which tell whether the generator hears the attribute."""
STEPS_OF_SET = 3
"""Steps of a synthetic set."""
OTHER_STEPS = 15
"""Steps beside those and the trainings of the learner."""
STEPS_OF_ROUND = 5
"""Those of each further round."""
SAMPLING_STEPS, SAMPLING_STEPS_SD = 10, 25
"""Denoising steps without a plan, of a generator from nothing and of Stable Diffusion; small ones gain little from more
(benchmarks/results/sampler_sweep_2026-11-26.json)."""


class RunFolder:
    """The folder of a run.

    Args:
        root: folder with ``configs/`` and ``tools/``, in which the commands are run.
        options: the options; paths as they are seen from ``root``.
        dry: only the commands are wanted: nothing is read or written, and numbers that are not known are words.
    """

    def __init__(self, root: Path, options: AugmentOptions, dry: bool = False) -> None:
        self.root, self.options, self.dry, self.dir = root, options, dry, Path(options.out)
        self.sources = Sources(options, self.dir / "sources", dry)
        self.configs = ConfigFolder(self.dir / "configs")
        self.fidelity, self.comparison = self.dir / "fidelity", self.dir / "comparison"
        self.tokenizer, self.rates = self.dir / "tokenizer", StoredRates(self.dir / "rates.json")
        self.arms: dict[str, Arm] = {arm.name: arm for arm in arms_of(options.arms, self.rounds)}
        self.trainings: dict[str, Arm] = {REAL: Arm(REAL), **self.arms}
        """The arms and that of the real images alone, which comes first."""
        self.kinds = list(dict.fromkeys(filter(None, map(set_of, options.arms))))
        """Names of the synthetic sets, without their rounds."""
        self.sets = [in_round(name, number) for number in self.rounds for name in self.kinds]
        self.seeds = list(range(options.seed, options.seed + options.seeds))
        self.splits: dict[str, Split] = {}
        self.facts: Facts | None = None
        self.plan: Plan | None = None

    @property
    def rounds(self) -> range:
        """The numbers of the rounds."""
        return range(1, self.options.rounds + 1)

    # paths

    @property
    def test(self) -> str:
        """The split of the final comparison."""
        return "test" if "test" in self.splits else "val"

    @property
    def tuning(self) -> str | None:
        """The split that chooses the arm; None where there is none beside the test images."""
        return "val" if self.test != "val" else None

    @cached_property
    def halves(self) -> dict[str, Split]:
        """The two halves of ``train``."""
        return halves(self.splits["train"], self.dir / "halves")

    def config(self, name: str) -> str:
        """Return the path of one of the run's configs."""
        return str(self.configs.folder / f"{name}.py")

    def attributes(self, split: str, number: int = 1) -> Path:
        """Return the attributes file of a split; that of ``train`` is of a round."""
        return self.dir / "attributes" / f"{in_round(split, number)}.json"

    def generator(self, number: int | None = None) -> Path:
        """Return the work dir of a round's generator, by default of the last."""
        return self.dir / in_round("generator", number or self.rounds[-1])

    def synthetic(self, name: str) -> Path:
        """Return the folder of a synthetic training set."""
        return self.dir / "synthetic" / name

    @property
    def near_copies(self) -> Path:
        """The folder of the reports on near copies of training images, one for each synthetic set."""
        return self.dir / "near_copies"

    @property
    def pasted(self) -> float:
        """The number of arms with copy-paste; one half of whose images are generated counts half."""
        return sum(0.5 if arm.generated else 1.0 for arm in self.arms.values() if arm.copy_paste)

    @property
    def learned_kind(self) -> str | None:
        """The set of a round that the learners of the next round's attributes are trained on too."""
        return learned_kind(self.options.arms)

    def trained_on(self, name: str) -> list[Path]:
        """Return the files of a synthetic training set that change whenever its labels or images do."""
        return [self.synthetic(name) / file for file in (GATED, "manifest.jsonl")]

    def held_out(self, strategy: str) -> Path:
        """Return the folder of a set of held-out layouts."""
        return self.dir / "held_out" / strategy

    def trained(self, name: str, seed: int) -> Path:
        """Return the work dir of a training of an arm."""
        return self.dir / "arms" / f"{name}_seed{seed}"

    def tuned(self, name: str, seed: int) -> Path:
        """Return the file of the metrics of an arm's learner on :attr:`tuning`."""
        return self.dir / "tuning" / f"{name}_seed{seed}.json"

    def vae(self) -> str:
        """Return the folder or hub id of the autoencoder of a generator from nothing."""
        given = self.options.vae
        if len(given) == 2:
            return str(self.dir / "taesd")
        return given[0] if given[0].startswith(HUB) else str(vae_folder(given[0])[0])

    def given_weights(self) -> list[Path]:
        """Return files that change whenever those of the autoencoder or of Stable Diffusion do: the former themselves,
        and a listing of the latter, which are large. Nothing is known of what is downloaded."""
        base, vae = self.options.base, Path(self.vae()) if self.options.base == NO_BASE else None
        if self.dry or (vae and not vae.is_dir()):
            return []
        if vae:
            return sorted(path for path in vae.iterdir() if path.is_file())
        listing = self.dir / "base_files.txt"
        write_atomic(listing, list_files(base))
        return [listing]

    # for steps

    def make(self) -> CommonSteps:
        """Return the builder of the common steps."""
        splits = {**self.splits, **self.halves}
        return CommonSteps(self.root, splits, self.options.seed, device=self.options.device)

    def inputs(self, *paths: Path) -> tuple[Path, ...]:
        """Return the inputs of a step."""
        return () if self.dry else paths

    def iters(self, config: str) -> int | str:
        """Return the iterations of a config, which the user may have edited."""
        return "N" if self.dry else config_iters(self.root / config)

    def weights(self, config: str, work_dir: Path) -> Weights:
        """Return a trained model of one of the run's configs."""
        return Weights(config, work_dir / f"iter_{self.iters(config)}.pth")

    def judge(self) -> Weights:
        """Return the detector that judges held-out and generated images; it was not trained on them."""
        if self.options.detector:
            config, checkpoint = self.options.detector
            return Weights(config, Path(checkpoint))
        return self.weights(self.config("detector"), self.trained(REAL, self.seeds[0]))

    @property
    def judge_shows_features(self) -> bool:
        """Whether the judge can compare images; an exported detector gives its boxes alone."""
        return not self.options.detector or Path(self.options.detector[1]).suffix.lower() != ".onnx"

    # what is derived

    def look_early(self) -> None:
        """Find mistakes in the labels before any step; sources that need a conversion are read into a temporary folder.

        Raises:
            UserError: the labels cannot be used.
        """
        if self.sources.is_converted():
            return
        with tempfile.TemporaryDirectory() as folder:
            splits, cut = self.sources.read_early(Path(folder))
            if cut:
                check_labels(splits, self.options.classes, self._names(splits))
            elif self.sources.all_jsons():
                self.splits = splits
                self.derive()
            else:
                with redirect_stdout(StringIO()):  # it is derived, and told, again after the conversion
                    make_plan(survey(splits, self.options.classes, self._names(splits)), self.options)

    def _names(self, splits: Mapping[str, Split]) -> dict[str, Path]:
        return {role: self.sources.name(role) for role in splits}

    def derive(self) -> None:
        """Read the labels of all splits and derive the plan; prints what follows.

        Raises:
            UserError: the labels cannot be used.
        """
        self.facts = survey(self.splits, self.options.classes, self._names(self.splits))
        self.plan = plan = make_plan(self.facts, self.options)
        height, width = plan.image_size
        images = ", ".join(f"{name} {count}" for name, count in self.facts.images.items())
        print(
            f"{len(plan.classes)} classes; images: {images}; generated at {width} x {height} px, {plan.kept} of "
            f"{plan.total} objects prompted; compared on {self.test}"
        )
        if self.facts.unused:
            print(f"classes that are not used: {', '.join(self.facts.unused)}")
        if self.test == "val":
            print("no test images: val decides nothing and is the test")

    @property
    def budget(self) -> float | None:
        """The minutes that decide the sizes; None with given iterations."""
        return None if self.options.detector_iters else self.options.budget or BUDGET

    @property
    def schedule(self) -> Schedule:
        """Sizes that follow from the budget and the rates measured so far, or from the given iterations."""
        if self.options.smoke:
            return SMOKE
        plan = self.options.plan
        by_base = SAMPLING_STEPS if self.options.base == NO_BASE else SAMPLING_STEPS_SD
        steps = PLANS[plan].steps if plan else by_base
        if self.plan is None:
            return Schedule(0, 0, 0, 0, steps)
        if self.options.detector_iters:
            return fixed(self.options.detector_iters, self.options.generator_iters, self._work(), steps)
        return divide(self.budget, self.rates.read(), self._work(), steps)

    def schedule_line(self) -> str:
        """Return the sizes, and the minutes that follow from the budget, in a line."""
        schedule = self.schedule
        line = (
            f"{schedule.detector_iters} iterations of each detector, {schedule.generator_iters} of the generator, "
            f"{schedule.held_out} images in a set of held-out layouts and {schedule.synthetic} in one of training "
            "layouts"
        )
        if self.options.detector_iters:
            return line
        minutes = minutes_of(schedule, self.rates.read(), self._work())
        line = f"{line}: about {minutes:.0f} minutes"
        return (
            line
            if minutes <= self.budget
            else f"{line}, more than --budget {self.budget:g}: the smallest sizes"
        )

    def few_iters(self) -> str | None:
        """Return a warning where the learner is trained so little that it lacks iterations, not images."""
        iters = self.iters(self.config("detector"))
        enough = enough_iters(self.facts.images["train"], self.plan.batch)
        if self.options.smoke or iters >= enough:
            return None
        line = (
            f"each detector is trained for {iters} iterations; with fewer than {enough} it may lack iterations rather "
            "than images, and synthetic ones cost it some"
        )
        if "detector.py" in self.configs.edited:
            return line
        if self.options.detector_iters:
            return f"{line}: --detector-iters {enough} gives as many"
        minutes = minutes_for(enough, self.rates.read(), self._work(), self.schedule.sampling_steps)
        return f"{line}: --budget {minutes} gives as many, and so do fewer --arms or --seeds with less"

    def _work(self) -> Work:
        rounds, images = len(self.rounds), self.facts.images
        arms = self.options.seeds * len(self.trainings)
        fitted = 0 if self.options.detector else rounds  # times that the learner is trained on both halves
        tests = self.options.seeds * len(self.arms) if self.tuning else 0
        trainings = arms + 2 * fitted
        # validations of the arms; those of the halves, attributes, near copies; attributes, held-out images, tests
        evaluated = (
            arms * images[self.test]
            + (fitted + rounds + len(self.sets)) * images["train"]
            + (2 + tests) * images["val"]
        )
        return Work(
            trainings=trainings,
            steps=trainings
            + OTHER_STEPS
            + STEPS_OF_SET * len(self.sets)
            + STEPS_OF_ROUND * (rounds - 1)
            + tests
            + bool(self.pasted),
            pasted=self.options.seeds * self.pasted,
            held_out_sets=len(HELD_OUT_SETS),
            synthetic_sets=len(self.sets),
            generators=rounds,
            held_out=self.facts.images["val"],
            layouts=self.plan.images,
            evaluated=evaluated,
            batch=self.plan.batch,
        )

    def autoencoder(self) -> dict:
        """Return what the autoencoder loses; empty with Stable Diffusion."""
        path = self.dir / "autoencoder/autoencoder.json"
        return json.loads(path.read_text()) if self.options.base == NO_BASE else {}

    # configs

    def write_detectors(self) -> None:
        """Write the learner's configs."""
        real = detector_config(self.plan, self.schedule, self.splits, self.options.learner, self.test)
        texts, arms = {"detector": real}, list(self.arms.values())
        if self.pasted:
            arms.append(Arm(COPY_PASTE, copy_paste=True))  # its iterations are timed
        if len(self.rounds) > 1:
            arms.append(Arm(self.learned_kind, self.learned_kind))  # the halves' learners of the later rounds
        for arm in arms:
            texts[arm.config] = arm_config(arm, self.dir / "synthetic", self.facts.masks)
        self.configs.write({f"{name}.py": text for name, text in texts.items()})

    def write_generator(self) -> None:
        """Write the generator's config."""
        attributes, parts = self.attributes("train"), self._parts()
        text = generator_config(self.plan, self.schedule, self.splits, attributes, parts, self.dir)
        self.configs.write({"generator.py": text})

    def _parts(self) -> dict[str, object]:
        """Return the variables of the generator's config that name its parts."""
        if self.options.base != NO_BASE:
            return dict(sd_folder=self.options.base)
        found = self.autoencoder()
        return dict(
            vae_folder=self.vae(),
            vae_type=found["type"],
            scaling_factor=found["scaling_factor"],
            tokenizer_folder=str(self.tokenizer),
            vocab_size=len(json.loads((self.tokenizer / "vocab.json").read_text())),
        )
