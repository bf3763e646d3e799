"""Sampling plans: the settings that decide how many network evaluations an image takes, and the named ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from .errors import UserError
from .option_groups import OptionGroup, documented, option

SCHEDULES = ("leading", "linspace", "trailing", "karras", "exponential", "beta", "ays")


def check_interval(value: Sequence[float]) -> tuple[float, float]:
    """Return a guidance interval as a pair of numbers.

    Raises:
        UserError: it is not two numbers with 0 <= LO < HI <= 1.
    """
    numbers = isinstance(value, (tuple, list)) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in value
    )
    if not numbers or len(value) != 2 or not 0 <= value[0] < value[1] <= 1:
        raise UserError(f"`guidance_interval` must be two numbers with 0 <= LO < HI <= 1, it is {value!r}")
    return float(value[0]), float(value[1])


def steps_from_real(steps: int, strength: float) -> int:
    """Return how many of the denoising steps are run from a real image, as in diffusers' image-to-image pipelines.

    Args:
        steps: number of denoising steps.
        strength: share that is run; 0 runs none.

    Raises:
        UserError: the strength is above 0, but too small for a step.
    """
    run = min(int(steps * strength), steps)
    if strength > 0 and run < 1:
        raise UserError(
            f"from real images: strength {strength:g} runs none of {steps} steps; it must be at least 1/{steps} "
            "(or 0, which only encodes and decodes), or set more steps"
        )
    return run


@documented
@dataclass(frozen=True, kw_only=True)
class SamplingPlan(OptionGroup):
    """How an image is sampled.

    Raises:
        UserError: a value is out of range.
    """

    steps: int = option(50, "denoising steps", minimum=1)
    guidance_scale: float = option(
        3.5, "scale of classifier-free guidance; 1 or less is without guidance", minimum=0
    )
    schedule: str | None = option(
        None,
        "spacing of the timesteps: leading, linspace, trailing, karras, exponential or beta, as far as the scheduler "
        "has it, or ays (Align Your Steps, for Stable Diffusion 1.5); default: the scheduler's own",
        choices=SCHEDULES,
    )
    guidance_interval: tuple[float, float] = option(
        (0.0, 1.0),
        "guide only evaluations before which a share of at least LO and less than HI of all evaluations is done; the "
        "others take half of the time",
        metavar=("LO", "HI"),
        nargs=2,
    )
    guidance_rescale: float = option(
        0.0,
        "share of rescaling the guided prediction to the deviation of the conditional one (Lin et al. 2023), 0 to 1",
        metavar="SHARE",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "guidance_interval", check_interval(self.guidance_interval))

    def arguments(self) -> dict:
        """Return the arguments of an editor's ``infer``, without those of no effect, which not all editors have."""
        changed = {name: value for name, value in self._changed().items() if name in _NEW_ARGUMENTS}
        return dict(num_inference_steps=self.steps, guidance_scale=self.guidance_scale, **changed)

    def facts(self) -> dict:
        """Return :meth:`arguments` for ``run.json``; None for those without effect, which earlier sets do not have."""
        return {**dict.fromkeys(_NEW_ARGUMENTS), **self.arguments()}

    def __str__(self) -> str:
        """The settings as text that :func:`read_plan` reads, e.g. ``steps=10,guidance_interval=0.2:0.8``."""
        settings = dict(steps=self.steps, **{k: v for k, v in self._changed().items() if k != "steps"})
        return ",".join(f"{name}={_text(value)}" for name, value in settings.items())

    @property
    def name(self) -> str:
        """The name in :data:`PLANS`, or the settings as text."""
        return next((name for name, plan in PLANS.items() if plan == self), str(self))

    def _changed(self) -> dict:
        """Return the settings that differ from their defaults."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}


_NEW_ARGUMENTS = ("schedule", "guidance_interval", "guidance_rescale")

PLANS = dict(
    paper=SamplingPlan(),
    fast=SamplingPlan(steps=10, guidance_interval=(0.2, 0.8)),
)
"""``paper``: 50 steps and guidance 3.5, as in the paper, 100 evaluations an image. ``fast``: 16 evaluations an image,
see docs/guides/synthetic_sets.md for what it costs."""


def read_plan(text: str) -> SamplingPlan:
    """Read a plan from text: a name of :data:`PLANS`, settings, or both.

    Args:
        text: for example ``fast``, ``steps=20,schedule=ays`` (other settings as in ``paper``), ``fast,steps=8`` or
            ``steps=10,guidance_interval=0.2:0.8``.

    Raises:
        UserError: a name, setting or value is not valid.
    """
    first, *rest = text.split(",")
    plan, pairs = (PLANS["paper"], [first, *rest]) if "=" in first else (_named(first), rest)
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"plan {text!r}: {pair!r} must be NAME=VALUE")
        settings[name] = _value(name, value, f"plan {text!r}")
    return _changed(plan, settings, f"plan {text!r}")


def choose_plan(
    name: str | None, given: Mapping, defaults: Mapping | None = None, where: str = "config"
) -> SamplingPlan:
    """Return the plan of a run: given settings beat a given plan, which beats the config's settings and its plan.

    Args:
        name: the given plan's name, or None.
        given: the given settings.
        defaults: the config's ``sampling``: settings, and ``plan`` for a plan's name (default: ``paper``).
        where: name of the config, for messages.

    Raises:
        UserError: a name, setting or value is not valid.
    """
    if defaults is not None and not isinstance(defaults, Mapping):
        raise UserError(f"{where}: sampling must be a dict such as dict(plan='fast'), it is {defaults!r}")
    settings = dict(defaults or {})
    default = settings.pop("plan", "paper")
    plan = _named(name) if name else _changed(_named(default), settings, f"{where}: sampling")
    return replace(plan, **given)


def _named(name: str) -> SamplingPlan:
    if name not in PLANS:
        raise UserError(f"no sampling plan {name!r}; there are: {', '.join(PLANS)}")
    return PLANS[name]


def _changed(plan: SamplingPlan, settings: Mapping, where: str) -> SamplingPlan:
    known = [field.name for field in fields(SamplingPlan)]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise UserError(f"{where}: no setting {unknown[0]!r}; there are: {', '.join(known)}")
    try:
        return replace(plan, **settings)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _value(name: str, text: str, where: str) -> object:
    """Convert the text of a setting; unknown settings are left to :func:`_changed`."""
    try:
        if name == "steps":
            return int(text)
        if name == "guidance_interval":
            return tuple(float(part) for part in text.split(":"))
        if name in ("guidance_scale", "guidance_rescale"):
            return float(text)
    except ValueError:
        raise UserError(f"{where}: {name}={text!r} is not a number") from None
    return text


def _text(value: object) -> str:
    return ":".join(map(str, value)) if isinstance(value, tuple) else str(value)
