"""Structural damage to json values, as caused by exports of other tools, editors and scripts."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

ODD_VALUES = (
    None, "", "0", "12", "abc", "ünï ✓ 猫", "a\x00b", "../x", "NaN", -1, 0, 1, 0.5, 1e-9, 1e308, -1e308,
    math.nan, math.inf, -math.inf, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, True, False,
    [], {}, [None], [[1, 2], [3, 4]], {"a": 1}, [1, 2, 3, 4, 5], [0, 0, 0, 0],
)  # fmt: skip


def damage_json(path: Path, rng: random.Random) -> str:
    """Change one thing in a json file; return a description."""
    data = json.loads(path.read_bytes())
    said = damage_value(data, rng)
    path.write_text(json.dumps(data, ensure_ascii=rng.random() < 0.5), encoding="utf-8", errors="replace")
    return f"{path.name}: {said}"


def damage_value(data: dict | list, rng: random.Random) -> str:
    """Change one thing in a json value in place; return a description."""
    if isinstance(data, dict) and isinstance(data.get("annotations"), list) and rng.random() < 0.6:
        said = rng.choice(_COCO)(data, rng)
        if said:
            return said
    if isinstance(data, list) and data and rng.random() < 0.5:
        return _results(data, rng)
    holder, key, place = _pick(data, rng)
    return rng.choice(_ANYWHERE)(holder, key, place, rng)


def _pick(data, rng: random.Random):
    """Return a random place: (container, key in it, name)."""
    holder, key, place = None, None, ""
    node = data
    while isinstance(node, (dict, list)) and node:
        holder, key = node, rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        place += f".{key}" if isinstance(node, dict) else f"[{key}]"
        node = node[key]
        if rng.random() < 0.2:
            break
    return (data, None, "top level") if holder is None else (holder, key, place.lstrip("."))


def _replace(holder, key, place, rng) -> str:
    if key is None:
        return "left as it is"
    holder[key] = rng.choice(ODD_VALUES)
    return f"{place} = {holder[key]!r}"


def _delete(holder, key, place, rng) -> str:
    if key is None:
        return "left as it is"
    del holder[key]
    return f"{place} deleted"


def _rename_or_double(holder, key, place, rng) -> str:
    if isinstance(holder, list) and key is not None:
        holder.insert(rng.randrange(len(holder) + 1), json.loads(json.dumps(holder[key])))
        return f"{place} is there twice"
    if isinstance(key, str):
        new = rng.choice([key.upper(), key + "s", key[:-1], " " + key, "x_" + key])
        holder[new] = holder.pop(key)
        return f"{place} renamed {new!r}"
    return "left as it is"


def _other_type(holder, key, place, rng) -> str:
    if key is None:
        return "left as it is"
    value = holder[key]
    kinds = [str, lambda v: [v], lambda v: {"value": v}]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        kinds += [float, lambda v: v * 1e6, lambda v: -v, lambda v: v + 1, lambda v: v / 1000]
    if isinstance(value, list):
        kinds += [lambda v: v[:-1], lambda v: v + v[-1:], lambda v: v[::-1], lambda v: dict(enumerate(v))]
    if isinstance(value, str):
        kinds += [str.upper, lambda v: v + " ", lambda v: v.replace("/", "\\"), lambda v: "sub/" + v]
    try:
        holder[key] = rng.choice(kinds)(value)
    except (OverflowError, ValueError, TypeError):
        return "left as it is"
    return f"{place} = {str(holder[key])[:60]!r} in place of {str(value)[:40]!r}"


_ANYWHERE = (_replace, _replace, _delete, _rename_or_double, _other_type, _other_type)


# COCO's own: damage that keeps the form


def _dicts(data, key) -> list[dict]:
    return [one for one in data.get(key) or () if isinstance(one, dict)]


def _ids(data, rng) -> str:
    kind = rng.choice(["images", "annotations", "categories"])
    links = {"images": "image_id", "categories": "category_id"}.get(kind)
    change, said = rng.choice(
        [
            (lambda i: i + 1, "ids one higher"),
            (lambda i: i - min(1, i), "ids one lower"),
            (lambda i: i + 2**53, "ids above 2^53"),
            (lambda i: i + 2**63, "ids above 2^63"),
            (lambda i: 2**63 - 1 - i, "ids just below 2^63"),
            (lambda i: -i, "negative ids"),
            (str, "ids as texts"),
            (float, "ids as floats"),
        ]
    )
    both = rng.random() < 0.7
    for one in _dicts(data, kind):
        if type(one.get("id")) is int:
            one["id"] = change(one["id"])
    if links and both:
        for one in _dicts(data, "annotations"):
            if type(one.get(links)) is int:
                one[links] = change(one[links])
    return f"{kind}: {said}" + (" with what points at them" if links and both else "")


def _boxes(data, rng) -> str:
    images = {one["id"]: one for one in _dicts(data, "images") if isinstance(one.get("id"), (int, str))}
    ways = {
        "normalised": lambda b, w, h: [b[0] / w, b[1] / h, b[2] / w, b[3] / h],
        "in percent": lambda b, w, h: [100 * b[0] / w, 100 * b[1] / h, 100 * b[2] / w, 100 * b[3] / h],
        "as corners": lambda b, w, h: [b[0], b[1], b[0] + b[2], b[1] + b[3]],
        "outside": lambda b, w, h: [b[0] + w, b[1] + h, b[2], b[3]],
        "over the border": lambda b, w, h: [b[0] - 0.7 * b[2], b[1], b[2], b[3]],
        "negative sizes": lambda b, w, h: [b[0] + b[2], b[1] + b[3], -b[2], -b[3]],
        "without area": lambda b, w, h: [b[0], b[1], 0, b[3]],
        "as texts": lambda b, w, h: [str(v) for v in b],
        "with NaN": lambda b, w, h: [math.nan, *b[1:]],
        "of five numbers": lambda b, w, h: [*b, 0.9],
        "nested": lambda b, w, h: [b],
        "doubled": lambda b, w, h: [2 * v for v in b],
    }
    said, share = rng.choice(sorted(ways)), rng.choice([0.15, 0.15, 0.5, 1.0])
    count = 0
    for one in _dicts(data, "annotations"):
        image, box = images.get(one.get("image_id")), one.get("bbox")
        if image and isinstance(box, list) and len(box) == 4 and rng.random() < share:
            try:
                one["bbox"] = ways[said](box, image["width"], image["height"])
                count += 1
            except (TypeError, KeyError, ZeroDivisionError):
                pass
    return f"{count} boxes {said}"


def _areas(data, rng) -> str:
    value = rng.choice([0, -1, None, "12", math.nan, 1e-6, [], 10**9])
    for one in _dicts(data, "annotations"):
        one["area"] = value
    return f"areas {value!r}"


def _crowds(data, rng) -> str:
    value = rng.choice([1, True, "0", 0.0, None, 2])
    for one in _dicts(data, "annotations"):
        if rng.random() < 0.3:
            one["iscrowd"] = value
    return f"some iscrowd {value!r}"


def _segmentations(data, rng) -> str:
    value = rng.choice(
        [
            [], [[1, 2]], [[1, 2, 3, 4]], [[[1, 2], [3, 4], [5, 6]]], [1, 2, 3, 4, 5, 6], "text", {},
            {"counts": "@@@", "size": [9, 9]}, {"counts": [5, 5], "size": [1, 2]}, [[math.nan] * 6], None,
            [[10, 10, 30, 10, 30, 30], [1, 1]],
        ]
    )  # fmt: skip
    for one in _dicts(data, "annotations"):
        if rng.random() < 0.3:
            one["segmentation"] = value
    return f"some segmentations {value!r}"


def _names(data, rng) -> str:
    images = _dicts(data, "images")
    if not images:
        return ""
    one, other = rng.choice(images), rng.choice(images)
    kind = rng.randrange(5)
    if kind == 0:
        one["file_name"] = other.get("file_name")
        return f"images of ids {one.get('id')} and {other.get('id')} have one file name"
    if kind == 1:
        one["file_name"] = str(one.get("file_name")).upper()
    elif kind == 2:
        one["file_name"] = "sub/" + str(one.get("file_name"))
    elif kind == 3:
        one["file_name"] = str(one.get("file_name")).replace(".", "%2E")
    else:
        for each in images:
            each["file_name"] = "train\\" + str(each.get("file_name"))
        return "backslashes in all file names"
    return f"an image's file name {one['file_name']!r}"


def _sizes(data, rng) -> str:
    images = _dicts(data, "images")
    some = images if rng.random() < 0.5 else images[:1]
    for one in some:
        one["width"], one["height"] = rng.choice(
            [
                (one.get("height"), one.get("width")),
                (0, 0),
                (-64, 48),
                (10**6, 10**6),
                (64.0, 48.0),
                (63.5, 48),
            ]
        )
    return f"sizes of {len(some)} images {some[0].get('width') if some else None!r} x ..."


def _empty(data, rng) -> str:
    key = rng.choice(["images", "annotations", "categories"])
    data[key] = []
    return f"no {key}"


def _harmless(data, rng) -> str:
    """Changes that every reader must tolerate."""
    images, annotations = _dicts(data, "images"), _dicts(data, "annotations")
    kind = rng.randrange(6)
    if kind == 0:
        for key in ("images", "annotations"):
            rng.shuffle(data[key])
        return "another order"
    if kind == 1:
        key = rng.choice(["area", "iscrowd", "segmentation"])
        for one in annotations:
            one.pop(key, None)
        return f"no {key}"
    if kind == 2:
        for one in [*images, *annotations]:
            one["score"], one["tags"], one["note"] = 0.5, ["a", None], "ünï ✓"
        return "further keys"
    if kind == 3 and images and all(type(one.get("id")) is int for one in images):
        gone = images[0]["id"]
        data["annotations"] = [one for one in data["annotations"] if one.get("image_id") != gone]
        return f"image id {gone} has no objects"
    if kind == 4:
        for one in annotations[::3]:
            one["ignore"] = 1
        return "a third marked 'ignore'"
    data.pop("info", None)
    data["licenses"] = []
    return "no info"


def _results(data, rng) -> str:
    """Damage to a detector's results."""
    rows = [one for one in data if isinstance(one, dict)]
    ways = {
        "scores at the threshold": lambda one: one.update(score=0.3),
        "scores 1": lambda one: one.update(score=1),
        "scores 0": lambda one: one.update(score=0.0),
        "boxes elsewhere": lambda one: one.update(bbox=[one["bbox"][0] + 9, *one["bbox"][1:]]),
        "boxes over the border": lambda one: one.update(bbox=[-5.0, -5.0, 90.0, 90.0]),
        "boxes without area": lambda one: one.update(bbox=[*one["bbox"][:2], 0, 0]),
        "boxes normalised": lambda one: one.update(bbox=[v / 64 for v in one["bbox"]]),
        "of another image": lambda one: one.update(image_id=10**6),
        "of a huge image id": lambda one: one.update(image_id=2**64),
        "further keys": lambda one: one.update(id=7, segmentation=[], area=1.0),
    }
    said, share = rng.choice(sorted(ways)), rng.choice([0.2, 1.0])
    for one in rows:
        if rng.random() < share:
            ways[said](one)
    return f"{'some' if share < 1 else 'all'} predictions {said}"


_COCO = (
    _ids, _boxes, _boxes, _boxes, _areas, _areas, _crowds, _segmentations, _names, _sizes, _empty, _harmless, _harmless,
)  # fmt: skip
