"""LoadPerceptionAttributes: by annotation id, and a file of another data set is one clear error."""

import json

import pytest
import torch
from option_values import extract

import detdiffusion.datasets.transforms.perception_attributes  # noqa: F401
from detdiffusion.datasets import LayoutCocoDataset
from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.perception import AttributesFile
from detdiffusion.registry import TRANSFORMS
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError


@pytest.fixture
def path(tmp_path):
    file = AttributesFile(
        tmp_path / "sub" / "attributes.json",
        {3: "easy", 4: "hard", 5: "background"},
        {"annotation_files": [{"path": "train.json"}]},
        {3: 0.75},
    )
    file.write()
    return file.path


def layout(ids):
    return Layout(
        boxes=torch.rand(len(ids), 4).sort(dim=1).values, names=["a"] * len(ids), ids=ids, image_id=8
    )


def build(path, **options):
    return TRANSFORMS.build(dict(type="LoadPerceptionAttributes", attributes_file=str(path), **options))


def test_sets_attributes_by_annotation_id(path):
    before = layout([5, 3, 4])
    after = build(path)(dict(layout=before, img_path="x"))
    assert after["layout"].attributes == ["background", "easy", "hard"]
    assert after["img_path"] == "x" and before.attributes is None


def test_the_file_survives_a_round_trip(path):
    file = AttributesFile.read(path)
    assert file.attributes == {3: "easy", 4: "hard", 5: "background"} and file.scores == {3: 0.75}
    assert [p.name for p in path.parent.iterdir()] == ["attributes.json"]


def test_another_data_set_is_one_error_with_counts(path):
    transform = build(path)
    with pytest.raises(UserError) as caught:
        transform(dict(layout=layout([3, 90, 91])))
    for part in ("2 of the 3 annotations of image 8", "90, 91", "has 3 attributes", "train.json"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="4 of the 6 annotations of val.json"):
        transform.check([3, 4, 6, 7, 8, 9], "val.json")


def test_missing_can_be_filled_in(path):
    transform = build(path, missing="hard")
    assert transform(dict(layout=layout([3, 90])))["layout"].attributes == ["easy", "hard"]
    transform.check([90], "val.json")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "broken json"),
        ("[]", "not an attributes file"),
        ('{"attributes": {"1": "eazy"}}', "annotation id 1 has the unknown attribute 'eazy'"),
        ('{"attributes": {"x": "easy"}}', "'x' is not an annotation id"),
        ('{"attributes": {"7": "easy", "07": "hard"}}', "'07' is not an annotation id"),
        ('{"attributes": {"1_0": "easy"}}', "'1_0' is not an annotation id"),
        (
            '{"attributes": {"7": "easy", "7": "hard"}}',
            "the key '7' occurs twice in one object, with the values easy and hard",
        ),
        (
            '{"attributes": {"1": "easy"}, "info": {"nameable": ["a", {}]}}',
            "info.nameable must be a list of class names",
        ),
        (
            '{"attributes": {"1": "easy"}, "info": {"nameable": "ball"}}',
            "info.nameable must be .* it is ball",
        ),
    ],
)
def test_bad_files(tmp_path, text, part):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    with pytest.raises(UserError, match=part):
        build(bad)


def test_missing_file_and_bad_option(tmp_path, path):
    with pytest.raises(UserError, match="no such attributes file"):
        build(tmp_path / "no.json")
    with pytest.raises(UserError, match="missing='skip'"):
        build(path, missing="skip")


def test_a_layout_without_ids_is_refused(path):
    bare = Layout(boxes=torch.tensor([[0, 0, 1, 1.0]]), names=["a"])
    with pytest.raises(UserError, match="no annotation ids"):
        build(path)(dict(layout=bare))


@pytest.fixture
def scenes(tmp_path):
    """A small set of two jsons, and the attributes file that was made from it."""
    folder = write_miniscenes(tmp_path / "0", "train", 4, size=32, seed=0)
    (tmp_path / "found.json").write_text("[]")
    names = [c["name"] for c in json.loads((folder / "instances.json").read_text())["categories"]]
    files = [folder / name for name in ("instances.json", "stuff.json")]
    extract(files, tmp_path / "a.json", predictions=tmp_path / "found.json", detector_classes=names)
    return folder


def older(path):
    """The file as versions wrote it that recorded no objects."""
    data = json.loads(path.read_text())
    del data["objects"]
    path.write_text(json.dumps(data))


