"""Class names that somebody wrote."""

import pytest

from detdiffusion.datasets.class_names import check_known, class_list, similar
from detdiffusion.utils.errors import UserError


def test_lists_of_names():
    assert class_list(("cat",), "classes") == ["cat"]
    assert class_list(["cat", "Mt. Fuji"], "classes") == ["cat", "Mt. Fuji"]


@pytest.mark.parametrize(
    ("classes", "part"),
    [
        ("cat", r"write \('cat',\) with a comma"),  # what Python makes of ("cat")
        ("c", r"write \('c',\) with a comma"),
        ("cat, dog", "with a comma"),
        (("cat", 3), "has 3, which is not a string"),
        ((), "is empty"),
        ({"cat": 1}, "must be a tuple"),
        (2, "must be a tuple"),
        (("cat", "dog", "cat"), "names 'cat' twice"),
    ],
)
def test_what_is_none(classes, part):
    with pytest.raises(UserError, match=rf"^metainfo\['classes'\]: .*{part}"):
        class_list(classes, "metainfo['classes']")


def test_an_unknown_one_has_near_matches():
    with pytest.raises(UserError, match="a.json: lacks the class 'Cat' of classes; near matches: cat"):
        check_known(["Cat"], ["cat", "dog"], "classes", "a.json")


def test_names_in_another_case_are_near():
    known = ["Traffic Light", "traffic light", "dog"]
    assert similar("TRAFFIC LIGHTS", known) == "near matches: Traffic Light, traffic light"
    assert similar("zebra", known) == "available names: Traffic Light, traffic light, dog"
    assert similar("zebra", []) == "available names: none"
