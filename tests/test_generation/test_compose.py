"""New layouts from the objects of a set."""

import itertools
import json
import random
import re
from collections import Counter

import numpy as np
import pytest
import tiny_generation
import torch

from detdiffusion.generation.compose import LayoutComposer
from detdiffusion.generation.edits import DEFAULTS, LayoutEdits
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError


def scenes(count=40, seed=0):
    """Layouts of two to four balls and rings on a sky; rings are small, high up and rare."""
    rng, layouts = random.Random(seed), []
    for image_id in range(count):
        boxes, names = [[0, 0, 1, 0.5]], ["sky"]
        for _ in range(rng.randint(2, 4)):
            ring = rng.random() < 0.2
            side, y = (0.1, rng.uniform(0.05, 0.3)) if ring else (0.3, rng.uniform(0.5, 0.7))
            x = rng.uniform(0, 1 - side)
            boxes.append([x, y, x + side, y + side])
            names.append("ring" if ring else "ball")
        layouts.append(
            Layout(
                boxes,
                names,
                ["background", *["easy", "hard"] * 4][: len(names)],
                ids=[image_id * 10 + k for k in range(len(names))],
                category_ids=[dict(sky=9, ball=1, ring=2)[name] for name in names],
                image_id=image_id,
            )
        )
    return layouts


def objects(layouts):
    return {
        key: (name, category, word, box)
        for layout in layouts
        for key, name, category, word, box in zip(
            layout.ids, layout.names, layout.category_ids, layout.attributes, layout.boxes.tolist()
        )
    }


