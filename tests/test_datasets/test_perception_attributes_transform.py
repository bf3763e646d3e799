"""LoadPerceptionAttributes: by annotation id, and a file of another data set is one clear error."""

import json

import pytest
import torch

import detdiffusion.datasets.transforms.perception_attributes  # noqa: F401
from detdiffusion.perception import AttributesFile
from detdiffusion.registry import TRANSFORMS
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of


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
        ('{"attributes": {"1": "eazy"}}', "annotation id 1 has the attribute 'eazy'"),
        ('{"attributes": {"x": "easy"}}', "'x' is no annotation id"),
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


def test_equal_ids_of_another_set_are_found_by_the_files_content(tmp_path):
    from detdiffusion.datasets import LayoutCocoDataset
    from detdiffusion.datasets.miniscenes import write_miniscenes

    for seed in (0, 1):
        write_miniscenes(tmp_path / str(seed), "train", 4, size=32, seed=seed)
    files = [tmp_path / "0/train" / name for name in ("instances.json", "stuff.json")]
    names = [f"{seed}/train/{f.name}" for seed in (0, 1) for f in files]
    ids = {a["id"]: "easy" for n in names for a in json.loads((tmp_path / n).read_text())["annotations"]}
    info = {"annotation_files": [{"path": str(f), "sha256": sha256_of(f)} for f in files]}
    AttributesFile(tmp_path / "a.json", ids, info).write()

    def load(seed, **options):
        step = dict(type="LoadPerceptionAttributes", attributes_file=str(tmp_path / "a.json"), **options)
        root = tmp_path / f"{seed}/train"
        return LayoutCocoDataset(
            ["instances.json", "stuff.json"], "images", root, [step], filter_cfg=dict(min_objects=1)
        )

    assert load(0)[0]["layout"].attributes[0] == "easy"
    with pytest.raises(UserError, match=r"a.json: made from .*0/train.*not that of .*1/train.*make it anew"):
        load(1)
    assert len(load(1, check_files=False)) > 0
