"""Requests of a page: what is accepted, and what is said of the rest."""

import numpy as np
import pytest
from studio_world import BOXES, request

from detdiffusion.structures import ATTRIBUTES
from detdiffusion.studio.request import read_request
from detdiffusion.utils.errors import UserError


def test_a_request_is_what_it_says_and_can_be_sent_again():
    read = read_request(request(), ATTRIBUTES)
    assert read.layout.names == ["ball", "pine tree"] and read.layout.attributes == ["easy", "hard"]
    assert read.layout.boxes.numpy() == pytest.approx(np.array([box["box"] for box in BOXES]))
    assert read.to_dict() == request()
    assert read_request(read.to_dict(), ATTRIBUTES).layout.image_id == read.layout.image_id


def test_the_id_of_a_drawing_follows_from_its_objects():
    ids = [
        read_request(request(boxes=boxes), ATTRIBUTES).layout.image_id
        for boxes in (BOXES, BOXES[::-1], BOXES[:1], [dict(BOXES[0], attribute="hard"), BOXES[1]])
    ]
    assert len(set(ids)) == 4
    assert read_request(request(image_id=17), ATTRIBUTES).layout.image_id == 17


def test_without_attributes_there_is_one_image():
    read = read_request(request(columns=["origin"]), ())
    assert read.layout.attributes is None
    with pytest.raises(UserError, match="images can be origin, once each; got easy, hard"):
        read_request(request(), ())


def with_box(**changes):
    return dict(boxes=[BOXES[0], {**BOXES[1], **changes}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(boxes=[]), "no boxes: draw at least one"),
        (dict(boxes="ball"), "no boxes: draw at least one"),
        (dict(boxes=BOXES * 51), "102 boxes; at most 100"),
        (dict(boxes=[BOXES[0], 3]), "box 2: must be a json object"),
        (with_box(box=[0.5, 0.1, 0.4, 0.8]), r"box 2: its corners must lie .* \(0.5, 0.1\) and \(0.4, 0.8\)"),
        (with_box(box=[0.5, 0.1, 1.2, 0.8]), "box 2: its corners must lie in the image"),
        (with_box(box=[0.5, 0.1, float("nan"), 0.8]), "box 2: its corners must be four finite numbers"),
        (with_box(box=[0.5, 0.1, 0.8]), "box 2: its corners must be four finite numbers"),
        (with_box(name=" "), "box 2: has no class"),
        (with_box(name="x" * 81), "box 2: a class name has at most 80"),
        (with_box(name="a\nb"), "box 2: a class name has at most 80 printable"),
        (
            with_box(attribute="heavy"),
            "box 2: its attribute must be one of easy, hard, background, it is 'heavy'",
        ),
        (with_box(attribute=["easy"]), "box 2: its attribute must be one of"),
        (dict(columns=[]), "choose at least one attribute"),
        (dict(columns=["easy", "easy"]), "once each"),
        (dict(columns=[{}]), "images can be origin, easy, hard"),
        (dict(seed=-1), "the seed must be a whole number"),
        (dict(seed=1.5), "the seed must be a whole number"),
        (dict(steps=0), "steps must be a whole number from 1 to 1000, it is 0"),
        (dict(steps=True), "steps must be a whole number"),
        (dict(guidance_scale="3"), "guidance must be a number from 0 to 100"),
        (dict(image_id="../x"), "image_id must be a whole number"),
    ],
)
def test_what_is_wrong_is_said(changes, message):
    with pytest.raises(UserError, match=message):
        read_request(request(**changes), ATTRIBUTES)


def test_classes_that_the_model_does_not_know():
    with pytest.raises(
        UserError, match="box 2: the model does not know the class 'pine tree'; near matches: pine trees"
    ):
        read_request(request(), ATTRIBUTES, ("ball", "pine trees"))
    with pytest.raises(UserError, match="must be a json object"):
        read_request([], ATTRIBUTES)
