"""Sizes of the low-data benchmark."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes beside the number of real images.

    Attributes:
        more_images: further real images of the oracle.
        val_images: held-out images.
        image_size: side of the images in pixels.
        learner_iters: iterations of every learner, and of the two attribute detectors.
        generator_iters: iterations of the generator that starts from the layout checkpoint.
        base_iters: iterations of the generator that starts from the captions-only base.
        generator_batch: batch size of the generators.
        synthetic_images: generated images of a set, about; a multiple of the layouts.
        plan: sampling plan, see ``tools/generate.py --plan``; None for none.
        sampling_steps, guidance_scale: None leaves them to the plan.
        sampling_batch: images per batch.
    """

    more_images: int = 1000
    val_images: int = 300
    image_size: int = 64
    learner_iters: int = 500
    generator_iters: int = 400
    base_iters: int = 2500
    generator_batch: int = 32
    synthetic_images: int = 1000
    plan: str | None = None
    sampling_steps: int | None = 10
    guidance_scale: float | None = 3.5
    sampling_batch: int = 64

    @property
    def look_images(self) -> int:
        """Scenes in random looks: the zoo's 12,000 for the 1,000 further images of the oracle."""
        return 12 * self.more_images

    def samples_per_image(self, images: int) -> int:
        """Return the generated images of each layout."""
        return max(1, round(self.synthetic_images / images))

    def to_dict(self) -> dict:
        """Return all fields, for the result."""
        return asdict(self)


SMOKE = Settings(
    more_images=12,
    val_images=8,
    learner_iters=4,
    generator_iters=4,
    base_iters=4,
    generator_batch=4,
    synthetic_images=24,
    sampling_steps=2,
    sampling_batch=8,
)
