"""Rows of YOLO labels: boxes, polygons, key points and what is none of them, told apart for a whole set."""

import math

import pytest

from detdiffusion.datasets.formats.yolo import read_yolo
from detdiffusion.datasets.formats.yolo_rows import NO_ROW, Survey, key_point_columns, numbers
from detdiffusion.utils.errors import UserError

SIZE = (100, 50)
BOX = "0 0.5 0.5 0.4 0.4"
IN_PIXELS = [30, 15, 40, 20]


def read(make_set, rows, yaml="", **options):
    """A set of one image a list of rows."""
    files = {"data.yaml": f"train: images\nnames: [plate]\n{yaml}"}
    for number, lines in enumerate([rows] if isinstance(rows[0], str) else rows):
        files |= {f"images/{number}.png": SIZE, f"labels/{number}.txt": "\n".join(lines)}
    return read_yolo(make_set(files) / "data.yaml", progress=False, **options)


POSES = {
    "two numbers a point": ("[4, 2]", " 0.35 0.35 0.65 0.35 0.65 0.65 0.35 0.65"),
    "visible points": ("[2, 3]", " 0.35 0.35 2 0.65 0.65 1"),
    "points that are not labelled": ("[2, 3]", " 0 0 0 0.65 0.65 2"),
    "one point": ("[1, 2]", " 0.4 0.4"),
    "seventeen points": ("[17, 3]", " 0.4 0.4 2" * 17),
}


@pytest.mark.parametrize("case", POSES)
def test_key_points_by_kpt_shape(case, make_set):
    shape, points = POSES[case]
    found = read(make_set, [BOX + points, BOX], f"kpt_shape: {shape}")
    assert [a["bbox"] for a in found.annotations] == [IN_PIXELS] * 2
    assert "segmentation" not in found.annotations[0]
    assert found.report == {"columns behind a box (key points, confidence, track id): not read": 1}


def test_rows_of_other_lengths_than_kpt_shape_are_counted(make_set):
    found = read(make_set, [BOX, BOX + " 0.4 0.4", BOX + " 0.4 0.4 0.6 0.6"], "kpt_shape: [2, 2]")
    assert len(found.annotations) == 2
    assert (
        found.report["line that is neither a box nor a box with the key points of kpt_shape: left out"] == 1
    )


@pytest.mark.parametrize("shape", ["17", "[17]", "[17, 4]", "[0, 2]", "[2.0, 2]", "[true, 2]", "{a: 1}"])
def test_bad_kpt_shapes(shape, make_set):
    with pytest.raises(
        UserError, match=r"data.yaml: 'kpt_shape' must be \[number of points, 2 or 3\], it is"
    ):
        read(make_set, [BOX], f"kpt_shape: {shape}")