def load(folder, attributes, **options):
    step = dict(type="LoadPerceptionAttributes", attributes_file=str(attributes), **options)
    files = ["instances.json", "stuff.json"]
    return LayoutCocoDataset(files, "images", folder, [step], filter_cfg=dict(min_objects=1))


def rewrite(folder, name, change):
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data, indent=2))


def turn_ids(data):
    """The objects of every image are numbered in the other order: the same ids, other objects."""
    groups = {}
    for annotation in data["annotations"]:
        groups.setdefault(annotation["image_id"], []).append(annotation)
    for group in groups.values():
        for annotation, new in zip(group, [a["id"] for a in group][::-1]):
            annotation["id"] = new


def swap_images(data):
    """Two pictures change places, their boxes stay with the ids."""
    first, second = data["images"][:2]
    first["file_name"], second["file_name"] = second["file_name"], first["file_name"]


OTHER_OBJECTS = {
    "ids of the instances": [("instances.json", turn_ids)],
    "ids of the stuff": [("stuff.json", turn_ids)],
    "a box": [("instances.json", lambda d: d["annotations"][0].update(bbox=[1, 1, 20, 20]))],
    "a class": [("instances.json", lambda d: d["categories"][0].update(name="other thing"))],
    "pictures": [("instances.json", swap_images), ("stuff.json", swap_images)],
}


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("case", OTHER_OBJECTS)
def test_an_attribute_is_only_for_the_object_it_was_made_for(scenes, tmp_path, case, recorded):
    if not recorded:
        older(tmp_path / "a.json")
    assert load(scenes, tmp_path / "a.json")[0]["layout"].attributes
    for name, change in OTHER_OBJECTS[case]:
        rewrite(scenes, name, change)
    with pytest.raises(UserError, match=r"a.json: .*instances.json.*create it again") as caught:
        load(scenes, tmp_path / "a.json")
    assert ("other objects" in str(caught.value)) == recorded


def test_the_same_objects_in_other_files_keep_their_attributes(scenes, tmp_path):
    """Written anew in another order with other ids of images and categories, and less of them."""
    before = load(scenes, tmp_path / "a.json")
    words = {
        i: word
        for k in range(len(before))
        for i, word in zip(before[k]["layout"].ids, before[k]["layout"].attributes)
    }

    def renumber(data):
        for key, name in (("images", "image_id"), ("categories", "category_id")):
            for entry in data[key]:
                entry["id"] += 500
            for annotation in data["annotations"]:
                annotation[name] += 500
        data["annotations"] = data["annotations"][::-1][:-1]

    for name in ("instances.json", "stuff.json"):
        rewrite(scenes, name, renumber)
    after = load(scenes, tmp_path / "a.json")
    for k in range(len(after)):
        layout = after[k]["layout"]
        assert layout.attributes == [words[i] for i in layout.ids]


@pytest.mark.parametrize("recorded", [True, False])
def test_equal_ids_of_another_set(scenes, tmp_path, recorded):
    other = write_miniscenes(tmp_path / "1", "train", 4, size=32, seed=1)
    data = json.loads((tmp_path / "a.json").read_text())
    for name in ("instances.json", "stuff.json"):
        ids = [a["id"] for a in json.loads((other / name).read_text())["annotations"]]
        data["attributes"].update({str(i): "easy" for i in ids})
    (tmp_path / "a.json").write_text(json.dumps(data))
    if not recorded:
        older(tmp_path / "a.json")
    with pytest.raises(
        UserError, match=r"a.json: made from .*0/train.* of .*1/train.* other objects.*create it again"
    ):
        load(other, tmp_path / "a.json", missing="hard")
    (scenes / "stuff.json").unlink()  # an older file has nothing to compare with but checksums
    if recorded:
        return
    with pytest.raises(
        UserError, match=r"a.json: made from .*0/train.*differs from .*1/train.*create it again"
    ):
        load(other, tmp_path / "a.json", missing="hard")
    assert len(load(other, tmp_path / "a.json", check_files=False)) > 0


@pytest.mark.parametrize("objects", [[], {"1": "x"}, {"x": 1}])
def test_a_damaged_record_of_objects(tmp_path, objects):
    (tmp_path / "a.json").write_text(json.dumps(dict(attributes={"1": "easy"}, objects=objects)))
    with pytest.raises(UserError, match="a.json: ('objects' must map|'x' is not an annotation id)"):
        build(tmp_path / "a.json")
