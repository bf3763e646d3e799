"""How the minutes of a run are divided: iterations and numbers of images from measured seconds. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

BUDGET = 60.0
"""Minutes where none are given."""
SHARES = dict(detectors=0.40, generator=0.40, images=0.20)
"""Shares of the time that is left after the fixed costs."""
STEP_SECONDS = 12.0
"""Fixed cost of a step on one core: imports, reading of the data, validation."""
RESERVE = 0.1
"""Share of the budget that is kept back: checkpoints, a machine that is busy."""
SAMPLING_COST = 2 / 3
"""A denoising step of an image with guidance (two forward passes) over a training step of an image (forward, backward
of twice its cost): 2 / 3."""
EVALUATION_COST = 1 / 3
"""Detection on an image over a training step of an image. An assumption: a forward pass without the backward pass,
which takes about twice as long; a detector given by ``detector`` is taken to be as fast as the learner."""
LEAST_ITERS = 20
"""Iterations of any training, whatever the budget."""
ENOUGH_PASSES, ENOUGH_ITERS = 20, 500
"""Passes over the real images and iterations of the learner; with less of either it lacks iterations rather than
images. On photographs of blood cells synthetic images cost AP after 179 iterations (7 passes over 205) and 128 (20
passes over 50), and gained AP after 600 and 500 (bccd_blueprint_2026-11-26.json, augment/bccd_50.json,
bccd_few_2026-11-27.json in benchmarks/results); docs/claims.md has gains after 500."""
MAX_HELD_OUT = 100
"""Held-out layouts that are drawn; more change no decision."""
LEAST_IMAGES = 16
"""Images of a synthetic set, whatever the budget: those of either half of the layouts train a learner in a second
round."""
MAX_SAMPLES = 20
"""Images of a training layout."""
ENOUGH_IMAGES = 1000
"""Images of a synthetic set above which a layout is drawn once; half of the learner's images are such, and 500
iterations see each of them a few times (docs/claims.md)."""


@dataclass(frozen=True)
class Rates:
    """Measured seconds of one iteration.

    Attributes:
        detector: the learner, with its batch.
        generator: the generator, with its batch; 0 while it is not measured.
        copy_paste: the learner with copy-paste; 0 while it is not measured.
    """

    detector: float
    generator: float = 0.0
    copy_paste: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """Sizes of a run.

    Attributes:
        detector_iters: iterations of each training of the learner.
        generator_iters: iterations of each training of the generator.
        held_out, synthetic: maximum number of images of each set of held-out and of training layouts.
        sampling_steps: denoising steps.
        resamples: resamples of bootstrap intervals.
        calibration_iters: iterations that are timed.
    """

    detector_iters: int
    generator_iters: int
    held_out: int
    synthetic: int
    sampling_steps: int
    resamples: int = 1000
    calibration_iters: int = 12

    def samples(self, layouts: int) -> tuple[int, int]:
        """Return how many of the training layouts are drawn in a set, and how often each."""
        return min(layouts, self.synthetic), max(1, self.synthetic // layouts)


SMOKE = Schedule(
    detector_iters=4,
    generator_iters=4,
    held_out=4,
    synthetic=8,
    sampling_steps=2,
    resamples=20,
    calibration_iters=2,
)


@dataclass(frozen=True)
class Work:
    """What a run has to do.

    Attributes:
        trainings: trainings of the learner.
        steps: number of steps of the pipeline.
        held_out_sets, synthetic_sets: generated sets of held-out and of training layouts.
        generators: trainings of the generator, one a round.
        pasted: trainings of the learner with copy-paste; one half of whose images are generated counts half.
        held_out, layouts: number of layouts of the held-out and of the training images.
        evaluated: real images that a detector is run on, in validations and for attributes, all of them together.
        batch: batch size of the generator.
    """

    trainings: int
    steps: int
    held_out_sets: int
    synthetic_sets: int
    held_out: int
    layouts: int
    evaluated: int
    batch: int
    generators: int = 1
    pasted: float = 0.0

    @property
    def most_images(self) -> int:
        """The largest number of images of a synthetic set."""
        return max(self.layouts, min(MAX_SAMPLES * self.layouts, ENOUGH_IMAGES))


def divide(minutes: float, rates: Rates, work: Work, sampling_steps: int) -> Schedule:
    """Divide a budget.

    From the budget the reserve, the fixed costs of all steps and the detection on real images are taken, at most half
    of it. The rest is divided by
    :data:`SHARES`; what the images do not need goes to the generator. Each number is at least what makes a step run.

    Args:
        minutes: the budget.
        rates: measured seconds.
        work: what has to be done.
        sampling_steps: denoising steps of an image.
    """
    seconds = 60 * minutes
    left = max(seconds / 2, seconds * (1 - RESERVE) - _fixed_seconds(rates, work))
    detector_iters = int(SHARES["detectors"] * left / _iteration_seconds(rates, work))
    image = _image_seconds(sampling_steps, rates, work) if rates.generator else 1.0
    affordable = int(SHARES["images"] * left / image)
    held_out = max(1, min(work.held_out, MAX_HELD_OUT, affordable // 3 // work.held_out_sets))
    used = held_out * work.held_out_sets
    least, images = min(LEAST_IMAGES, work.layouts), (affordable - used) // work.synthetic_sets
    synthetic = _equally_often(max(least, min(work.most_images, images)), work.layouts)
    used += synthetic * work.synthetic_sets
    for_generator = SHARES["generator"] * left + max(0.0, SHARES["images"] * left - used * image)
    generator_iters = int(for_generator / work.generators / rates.generator) if rates.generator else 100
    return Schedule(
        detector_iters=max(LEAST_ITERS, detector_iters),
        generator_iters=max(LEAST_ITERS, generator_iters),
        held_out=held_out,
        synthetic=synthetic,
        sampling_steps=sampling_steps,
    )


def fixed(detector_iters: int, generator_iters: int, work: Work, sampling_steps: int) -> Schedule:
    """Return the sizes of a run without a budget: given iterations, and sets of the largest size."""
    synthetic, held_out = _equally_often(work.most_images, work.layouts), min(work.held_out, MAX_HELD_OUT)
    return Schedule(detector_iters, generator_iters, held_out, synthetic, sampling_steps)


def _equally_often(images: int, layouts: int) -> int:
    """Return how many of some images are drawn, so that each layout is drawn equally often where there are enough."""
    return images - images % layouts if images > layouts else images


def minutes_of(schedule: Schedule, rates: Rates, work: Work) -> float:
    """Return the minutes that a schedule takes."""
    images = schedule.held_out * work.held_out_sets + schedule.synthetic * work.synthetic_sets
    seconds = _fixed_seconds(rates, work) + schedule.detector_iters * _iteration_seconds(rates, work)
    seconds += work.generators * schedule.generator_iters * rates.generator
    return (seconds + images * _image_seconds(schedule.sampling_steps, rates, work)) / 60


def minutes_for(iterations: int, rates: Rates, work: Work, sampling_steps: int) -> int:
    """Return the smallest budget, in multiples of ten minutes, that gives the learner so many iterations."""
    minutes = 10
    while divide(minutes, rates, work, sampling_steps).detector_iters < iterations:
        minutes += 10
    return minutes


def enough_iters(images: int, batch: int) -> int:
    """Return the iterations of the learner from which on images are what it lacks, not iterations.

    Args:
        images: number of real training images.
        batch: batch size of the learner.
    """
    return max(ENOUGH_ITERS, math.ceil(ENOUGH_PASSES * images / batch))


def _fixed_seconds(rates: Rates, work: Work) -> float:
    return STEP_SECONDS * work.steps + work.evaluated * _detection_seconds(rates, work)


def _iteration_seconds(rates: Rates, work: Work) -> float:
    """Return the seconds of an iteration of all trainings of the learner."""
    return work.trainings * rates.detector + work.pasted * max(0.0, rates.copy_paste - rates.detector)


def _image_seconds(sampling_steps: int, rates: Rates, work: Work) -> float:
    """Return the seconds of a generated image, which a detector judges and compares with the training images."""
    return sampling_steps * SAMPLING_COST * rates.generator / work.batch + 2 * _detection_seconds(rates, work)


def _detection_seconds(rates: Rates, work: Work) -> float:
    return EVALUATION_COST * rates.detector / work.batch
