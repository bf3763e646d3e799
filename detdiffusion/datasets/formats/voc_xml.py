"""One annotation file of Pascal VOC: its text, names, numbers and boxes."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from xml.etree.ElementTree import Element

from .text_files import marked_encoding

NO_BOX = "object without a box of four numbers: left out"
SEVERAL_BOXES = "object with several boxes: left out"
SHAPE = "polygon or rotated box of an object: not converted, its upright box is taken"
PART = "part of an object: not converted"

_DECLARED = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SHAPES = ("polygon", "robndbox", "segmentation")


class NotVoc(ValueError):
    """A file that cannot be read as an annotation; the message says why."""


def read_xml(path: Path) -> Element:
    """The root of an annotation file, in the encoding of its byte order mark or declaration.

    Raises:
        NotVoc: broken XML, or the XML of something else.
    """
    try:
        data = path.read_bytes()
        declared = _DECLARED.search(data[:200])
        encoding = marked_encoding(data) or (declared.group(1).decode() if declared else "utf-8")
        tree = ElementTree.fromstring(data.decode(encoding).lstrip())
    except (ElementTree.ParseError, OSError, LookupError, ValueError) as error:
        raise NotVoc(str(error)) from None
    if tree.tag != "annotation":
        raise NotVoc(f"its root is <{tree.tag}>, that of a VOC file <annotation>")
    return tree


def text_of(node: Element, tag: str) -> str:
    """Text of a direct child, every run of spaces as one; empty where there is none."""
    return " ".join((node.findtext(tag) or "").split())


def number_of(node: Element | None, tag: str) -> float | None:
    """Number of a direct child, or None where there is no finite one."""
    try:
        value = float(node.findtext(tag))
    except (AttributeError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def is_difficult(node: Element) -> bool:
    """Whether an object is marked difficult."""
    return text_of(node, "difficult").lower() in ("1", "1.0", "true", "yes")


def corners_of(node: Element) -> list[float] | str:
    """x1, y1, x2, y2 of an object's own box (those of its parts are others), or why it has none."""
    boxes = node.findall("bndbox")
    if len(boxes) > 1:
        return SEVERAL_BOXES
    corners = [number_of(boxes[0] if boxes else None, side) for side in _CORNERS]
    return NO_BOX if None in corners else corners


def not_converted(node: Element) -> list[str]:
    """What an object has beside its box, which COCO's boxes do not hold."""
    shapes = any(node.find(tag) is not None for tag in _SHAPES)
    return [SHAPE] * shapes + [PART] * len(node.findall("part"))