def overlaps(layout):
    """Intersection over the smaller area of all pairs of objects, pair by pair."""
    boxes = [b for b, word in zip(layout.boxes.double().tolist(), layout.attributes) if word != "background"]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            smaller = min((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
            yield max(w, 0) * max(h, 0) / smaller


@pytest.mark.parametrize("kind", ["recompose", "sample"])
def test_objects_of_the_set_in_new_company(kind):
    layouts = scenes()
    known, compose = objects(layouts), LayoutComposer(kind, layouts)
    made = [compose(layout, random.Random(i)) for i, layout in enumerate(layouts)]
    assert made[3][0] == made[3][0] and compose(layouts[3], random.Random(3))[1] == made[3][1]  # reproducible
    for source, (layout, log) in zip(layouts, made):
        assert layout.image_id == source.image_id and len(set(layout.ids)) == len(layout) <= len(source)
        assert layout.ids[-1] == source.ids[0] and layout.names[-1] == "sky"  # the stuff stays
        assert torch.equal(layout.boxes[-1], source.boxes[0])
        for key, name, category, word, box in zip(
            layout.ids, layout.names, layout.category_ids, layout.attributes, layout.boxes.tolist()
        ):
            assert (name, category, word) == known[key][:3]
            if kind == "recompose":
                assert box == known[key][3]
            assert 0 <= min(box) and max(box) <= 1 and box[2] > box[0] and box[3] > box[1]
        assert max(overlaps(layout), default=0) <= compose.most_overlap + 1e-6
        assert set(log.added) == set(layout.ids) - {source.ids[0]} and not set(log.added) & set(log.dropped)
    limit = np.quantile([max(o) for o in (list(overlaps(s)) for s in layouts) if o], 0.95)
    assert compose.most_overlap <= limit + 1e-6
    assert sum(len(layout) for layout, _ in made) > 0.9 * sum(map(len, layouts))
    from_elsewhere = sum(key // 10 != layout.image_id for layout, log in made for key in log.added)
    assert from_elsewhere > 0.8 * sum(len(log.added) for _, log in made)


def test_sampled_boxes_have_the_sizes_and_places_of_their_class():
    layouts = scenes(200)
    compose = LayoutComposer("sample", layouts)
    boxes = {"ball": [], "ring": []}
    for i, layout in enumerate(layouts):
        for name, box in zip(*(getattr(compose(layout, random.Random(i))[0], f) for f in ("names", "boxes"))):
            if name != "sky":
                boxes[name].append(box.tolist())
    for name, side, (low, high) in (("ball", 0.3, (0.5, 0.7)), ("ring", 0.1, (0.05, 0.3))):
        found = np.array(boxes[name])
        assert np.median(found[:, 3] - found[:, 1]) == pytest.approx(side, rel=0.05)
        assert np.mean((found[:, 1] > low - 0.05) & (found[:, 1] < high + 0.05)) > 0.9
        assert len(np.unique(found, axis=0)) == len(found)  # new places


def test_rare_classes_are_taken_more_often_when_asked():
    layouts = scenes(100)

    def share(threshold):
        compose = LayoutComposer("recompose", layouts, oversample_thr=threshold)
        made = [compose(layout, random.Random(i))[0] for i, layout in enumerate(layouts)]
        counts = Counter(name for layout in made for name in layout.names)
        return compose.name, counts["ring"] / (counts["ring"] + counts["ball"])

    (plain, usual), (name, more) = share(None), share(1.0)
    assert more > 1.15 * usual
    assert (plain, name) == ("recompose", "recompose-rare1")  # other layouts, so other ids
    with pytest.raises(UserError, match="oversample_thr"):
        share(1.5)


def test_default_edits_swap_only_where_there_is_a_rarer_class():
    groups = [
        dict(id=i, name=name, supercategory="thing") for name, i in (("sky", 9), ("ball", 1), ("ring", 2))
    ]
    most = LayoutComposer("recompose", scenes()).most_overlap
    assert (
        LayoutEdits.defaults(groups, scenes()).name == f"jitter0.1-drop0.1-flip0.5-swap0.3-overlap{most:.3g}"
    )
    apart = [dict(c, supercategory=c["name"]) for c in groups]
    assert LayoutEdits.defaults(apart, scenes()).name == f"jitter0.1-drop0.1-flip0.5-overlap{most:.3g}"
    assert DEFAULTS["swap"] == 0.3


def test_default_edits_overlap_no_more_than_the_set():
    """Pairs of which an object moved; in the others, the set's own overlaps stay."""
    layouts = scenes(100)
    most, moved, plain = LayoutComposer("recompose", layouts).most_overlap, [], []
    for overlap, found in ((most, moved), (None, plain)):
        edits = LayoutEdits(jitter=0.4, overlap=overlap)
        for i, layout in enumerate(layouts):
            result, log = edits(layout, random.Random(i))
            for a, b in itertools.combinations(range(1, len(layout)), 2):
                if {layout.ids[a], layout.ids[b]} & set(log.jittered):
                    found.extend(overlaps(result.select([a, b])))
    assert len(moved) > 100 and max(moved) <= most + 1e-6 < max(plain)


def test_what_it_needs():
    with pytest.raises(UserError, match="no layout has an object"):
        LayoutComposer("recompose", scenes(3), nameable=["tent"])
    with pytest.raises(UserError, match="'recompose' or 'sample'"):
        LayoutComposer("shuffle", scenes(3))


@pytest.mark.parametrize("kind", ["edit", "recompose", "sample"])
def test_sets_of_new_layouts(tmp_path_factory, kind):
    world = tiny_generation.write_world(tmp_path_factory.mktemp("compose"), images=8)
    out = world / kind
    tiny_generation.draw(world, out, layouts=kind, limit=4, steps=1)
    data = json.loads((out / "annotations.json").read_text())
    source = {
        a["id"]: a
        for n in ("instances", "stuff")
        for a in json.loads((world / f"train/{n}.json").read_text())["annotations"]
    }
    name = data["images"][0]["edits"]
    expected = kind if kind != "edit" else r"jitter0\.1-drop0\.1-flip0\.5-swap0\.3-overlap[0-9.]+"
    assert re.fullmatch(expected, name)
    assert json.loads((out / "run.json").read_text())["edits"] == name
    assert len({a["id"] for a in data["annotations"]}) == len(data["annotations"])
    for annotation in data["annotations"]:
        donor = source[annotation["source_annotation_id"]]
        assert annotation.get("source_category_id", annotation["category_id"]) == donor["category_id"]
        if kind == "recompose" and annotation["edits"] == "new":
            np.testing.assert_allclose(annotation["bbox"], donor["bbox"], atol=0.01)
    if kind == "sample":
        with pytest.raises(UserError, match="'sample' there, 'sample-rare0.3' now"):
            tiny_generation.draw(world, out, layouts=kind, limit=4, steps=1, oversample_thr=0.3)
    with pytest.raises(UserError, match="`layouts` and `edits` exclude each other"):
        tiny_generation.draw(world, world / "x", layouts=kind, edits=dict(flip=0.5))
