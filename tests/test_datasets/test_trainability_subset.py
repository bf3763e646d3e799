"""The six readings of the paper's subset, against the layout data set's own filter and against pycocotools."""

import json
import runpy
import sys

import numpy as np
import pytest
from pycocotools.coco import COCO

from detdiffusion.datasets.layout_coco import LayoutCocoDataset
from detdiffusion.datasets.trainability_subset import PAPER, count_readings


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """40 images with things and stuff of all sizes, crowds, ignored objects and the class `other`."""
    folder = tmp_path_factory.mktemp("subset")
    rng = np.random.default_rng(0)
    images = [dict(id=7 * i + 3, file_name=f"{i}.png", width=100, height=80) for i in range(40)]
    for name, categories, first in (
        ("things", {1: "cat", 2: "dog"}, 1),
        ("stuff", {9: "sky", 183: "other"}, 9000),
    ):
        annotations = []
        for image in images:
            for _ in range(rng.integers(0, 8)):
                w, h = rng.uniform(2, 30, 2)
                extra = dict(iscrowd=int(rng.uniform() < 0.1), ignore=int(rng.uniform() < 0.1))
                annotations.append(
                    dict(
                        id=first + len(annotations), image_id=image["id"], bbox=[5, 5, w, h], area=w * h,
                        category_id=int(rng.choice(list(categories))), **extra,
                    )
                )  # fmt: skip
        data = dict(
            images=images,
            annotations=annotations,
            categories=[dict(id=k, name=n) for k, n in categories.items()],
        )
        (folder / f"{name}.json").write_text(json.dumps(data))
    return folder


def test_counts_are_those_of_the_layout_data_set(files):
    readings, _ = count_readings(files / "things.json", files / "stuff.json")
    kinds = [(0.02, False), (0, False), (0.02, True)]
    expected = [(stuff, *kind) for stuff in (False, True) for kind in kinds]
    assert [(r.stuff, r.min_area_ratio, r.counted_first) for r in readings] == expected

    def layouts(stuff, **limits):
        names = ["things.json", "stuff.json"] if stuff else ["things.json"]
        return LayoutCocoDataset(
            ann_files=[str(files / name) for name in names], img_dir=str(files), filter_cfg=limits
        ).layouts

    for reading in readings:
        if reading.counted_first:
            chosen = {
                x.image_id for x in layouts(reading.stuff, min_area_ratio=0, min_objects=3, max_objects=8)
            }
            large = layouts(
                reading.stuff, min_area_ratio=reading.min_area_ratio, min_objects=1, max_objects=10**6
            )
            left = [x for x in large if x.image_id in chosen]
        else:
            left = layouts(reading.stuff, min_area_ratio=reading.min_area_ratio, min_objects=3, max_objects=8)
        assert (reading.images, reading.objects) == (len(left), sum(map(len, left)))
    assert len({(r.images, r.objects) for r in readings}) == 6


def test_real_annotations_against_pycocotools(shared_dir):
    path = shared_dir / "data/coco_cc/instances.json"
    coco, counts = COCO(str(path)), []
    for image in coco.imgs.values():
        own = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], iscrowd=False))
        size = image["width"] * image["height"]
        counts.append((len(own), sum(a["bbox"][2] * a["bbox"][3] > 0.02 * size for a in own)))
    kept = (
        [large for _, large in counts if 3 <= large <= 8],
        [count for count, _ in counts if 3 <= count <= 8],
        [large for count, large in counts if 3 <= count <= 8 and large],
    )
    expected = [(len(one), sum(one)) for one in kept]
    readings, _ = count_readings(path)
    assert [(r.images, r.objects) for r in readings] == expected


def test_the_tool_prints_the_papers_counts_beside(files, repo_root, monkeypatch, capsys):
    tool = repo_root / "tools/analysis_tools/trainability_subset.py"
    monkeypatch.setattr(
        sys, "argv", [str(tool), str(files / "things.json"), "--stuff", str(files / "stuff.json")]
    )
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name="__main__")
    out = capsys.readouterr().out
    assert not end.value.code and f"{PAPER[0]:,}" in out and f"{PAPER[1]:,}" in out
    assert (
        out.count("things and stuff") == 3
        and out.count("left out after counting") == 2
        and "(used by the configs)" in out
    )


def test_the_coco_config_draws_the_first_reading(repo_root):
    from mmengine.config import Config

    config = Config.fromfile(repo_root / "configs/detdiffusion_800x456_coco.py", import_custom_modules=False)
    split = config.layout_datasets.trainability
    assert split.ann_files == ["annotations/instances_train2017.json"]
    assert (split.filter_cfg.min_area_ratio, split.filter_cfg.min_objects, split.filter_cfg.max_objects) == (
        0.02,
        3,
        8,
    )