AMBIGUOUS = {
    "confidence and track ids 0 and 1": [BOX + " 0.9 1", "0 0.2 0.2 0.1 0.1 0.8 0"],
    "with a larger track id, which alone is no polygon": [BOX + " 0.9 1", BOX + " 0.8 17"],
    "key points without kpt_shape": [BOX + " 0.35 0.35 0.65 0.35 0.65 0.65 0.35 0.65"],
    "visibility of 0 and 1 without kpt_shape": [BOX + " 0.35 0.35 1 0 0 0"],
    "among boxes": [BOX, BOX + " 0.9 1", "0 0.1 0.1 0.1 0.1"],
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_rows_that_may_be_either_are_refused_and_the_option_decides(case, make_set):
    rows = AMBIGUOUS[case]
    with pytest.raises(UserError, match=r"0.txt, line \d: \d+ columns, .*`task` segment, pose or detect"):
        read(make_set, rows)
    boxes = read(make_set, rows, task="detect")
    assert len(boxes.annotations) == len(rows) and boxes.annotations[0]["bbox"] == IN_PIXELS
    polygons = read(make_set, [row for row in rows if " 17" not in row], task="segment")
    assert any("segmentation" in a for a in polygons.annotations)


POLYGONS = {
    "several lengths": [["0 0.1 0.1 0.4 0.1 0.4 0.4", "0 0.3 0.3 0.6 0.3 0.6 0.6 0.3 0.6 0.2 0.4"], [BOX]],
    "a triangle whose first points are no box": [["0 0 0 0.5 0 0.5 0.5"]],
    "one length, but one of them no box": [[BOX + " 0.35 0.35", "0 0.9 0.9 0.5 0.9 0.5 0.5"]],
    "a dense outline": [
        ["0 " + " ".join(f"{0.5 + 0.3 * f(k / 8):.4f}" for k in range(50) for f in (math.cos, math.sin))]
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", POLYGONS)
def test_polygons_are_told_from_boxes_with_more(case, make_set):
    found = read(make_set, POLYGONS[case])
    rows = [[float(v) for v in row.split()] for rows in POLYGONS[case] for row in rows]
    assert not found.report and len(found.annotations) == len(rows)
    for annotation, (_, *shares) in zip(found.annotations, rows):
        if len(shares) > 4:
            xs, ys = [100 * x for x in shares[::2]], [50 * y for y in shares[1::2]]
            box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            assert annotation["bbox"] == pytest.approx(box, abs=1e-3)
            assert len(annotation["segmentation"][0]) == len(shares)


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133])
def test_oriented_boxes_are_read_with_their_upright_box_and_said(angle, make_set):
    """In pixels a rectangle; in shares of an image of 2 to 1 a parallelogram."""
    turn = math.radians(angle)
    corners = [(-20, -5), (20, -5), (20, 5), (-20, 5)]
    points = [
        (50 + x * math.cos(turn) - y * math.sin(turn), 25 + x * math.sin(turn) + y * math.cos(turn))
        for x, y in corners
    ]
    row = "0 " + " ".join(f"{x / 100:.6f} {y / 50:.6f}" for x, y in points)
    found = read(make_set, [row])
    width = 40 * abs(math.cos(turn)) + 10 * abs(math.sin(turn))
    height = 40 * abs(math.sin(turn)) + 10 * abs(math.cos(turn))
    assert found.annotations[0]["bbox"] == pytest.approx(
        [50 - width / 2, 25 - height / 2, width, height], abs=0.01
    )
    assert found.report == {
        "line of four points, an oriented box (OBB) or a polygon: the upright box around it is taken": 1
    }
    assert not read(make_set, [row], task="segment").report  # the user has said so


REFUSED = {
    "confidence": [BOX + " 0.9"] * 3,
    "confidence and track id": [BOX + " 0.9 7"] * 3,
    "commas": ["0,0.5,0.5,0.4,0.4"],
    "commas and spaces": ["0, 0.5, 0.5, 0.4, 0.4"],
    "decimal commas": ["0 0,5 0,5 0,4 0,4"],
    "semicolons": ["0;0.5;0.5;0.4;0.4"],
    "pixels": ["0 50 25 40 20"],
    "pixels, small ones among them": ["0 50 25 40 20", "0 30 25 4 20", "0 0.5 0.5 1 1"],
    "class names": ["plate 0.5 0.5 0.4 0.4"],
    "a picture's caption": ["a plate on a table"],
    "too short": ["0 0.5 0.5 0.4"],
    "oriented boxes of DOTA": ["1 2 3 4 5 6 7 8 plate 0"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_sets_of_rows_that_fit_nothing_are_errors(case, make_set):
    with pytest.raises(UserError, match=r"of \d+ lines of the label files cannot be read") as caught:
        read(make_set, REFUSED[case])
    message = str(caught.value)
    assert "labels/0.txt, line 1: " in message and REFUSED[case][0][:20] in message
    for word in ("commas", "pixels"):
        assert (word in case) <= (word in message)
    if "confidence" in case:
        assert "`task` detect reads the boxes" in message
        assert len(read(make_set, REFUSED[case][:1], task="detect").annotations) == 1


def test_numbers():
    assert numbers(" 0\t.5 5e-1 0.25 1 ") == [0, 0.5, 0.5, 0.25, 1]
    assert numbers("0 nan 1 1 1") == numbers("0 inf 1 1 1") == numbers("1 2 3 4") == numbers("") == NO_ROW
    assert "commas" in numbers("0,1,1,1,1")


def test_no_rows_at_all_and_key_points_without_shape():
    assert Survey().task() == "segment" and Survey().advice() == ""
    assert key_point_columns(None, "x") is None and key_point_columns([17, 3], "x") == 51


def test_an_unknown_task(make_set):
    with pytest.raises(UserError, match="`task` must be one of auto, detect, segment, pose, it is 'boxes'"):
        read(make_set, [BOX], task="boxes")
