"""Options of a group, whose names are the user's own: dots, spaces and '=' belong to them."""

import pytest

from detdiffusion.utils.config import nested_options
from detdiffusion.utils.errors import UserError


@pytest.mark.parametrize(
    "name", ["cat", "No.1", "Mt. Fuji", ".5", "a..b.", "E=mc2", "x.y=z w", "(1,2)", "猫"]
)
def test_names_of_a_group(name):
    given = nested_options([f"attributes.{name}=hard", "default=easy", "ratio=0.5"], "--strategy-options")
    assert given == dict(attributes={name: "hard"}, default="easy", ratio=0.5)


def test_values():
    assert nested_options(["a=x.y", "b=[1,2]", "c.d=3"], "--edit") == dict(a="x.y", b=[1, 2], c=dict(d=3))
    assert nested_options(None, "--edit") == {}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["ratio"], "'ratio' is not of the form"),
        (["attributes.cat"], "'attributes.cat' is not of the form"),
        (["attributes.=hard"], "not of the form"),
        ([".cat=hard"], "not of the form"),
        (["a=1", "a.b=2"], "'a' is given both a value and options"),
        (["a.b=2", "a=1"], "'a' is given both a value and options"),
        (["a.b=2", "a.b=1"], "'a.b' is given two values"),
    ],
)
def test_what_is_none(options, part):
    with pytest.raises(UserError, match=part):
        nested_options(options, "--strategy-options")
