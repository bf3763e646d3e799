"""Attributes of drawn sets: strategies, files of attributes, models that use none."""

import json

import pytest
from tiny_generation import draw, write_config

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of


def test_strategies_share_noise_and_differ_by_attributes(world, tmp_path):
    lines = {}
    for strategy in ("origin", "easy", "hard"):
        draw(world, tmp_path / strategy, strategy)
        lines[strategy] = [
            json.loads(x) for x in (tmp_path / strategy / "manifest.jsonl").read_text().splitlines()
        ]
    for origin, easy, hard in zip(*lines.values()):
        assert origin["noise_seed"] == easy["noise_seed"] == hard["noise_seed"]
        assert easy["prompt"] == hard["prompt"].replace("[hard]", "[easy]")
        assert len({line["image"]["id"] for line in (origin, easy, hard)}) == 3
    found = {a["attribute"] for line in lines["origin"] for a in line["annotations"]}
    assert found == {"easy", "hard", "background"}


def test_attributes_of_another_split_name_the_classes(world, tmp_path, capsys):
    data = json.loads((world / "attributes.json").read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps(dict(data, attributes={"999999999": "easy"})))
    draw(world, tmp_path / "a", attributes=str(other))
    draw(world, tmp_path / "b")
    assert "only its list of 8 nameable" in capsys.readouterr().out
    a, b = (json.loads((tmp_path / x / "annotations.json").read_text())["annotations"] for x in "ab")
    assert a == b
    with pytest.raises(UserError, match="no attribute for"):
        draw(world, tmp_path / "c", "origin", attributes=str(other))


def test_attributes_file_of_the_config(world, tmp_path):
    step = f"dict(type='LoadPerceptionAttributes', attributes_file='{world}/attributes.json')"
    config = world / "named.py"
    text = (world / "config.py").read_text()
    config.write_text(f"{text}\ntrain_dataloader = dict(dataset=dict(pipeline=[{step}]))\n")
    draw(world, tmp_path / "named", config=str(config), attributes=None, limit=2)
    draw(world, tmp_path / "given", limit=2)
    named, given = (json.loads((tmp_path / x / "annotations.json").read_text()) for x in ("named", "given"))
    assert named["annotations"] == given["annotations"]


def test_model_without_attributes(world, tmp_path):
    config = write_config(world, "geo.py", attributes=False)
    draw(world, tmp_path / "geo", "origin", config=config, checkpoint=None, attributes=None, limit=2)
    annotations = json.loads((tmp_path / "geo/annotations.json").read_text())["annotations"]
    assert {a["attribute"] for a in annotations} == {None}
    with pytest.raises(UserError, match="does not use attributes; use 'origin'"):
        draw(world, tmp_path / "geo2", "easy", config=config, checkpoint=None)


@pytest.mark.parametrize("listed", [None, "attributes.json"])
def test_stuff_of_a_model_without_attributes(world, tmp_path, capsys, listed):
    """Classes of the stuff's file, or those that an attributes file does not list, are only mirrored."""
    write_config(world, "geo.py", attributes=False)
    attributes = None
    if listed:
        attributes = tmp_path / listed
        attributes.write_text(json.dumps(dict(info=dict(nameable=["ball"]), attributes={"1": "easy"})))
    options = dict(config=str(world / "geo.py"), checkpoint=None, attributes=listed and str(attributes))
    draw(world, tmp_path / "geo", "origin", **options, limit=4, edits=dict(jitter=0.3, drop=0.4), steps=1)
    assert ("count as stuff, which edits only mirror: " in capsys.readouterr().out) == (listed is None)
    data = json.loads((tmp_path / "geo/annotations.json").read_text())
    stuff = {a["id"]: a for a in json.loads((world / "train/stuff.json").read_text())["annotations"]}
    done = {a["source_annotation_id"] in stuff: set() for a in data["annotations"]}
    for a in data["annotations"]:
        done[a["source_annotation_id"] in stuff].add(a["edits"])
    assert done[True] == {""} and (listed or "jitter" in done[False])
    assert not {key for image in data["images"] for key in image["dropped"]} & stuff.keys()
    run = json.loads((tmp_path / "geo/run.json").read_text())
    assert run["attributes_sha256"] == (sha256_of(attributes) if listed else None)


def test_attributes_of_other_files_with_equal_ids(world, tmp_path):
    data = json.loads((world / "attributes.json").read_text())
    data["info"]["annotation_files"] = [dict(path="other.json", sha256="0" * 64)]
    (tmp_path / "other.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="made from other.json, whose content differs from .*instances.json"):
        draw(world, tmp_path / "set", "origin", attributes=str(tmp_path / "other.json"))


def test_attributes_that_no_model_wants(world, tmp_path, capsys):
    write_config(world, "plain.py", attributes=False)
    plain = dict(config=str(world / "plain.py"), checkpoint=None, strategy="origin", limit=1)
    draw(world, tmp_path / "set", **plain)
    assert "attributes.json, only the list of nameable classes is used" in capsys.readouterr().out
    with pytest.raises(UserError, match="nowhere.json: no such attributes file"):
        draw(world, tmp_path / "set", attributes="nowhere.json", **plain)


def test_a_strategy_of_the_users_own(world, tmp_path, repo_root):
    """The one that docs/guides/extending.md shows."""
    text = (repo_root / "docs/guides/extending.md").read_text()
    names: dict = {}
    exec(next(part for part in text.split("```python\n") if "SmallIsHard" in part).split("```")[0], names)
    draw(world, tmp_path / "set", "SmallIsHard", limit=2)
    coco = json.loads((tmp_path / "set/annotations.json").read_text())
    assert {a["attribute"] for a in coco["annotations"]} == {"easy", "hard", "background"}
    data = json.loads((world / "attributes.json").read_text())
    data["attributes"] = {"10000000": "easy"}
    (tmp_path / "foreign.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="foreign.json"):
        draw(world, tmp_path / "other", "SmallIsHard", attributes=str(tmp_path / "foreign.json"))

    class Careless(names["SmallIsHard"]):
        reads_attributes = False
        name = "careless"

        def __init__(self, threshold: float = 0.1):
            super().__init__()

    with pytest.raises(
        UserError, match="strategy 'careless' at the layout of image .*TypeError: .*reads_attributes = True"
    ):
        draw(
            world, tmp_path / "other", dict(type=Careless), attributes=str(tmp_path / "foreign.json"), limit=1
        )
    draw(world, tmp_path / "careless", dict(type=Careless, threshold=0.1), limit=1)
    draw(world, tmp_path / "careless", dict(type=Careless), strategy_options=dict(threshold=0.1), limit=1)
    with pytest.raises(
        UserError, match="another run.*strategy_options: {'threshold': 0.1} there, {'threshold': 0.2}"
    ):
        draw(world, tmp_path / "careless", dict(type=Careless, threshold=0.2), limit=1)
