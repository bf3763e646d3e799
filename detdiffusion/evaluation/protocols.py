"""FID protocols: settings that must be equal for two distances to be comparable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from detdiffusion.utils.errors import UserError

RESAMPLES = ("bilinear", "bicubic", "lanczos", "box")


@dataclass(frozen=True)
class FidProtocol:
    """Protocol of the comparison of generated and real images.

    Only layouts that all compared sets have are used, with one real image for each layout.

    Attributes:
        name: printed with every result.
        images_per_layout: number of generated images per layout, those with the lowest sample indices.
        size: (height, width) in pixels to which real and generated images are resized by Pillow (8 bit,
            antialiased, without cropping), or None: real images are resized to the generated images' size.
        resample: Pillow's filter, one of :data:`RESAMPLES`.
        extractor_size: (height, width) to which the images are then resized with the same filter, or None: the
            extractor resizes them (torch-fidelity: TensorFlow 1's bilinear filter, not antialiased).
        file_format: Pillow's name of the expected file format of generated images.
        layouts: expected number of layouts, or None for any number; a note reports another number.
        kernel_metrics: whether to compute KID, precision and recall in addition to the Fréchet distance.
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
                f"FID protocol {self.name!r}: resample must be one of {RESAMPLES}, got {self.resample!r}"
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
        """Return all fields, for result files and cache keys."""
        return asdict(self)

    def describe(self, extractor: str) -> str:
        """Return a one-line description.

        Args:
            extractor: description of the features.
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
    # as reported by GeoDiffusion and LAMA: images at 256 x 256, 5 generated per layout, TF 2015 Inception
    "lama_tf": FidProtocol(
        "lama_tf", images_per_layout=5, size=(256, 256), resample="bilinear", layouts=3097
    ),
    # antialiased in all steps (Parmar et al., On Aliased Resizing, CVPR 2022), with KID, precision and recall
    "modern": FidProtocol("modern", resample="bicubic", extractor_size=(299, 299), kernel_metrics=True),
}


def build_protocol(spec: str | Mapping) -> FidProtocol:
    """Build a protocol from its name or fields.

    Args:
        spec: a key of :data:`PROTOCOLS`, or fields of :class:`FidProtocol`; with ``base``, they override the fields of
            a known protocol, and ``name`` must be a new name.

    Raises:
        UserError: the protocol or a field is unknown.
    """
    if isinstance(spec, str):
        if spec not in PROTOCOLS:
            raise UserError(f"unknown FID protocol {spec!r}; known: {', '.join(PROTOCOLS)}, or a config file")
        return PROTOCOLS[spec]
    spec = dict(spec)
    base = spec.pop("base", None)
    fields = dict(build_protocol(base).to_dict() if base else {}, **spec)
    if "name" not in spec:
        raise UserError(f"FID protocol {spec!r}: set a unique `name`, which is printed with every result")
    if fields["name"] in PROTOCOLS and fields != PROTOCOLS[fields["name"]].to_dict():
        raise UserError(
            f"FID protocol {fields['name']!r} is built in and cannot be changed: choose another name"
        )
    unknown = sorted(set(fields) - set(FidProtocol.__dataclass_fields__))
    if unknown:
        raise UserError(f"FID protocol {fields['name']!r}: unknown fields {', '.join(unknown)}")
    return FidProtocol(**fields)
