"""FID protocols: what has to be equal before two distances may stand in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from detdiffusion.utils.errors import UserError

RESAMPLES = ("bilinear", "bicubic", "lanczos", "box")


@dataclass(frozen=True)
class FidProtocol:
    """One way to compare images with real ones.

    The image ids are always those of the layouts that every compared set shows, real images once each.

    Attributes:
        name: printed beside every figure.
        images_per_layout: generated images of a layout that count, the lowest sample indices first.
        size: (height, width) in pixels that real and generated images are brought to by Pillow (8 bit,
            antialiased, stretched without cropping), or None: real images go to the generated images' size.
        resample: Pillow's filter for that, one of :data:`RESAMPLES`.
        extractor_size: (height, width) that the images are then brought to by the same filter, or None: the
            extractor resizes by itself (torch-fidelity: TensorFlow 1's bilinear filter, not antialiased).
        file_format: Pillow's name of the format that generated images should be stored in.
        layouts: how many layouts it is made of, or None for any number; another number is noted as deviating.
        kernel_metrics: whether KID, precision and recall are computed beside the Fréchet distance.
    """

    name: str
    images_per_layout: int = 1
    size: tuple[int, int] | None = None
    resample: str = "bicubic"
    extractor_size: tuple[int, int] | None = None
    file_format: str = "PNG"
    kernel_metrics: bool = False
    layouts: int | None = None

    def __post_init__(self) -> None:
        if self.resample not in RESAMPLES:
            raise UserError(
                f"FID protocol {self.name!r}: resample must be one of {RESAMPLES}, {self.resample!r}"
            )
        if self.images_per_layout < 1:
            raise UserError(
                f"FID protocol {self.name!r}: images_per_layout {self.images_per_layout} is below 1"
            )
        for key in ("size", "extractor_size"):
            value = getattr(self, key)
            if value is not None:
                if not isinstance(value, (tuple, list)) or len(value) != 2 or min(value) < 1:
                    raise UserError(
                        f"FID protocol {self.name!r}: {key} must be (height, width), got {value!r}"
                    )
                object.__setattr__(self, key, tuple(int(v) for v in value))

    def to_dict(self) -> dict:
        """Every field, for result files and cache keys."""
        return asdict(self)

    def describe(self, extractor: str) -> str:
        """One line for people.

        Args:
            extractor: what the features are.
        """
        size = f"{self.size[0]} x {self.size[1]}" if self.size else "the generated images' size"
        then = "the extractor's own resize"
        if self.extractor_size:
            then = f"{self.resample} to {self.extractor_size[0]} x {self.extractor_size[1]}"
        return (
            f"{self.name}: layouts that every set shows, {self.images_per_layout} generated "
            f"image{'s' if self.images_per_layout > 1 else ''} a layout ({self.file_format}), real and generated "
            f"{self.resample} to {size}, then {then}; features: {extractor}"
        )


PROTOCOLS = {
    # GeoDiffusion's and LAMA's reports: the same images at 256 x 256, 5 generated a layout, TF 2015 Inception
    "lama_tf": FidProtocol(
        "lama_tf", images_per_layout=5, size=(256, 256), resample="bilinear", layouts=3097
    ),
    # antialiased all the way (Parmar et al., On Aliased Resizing, CVPR 2022), with KID, precision and recall
    "modern": FidProtocol("modern", resample="bicubic", extractor_size=(299, 299), kernel_metrics=True),
}


def build_protocol(spec: str | Mapping) -> FidProtocol:
    """A protocol by its name or fields.

    Args:
        spec: a key of :data:`PROTOCOLS`, or :class:`FidProtocol`'s fields; with ``base`` those of a known one
            are changed, which then needs another ``name``.

    Raises:
        UserError: no such protocol or field.
    """
    if isinstance(spec, str):
        if spec not in PROTOCOLS:
            raise UserError(f"unknown FID protocol {spec!r}; known: {', '.join(PROTOCOLS)}, or a config file")
        return PROTOCOLS[spec]
    spec = dict(spec)
    base = spec.pop("base", None)
    fields = dict(build_protocol(base).to_dict() if base else {}, **spec)
    if "name" not in spec:
        raise UserError(
            f"FID protocol {spec!r}: give it a name of its own; it is printed beside every figure"
        )
    if fields["name"] in PROTOCOLS and fields != PROTOCOLS[fields["name"]].to_dict():
        raise UserError(
            f"FID protocol {fields['name']!r} is a known one and cannot be changed: name it otherwise"
        )
    unknown = sorted(set(fields) - set(FidProtocol.__dataclass_fields__))
    if unknown:
        raise UserError(f"FID protocol {fields['name']!r}: unknown fields {', '.join(unknown)}")
    return FidProtocol(**fields)
