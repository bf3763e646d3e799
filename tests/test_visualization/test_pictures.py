"""Boxes on images and sheets, checked pixel by pixel."""

import json

import numpy as np
import pytest
from PIL import Image

from detdiffusion.utils.colours import class_colour
from detdiffusion.utils.errors import UserError
from detdiffusion.visualization.grids import contact_sheet, side_by_side
from detdiffusion.visualization.overlays import DrawnObject, draw_objects


def test_boxes_lie_where_they_should():
    image = Image.fromarray(np.full((8, 12, 3), 100, np.uint8))
    drawn = np.asarray(draw_objects(image, [DrawnObject((2, 1, 6, 5), "", (255, 0, 0))], scale=10))
    assert drawn.shape == (80, 120, 3) and np.asarray(image).std() == 0
    red = (drawn == (255, 0, 0)).all(axis=2)
    ys, xs = np.nonzero(red)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (20, 59, 10, 49)
    assert not red[15:45, 25:55].any() and (drawn[~red] == 100).all()


def test_enlarging_does_not_smooth():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 4, 3), dtype=np.uint8)
    drawn = np.asarray(draw_objects(Image.fromarray(pixels), [], scale=3))
    np.testing.assert_array_equal(drawn, pixels.repeat(3, axis=0).repeat(3, axis=1))


def test_texts_stay_inside():
    one = DrawnObject((6, 6, 8, 8), "street sign", (0, 255, 0))
    drawn = np.asarray(draw_objects(Image.new("RGB", (8, 8)), [one], scale=16))
    assert drawn.shape == (128, 128, 3) and (drawn == (0, 255, 0)).all(axis=2).sum() > 200


def test_colours_differ():
    assert len({class_colour(i) for i in range(80)}) == 80
    assert min(max(class_colour(i)) for i in range(80)) == 255


@pytest.fixture
def world(tmp_path):
    """Three real images; synthetic sets of two of them, in another order."""
    rng = np.random.default_rng(0)
    categories = [dict(id=3, name="ball"), dict(id=9, name="kite")]

    def write(folder, name, entries, annotations):
        (folder / "images").mkdir(parents=True)
        images = []
        for key, source in entries:
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(
                folder / f"images/{key}.png"
            )
            images.append(dict(id=key, file_name=f"{key}.png", width=16, height=16, source_image_id=source))
        coco = dict(images=images, annotations=annotations, categories=categories)
        (folder / name).write_text(json.dumps(coco))

    def box(key, image, category, **extra):
        return dict(
            id=key, image_id=image, category_id=category, bbox=[2, 2, 8, 8], area=64, iscrowd=0, **extra
        )

    real = [box(1, 1, 3), box(2, 2, 9), box(3, 2, 3), box(4, 3, 3)]
    write(tmp_path / "real", "instances.json", [(1, 1), (2, 2), (3, 3)], real)
    for name in ("easy", "hard"):
        objects = [box(31, 30, 3, source_annotation_id=4, attribute=name)]
        objects += [box(21, 20, 9, source_annotation_id=2, attribute=name)]
        write(tmp_path / name, "annotations.json", [(30, 3), (20, 2)], objects)
    return tmp_path


def rows_of(world, sets=("easy", "hard"), **options):
    sets = {name: world / name for name in sets}
    return side_by_side(world / "real/instances.json", world / "real/images", sets, **options)


def test_rows_are_common_layouts_in_the_files_order(world):
    rows = rows_of(world, width=64)
    assert [row.layout for row in rows] == [2, 3]
    assert [row.caption for row in rows] == ["kite", "ball"]  # the prompted objects only
    assert [list(row.images) for row in rows] == [["real", "easy", "hard"]] * 2
    original = np.asarray(Image.open(world / "hard/images/20.png")).repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(np.asarray(rows[0].images["hard"])[45:, 45:], original[45:, 45:])
    assert len(rows_of(world, count=1)) == 1


def test_sheet_holds_every_picture(world):
    rows = rows_of(world, width=64)
    sheet = np.asarray(contact_sheet(rows, gap=6, header=18))
    assert sheet.shape == (18 + 2 * 64 + 6, 3 * 64 + 2 * 6, 3)
    np.testing.assert_array_equal(sheet[18 + 70 :, 70:134], np.asarray(rows[1].images["easy"]))


def test_faults_are_named(world):
    (world / "easy/images/20.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="20.png: cannot be read as an image"):
        rows_of(world)
    with pytest.raises(UserError, match="nowhere"):
        rows_of(world, sets=("nowhere",))
