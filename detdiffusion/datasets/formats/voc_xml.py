"""Reading an annotation file of Pascal VOC: its names, numbers and boxes."""

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
    """Raised for a file that cannot be read as a VOC annotation; the message gives the reason."""


def read_xml(path: Path) -> Element:
    """Parse an annotation file, in the encoding of its byte order mark or declaration, and return its root.

    Raises:
        NotVoc: if the XML is broken, or is not a VOC annotation.
    """
    try:
        data = path.read_bytes()
        declared = _DECLARED.search(data[:200])
        encoding = marked_encoding(data) or (declared.group(1).decode() if declared else "utf-8")
        tree = ElementTree.fromstring(data.decode(encoding).lstrip())
    except (ElementTree.ParseError, OSError, LookupError, ValueError) as error:
        raise NotVoc(str(error)) from None
    if tree.tag != "annotation":
        raise NotVoc(f"its root is <{tree.tag}>, but that of a VOC file is <annotation>")
    return tree


def text_of(node: Element, tag: str) -> str:
    """Return the text of a direct child with whitespace collapsed; empty if there is none."""
    return " ".join((node.findtext(tag) or "").split())


def number_of(node: Element | None, tag: str) -> float | None:
    """Return the number in a direct child, or None if it has no finite number."""
    try:
        value = float(node.findtext(tag))
    except (AttributeError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def is_difficult(node: Element) -> bool:
    """Return whether an object is marked as difficult."""
    return text_of(node, "difficult").lower() in ("1", "1.0", "true", "yes")


def corners_of(node: Element) -> list[float] | str:
    """Return x1, y1, x2, y2 of an object's box (not those of its parts), or the reason why it has none."""
    boxes = node.findall("bndbox")
    if len(boxes) > 1:
        return SEVERAL_BOXES
    corners = [number_of(boxes[0] if boxes else None, side) for side in _CORNERS]
    return NO_BOX if None in corners else corners


def not_converted(node: Element) -> list[str]:
    """Return remarks about shapes and parts of an object, which are not converted."""
    shapes = any(node.find(tag) is not None for tag in _SHAPES)
    return [SHAPE] * shapes + [PART] * len(node.findall("part"))
