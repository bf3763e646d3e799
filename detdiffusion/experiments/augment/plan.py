"""The plan of a run: sizes that follow from the labels, as the configs hold them."""

from __future__ import annotations

from dataclasses import dataclass

from detdiffusion.datasets.filter_share import LEAST, little_left, refuse_least
from detdiffusion.utils.clip_bpe import PROMPT_WORDS, count_tokens, merges_of
from detdiffusion.utils.option_groups import with_flags

from . import derive
from .settings import NO_BASE, AugmentOptions
from .survey import Facts

SCRATCH_AREA, SD_AREA = 192 * 144, 256 * 256
"""Pixels of generated images: a small generator from nothing on a CPU, and Stable Diffusion."""
DETECTOR_AREA = 320 * 240
FACTOR = 8
"""Pixels per side of a latent cell, of Stable Diffusion's and TAESD's autoencoders."""
SCRATCH_DIVISOR, SD_DIVISOR = FACTOR * 4, FACTOR * 8
"""The small UNet halves its latents twice, Stable Diffusion's three times."""
CLIP_LENGTH = 77


@dataclass(frozen=True)
class Plan:
    """Derived sizes; see :mod:`.derive` for the rules.

    Attributes:
        classes: names of the classes.
        from_nothing: whether the generator is trained without Stable Diffusion.
        image_size: (height, width) of generated images.
        bins: (rows, columns) of the location grid.
        min_area: objects up to this share of the image are not prompted.
        most_objects: objects in a prompt; images with more are not drawn.
        max_length: tokens of a prompt; with Stable Diffusion of each window of it.
        flip_prob, flip_directions: mirrored images in the generator's training.
        batch: images per batch.
        fullest: objects of the training image with most.
        detector_scale: (width, height) that detectors see.
        kept, total: prompted objects of the training split, and all of them.
        images: prompted images of the training split.
    """

    classes: tuple[str, ...]
    from_nothing: bool
    image_size: tuple[int, int]
    bins: tuple[int, int]
    min_area: float
    most_objects: int
    max_length: int
    flip_prob: float
    flip_directions: tuple[str, ...]
    batch: int
    fullest: int
    detector_scale: tuple[int, int]
    kept: int
    total: int
    images: int

    @property
    def latent_size(self) -> tuple[int, int]:
        """(height, width) of the latents."""
        return self.image_size[0] // FACTOR, self.image_size[1] // FACTOR


def make_plan(facts: Facts, options: AugmentOptions) -> Plan:
    """Derive a plan from the labels.

    Raises:
        UserError: ``min_area_ratio`` and ``max_objects`` leave too few objects.
    """
    from_nothing = options.base == NO_BASE
    divisor, area = (SCRATCH_DIVISOR, SCRATCH_AREA) if from_nothing else (SD_DIVISOR, SD_AREA)
    size = derive.image_size(facts.width, facts.height, area, divisor)
    min_area = (
        options.min_area_ratio if options.min_area_ratio is not None else derive.smallest_object(size, FACTOR)
    )
    rows = facts.above(min_area)
    large = sum(map(len, rows))
    most = options.max_objects or derive.most_objects([len(row) for row in rows])
    rows = [row for row in rows if len(row) <= most]
    kept, total = sum(map(len, rows)), sum(map(len, facts.objects))
    taken = {f"`min_area_ratio` {min_area:g}": total - large, f"`max_objects` {most}": large - kept}
    hint = "a smaller `min_area_ratio` or a larger `max_objects` keeps more"
    said = little_left(kept, taken, hint) or ""
    refuse_least(kept, taken, LEAST, f"`train`: {said}", "there is nothing to generate from so few objects")
    if said:
        flags = {"min_area_ratio": "--min-area-ratio", "max_objects": "--max-objects"}
        print(with_flags(f"warning: {said}", flags))
    words = {name: name.replace("-", " ") for name in facts.classes}  # as prompts have them
    merges = merges_of([*PROMPT_WORDS, *words.values()])
    tokens = {name: count_tokens(text, merges) for name, text in words.items()}
    length = derive.prompt_length([[tokens[name] for name in row] for row in rows], most)
    upper = derive.has_upper_side(facts.brightness, facts.centres)
    prob, directions = derive.flips(upper, derive.has_a_direction(facts.classes))
    return Plan(
        classes=facts.classes,
        from_nothing=from_nothing,
        image_size=size,
        bins=derive.location_bins(size),
        min_area=min_area,
        most_objects=most,
        max_length=length if from_nothing else CLIP_LENGTH,
        flip_prob=prob,
        flip_directions=tuple(directions),
        batch=derive.batch_size(len(rows), 8 if from_nothing else 4),
        fullest=max(map(len, facts.objects)),
        detector_scale=derive.detector_scale(facts.width, facts.height, DETECTOR_AREA),
        kept=kept,
        total=total,
        images=len(rows),
    )
