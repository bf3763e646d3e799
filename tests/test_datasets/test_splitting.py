"""Cutting validation images: copies and frames stay together, shares hold, ids and objects are kept."""

import json

import pytest

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.image_groups import frame_of, sequences_of, source_of
from detdiffusion.datasets.splitting import cut, split_coco
from detdiffusion.utils.errors import UserError


@pytest.mark.parametrize(
    ("name", "source", "frame"),
    [
        ("train/dog_jpg.rf.0a1b2c3d4e5f.jpg", "train/dog", None),
        ("clip_000123.jpg", "clip_000123", ("clip", 123)),
        ("a/clip-frame12.png", "a/clip-frame12", ("a/clip", 12)),
        ("a/0007.png", "a/0007", ("a", 7)),
        ("clip_12_png.rf.0a1b2c3d4e5f.jpg", "clip_12", ("clip", 12)),
        ("IMG 4.JPG", "IMG 4", (".", 4)),
        ("plain.jpg", "plain", None),
    ],
)
def test_names(name, source, frame):
    assert source_of(name) == source
    assert frame_of(name) == frame


def test_ids_are_no_sequence():
    assert sequences_of([f"{n:012d}.jpg" for n in (9, 25, 30, 34, 71, 99)]) == [None] * 6
    assert sequences_of(["c_5.jpg", "c_10.jpg", "c_15.jpg"]) == [("c", 5), ("c", 10), ("c", 15)]


def test_copies_stay_together():
    names = [f"train/p{photo}x_jpg.rf.{copy:08d}.jpg" for photo in range(40) for copy in range(3)]
    found = cut(names, [{0}] * 120, 0.2)
    assert {source_of(names[k]) for k in found.chosen}.isdisjoint(
        source_of(name) for k, name in enumerate(names) if k not in found.chosen
    )
    assert len(found.chosen) == 24 and "copies" in found.rule
    assert cut(names, [{0}] * 120, 0.2).chosen == found.chosen != cut(names, [{0}] * 120, 0.2, seed=1).chosen


def test_whole_videos():
    names = [f"video{chr(97 + v)}_{frame:04d}.jpg" for v in range(20) for frame in range(10)]
    chosen = cut(names, [{0}] * 200, 0.2).chosen
    assert len(chosen) == 40 and len({names[k][:6] for k in chosen}) == 4


def test_ends_of_few_videos():
    names = [f"{video}_{frame}.jpg" for video in "ab" for frame in range(50)]
    found = cut(names, [{0}] * 100, 0.2)
    assert sorted(found.chosen) == [*range(40, 50), *range(90, 100)] and "end of every" in found.rule


def test_classes_are_not_taken_for_videos():
    names = [f"class{chr(97 + c)}_{k}.jpg" for c in range(10) for k in range(10)]
    classes = [{c} for c in range(10) for _ in range(10)]
    chosen = cut(names, classes, 0.2).chosen
    assert all(sum(k // 10 == c for k in chosen) == 2 for c in range(10))


def test_classes_are_divided_evenly():
    classes = [{k % 5} if k % 20 else {5} for k in range(100)]  # five images have the rare class
    chosen = cut([f"{chr(97 + k % 26)}{k}x.jpg" for k in range(100)], classes, 0.2).chosen
    assert len(chosen) == 20
    assert 1 <= sum(classes[k] == {5} for k in chosen) <= 2


def test_groups_of_a_pattern():
    names = [f"{day}_cam{k}x.jpg" for day in ("mon", "tue", "wed", "thu", "fri") for k in range(4)]
    chosen = cut(names, [{0}] * 20, 0.2, groups="^([a-z]+)_").chosen
    assert len({names[k][:3] for k in chosen}) == 1 and len(chosen) == 4
    for pattern, message in (
        ("(", "not a regular expression"),
        ("^x", "matches none"),
        ("_", "all images are in one group"),
    ):
        with pytest.raises(UserError, match=message):
            cut(names, [{0}] * 20, 0.2, groups=pattern)


def test_one_image():
    with pytest.raises(UserError, match="1 image cannot be divided"):
        cut(["a.jpg"], [{0}], 0.2)
    assert len(cut(["a.jpg", "b.jpg"], [{0}] * 2, 0.2).chosen) == 1


def test_files(shared_dir, tmp_path, capsys):
    source = shared_dir / "data/coco_cc/instances.json"
    written = split_coco(source, tmp_path, val_share=0.2, test_share=0.1)
    assert list(written) == ["train", "val", "test"]
    assert [len(read_coco(path).images) for path in written.values()] == [63, 18, 9]
    whole = json.loads(source.read_text())
    parts = [json.loads(path.read_text()) for path in written.values()]
    for key in ("images", "annotations"):
        ids = [entry["id"] for part in parts for entry in part[key]]
        assert sorted(ids) == sorted(entry["id"] for entry in whole[key])
    assert all((tmp_path / "images" / i["file_name"]).is_file() for part in parts for i in part["images"])
    assert "person" in capsys.readouterr().out
    with pytest.raises(UserError, match="would overwrite an input"):
        split_coco(written["train"], tmp_path)
    with pytest.raises(UserError, match="`val_share` and `test_share`"):
        split_coco(source, tmp_path, val_share=0)
