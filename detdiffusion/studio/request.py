"""What a page asks for, checked: a layout, the columns of images, and how they are sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detdiffusion.datasets.class_names import similar
from detdiffusion.structures import Layout
from detdiffusion.utils.array_cache import digest_of
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.numbers import is_number

AS_DRAWN = "origin"
"""The column whose objects keep the attributes that they have on the page."""
MAX_BOXES = 100
MAX_STEPS = 1000
MAX_GUIDANCE = 100.0
MAX_INTEGER = 2**53 - 1  # the largest that JavaScript represents exactly
_MAX_NAME = 80


@dataclass(frozen=True)
class ImageRequest:
    """One click on "Generate".

    Attributes:
        layout: the objects, with attributes if the model has them. ``image_id`` is that of the source for a layout
            that was opened from a file, and otherwise derived from the objects.
        source: id of the image in the annotation file that the layout was opened from, or None.
        columns: strategies by name, one image each.
        seed: seed of the noise.
        steps: denoising steps.
        guidance_scale: scale of classifier-free guidance.
    """

    layout: Layout
    source: int | None
    columns: tuple[str, ...]
    seed: int
    steps: int
    guidance_scale: float

    def to_dict(self) -> dict:
        """Return the request as json values, in the form that :func:`read_request` takes."""
        layout = self.layout
        return dict(
            boxes=[
                dict(box=[round(value, 6) for value in box], name=name, attribute=attribute)
                for box, name, attribute in zip(
                    layout.boxes.tolist(), layout.names, layout.attributes or [None] * len(layout)
                )
            ],
            columns=list(self.columns),
            seed=self.seed,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            image_id=self.source,
        )


def read_request(data: object, words: Sequence[str], classes: Sequence[str] = ()) -> ImageRequest:
    """Check and convert the json that a page sends.

    Args:
        data: ``boxes`` (each with ``box``, xyxy in [0, 1], ``name`` and ``attribute``), ``columns``, ``seed``,
            ``steps``, ``guidance_scale`` and ``image_id`` (may be None).
        words: the model's attributes, easiest first, ``background`` last; empty for a model without attributes.
        classes: classes that the model was trained with; empty if they are unknown.

    Raises:
        UserError: a value is missing, of another kind or out of range.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"a request must be a json object, it is {str(data)[:60]!r}")
    boxes = data.get("boxes")
    if not isinstance(boxes, list) or not boxes:
        raise UserError("the layout has no boxes: draw at least one")
    if len(boxes) > MAX_BOXES:
        raise UserError(f"the layout has {len(boxes)} boxes; at most {MAX_BOXES} are allowed")
    objects = [_object(box, f"box {number}", words, classes) for number, box in enumerate(boxes, 1)]
    source = data.get("image_id")
    source = None if source is None else _integer(source, "image_id", 0, MAX_INTEGER)
    layout = Layout(
        boxes=[box for box, _, _ in objects],
        names=[name for _, name, _ in objects],
        attributes=[attribute for *_, attribute in objects] if words else None,
        ids=list(range(1, len(objects) + 1)),
        category_ids=list(range(len(objects))),  # replaced when the image is saved
        image_id=int(digest_of([objects])[:12], 16) if source is None else source,
    )
    return ImageRequest(
        layout,
        source,
        _columns(data.get("columns"), words),
        _integer(data.get("seed"), "the seed", 0, MAX_INTEGER),
        _integer(data.get("steps"), "steps", 1, MAX_STEPS),
        _number(data.get("guidance_scale"), "guidance", 0, MAX_GUIDANCE),
    )


def column_names(words: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that a model with these attributes can have: as drawn, and one per level."""
    return (AS_DRAWN, *words[:-1])


def _object(
    box: object, where: str, words: Sequence[str], classes: Sequence[str]
) -> tuple[list[float], str, str | None]:
    if not isinstance(box, Mapping):
        raise UserError(f"{where}: must be a json object, it is {str(box)[:60]!r}")
    corners = box.get("box")
    if not isinstance(corners, list) or len(corners) != 4 or not all(map(is_number, corners)):
        raise UserError(f"{where}: its corners must be four finite numbers, they are {str(corners)[:60]}")
    x1, y1, x2, y2 = corners
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise UserError(
            f"{where}: its corners must lie in the image, the first to the upper left of the second; they are "
            f"({x1:.4g}, {y1:.4g}) and ({x2:.4g}, {y2:.4g})"
        )
    name = box.get("name")
    name = name.strip() if isinstance(name, str) else ""
    if not name:
        raise UserError(f"{where}: has no class; choose one")
    if len(name) > _MAX_NAME or not name.isprintable():
        raise UserError(
            f"{where}: a class name has at most {_MAX_NAME} printable characters, got {name[:60]!r}"
        )
    if classes and name not in classes:
        raise UserError(f"{where}: the model does not know the class {name!r}; {similar(name, classes)}")
    attribute = box.get("attribute")
    if words and attribute not in words:
        raise UserError(
            f"{where}: its attribute must be one of {', '.join(words)}, it is {str(attribute)[:60]!r}"
        )
    return [float(value) for value in corners], name, attribute if words else None


def _columns(columns: object, words: Sequence[str]) -> tuple[str, ...]:
    known = column_names(words)
    if not isinstance(columns, list) or not columns:
        raise UserError("no images are chosen: choose at least one attribute")
    unknown = [column for column in columns if column not in known]
    if unknown or len(set(columns)) != len(columns):
        raise UserError(
            f"images can be {', '.join(known)}, once each; got {', '.join(map(str, columns))[:60]}"
        )
    return tuple(columns)


def _integer(value: object, what: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise UserError(f"{what} must be a whole number from {low} to {high}, it is {str(value)[:60]}")
    return value


def _number(value: object, what: str, low: float, high: float) -> float:
    if not is_number(value) or not low <= value <= high:
        raise UserError(f"{what} must be a number from {low:g} to {high:g}, it is {str(value)[:60]}")
    return float(value)
