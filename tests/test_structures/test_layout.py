"""`Layout` from lists in pixels, and what it refuses."""

import pytest
import torch

from detdiffusion import Layout
from detdiffusion.utils.errors import UserError


def test_pixels_become_fractions():
    layout = Layout.from_pixels(
        [[64, 0, 320, 480.5], [0, 120, 640, 480]], ["cat", "sky"], 640, 480, ["hard", "easy"]
    )
    expected = torch.tensor([[0.1, 0, 0.5, 1], [0, 0.25, 1, 1]])
    torch.testing.assert_close(layout.boxes, expected)
    assert (layout.width, layout.height) == (640, 480) and layout.attributes == ["hard", "easy"]
    assert len(Layout.from_pixels([], [], 10, 10)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(boxes=[[10, 20, 5, 30]]), r"boxes\[0\] is \(10, 20, 5, 30\).*not width and height"),
        (dict(boxes=[[0, 0, 650, 30]]), r"inside the image of 640 x 480 pixels"),
        (dict(boxes=[[0, 0, float("nan"), 30]]), r"boxes\[0\] is \(0, 0, nan, 30\)"),
        (dict(boxes=[[0, 0, 3]]), "boxes must be a list of x1, y1, x2, y2"),
        (dict(boxes="box"), "boxes must be a list of x1, y1, x2, y2"),
        (dict(names=["cat", "dog"]), "names has 2 entries for 1 boxes"),
        (dict(names="c"), "names must be a list"),
        (dict(names=[3]), "names must be class names, got 3"),
        (dict(attributes=["Hard"]), "attributes must be lower-case words"),
        (dict(width=0), "`width` must be a number of pixels above 0, it is 0"),
        (dict(height=None), "`height` must be a number of pixels above 0"),
    ],
)
def test_faults_are_named(change, message):
    given = dict(boxes=[[1, 2, 30, 40]], names=["cat"], width=640, height=480)
    with pytest.raises(UserError, match=message):
        Layout.from_pixels(**{**given, **change})


def test_pixels_in_place_of_fractions():
    with pytest.raises(UserError, match="in \\[0, 1\\].*Layout.from_pixels takes pixels"):
        Layout([[1, 2, 30, 40]], ["cat"])
    with pytest.raises(UserError, match="in \\[0, 1\\]"):
        Layout([[0, 0, float("nan"), 1]], ["cat"])
