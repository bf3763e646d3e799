"""COCO results json: read as pycocotools reads it, and every fault by one clear message."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from detdiffusion.perception import read_results
from detdiffusion.utils.errors import UserError

ENTRY = {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}
IMAGES = {key: dict(id=key, width=100, height=80) for key in (1, 2)}


def write(folder, data):
    path = folder / "results.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_round_trip_over_pycocotools(shared_dir, tmp_path):
    ann = shared_dir / "data" / "coco_cc" / "instances.json"
    coco = COCO(ann)
    rng = np.random.default_rng(0)
    results = [
        dict(image_id=a["image_id"], category_id=a["category_id"], bbox=a["bbox"], score=float(rng.uniform()))
        for a in coco.anns.values()
    ]
    found = read_results(write(tmp_path, results), coco.imgs, coco.cats)
    again = found.to_coco_results()
    loaded = coco.loadRes(again)
    assert len(loaded.anns) == len(results) == len(found)
    for ours, original in zip(again, results):
        assert ours["bbox"] == pytest.approx(original["bbox"])
        assert {k: ours[k] for k in ("image_id", "category_id", "score")} == {
            k: original[k] for k in ("image_id", "category_id", "score")
        }


def test_predictions_on_other_images_are_counted(tmp_path):
    path = write(tmp_path, [ENTRY, dict(ENTRY, image_id=99)])
    found = read_results(path, IMAGES, [2])
    assert len(found) == 1 and list(found.report.values()) == [1]
    assert found.boxes.tolist() == [[1, 2, 4, 6]]
    with pytest.raises(UserError, match="another data set"):
        read_results(path, {5: IMAGES[1]}, [2])


def test_an_empty_list_is_valid(tmp_path):
    assert len(read_results(write(tmp_path, []), IMAGES, [2])) == 0


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        (7, "must be an object"),
        ({**ENTRY, "image_id": "1"}, "'image_id' must be a whole number, got '1'"),
        ({k: v for k, v in ENTRY.items() if k != "score"}, "lacks 'score'"),
        ({**ENTRY, "score": 50}, "'score' must be a number from 0 to 1, got 50"),
        ({**ENTRY, "score": float("nan")}, "'score'"),
        ({**ENTRY, "score": None}, "'score'"),
        ({**ENTRY, "score": True}, "'score' must be a number from 0 to 1, got True"),
        ({**ENTRY, "bbox": [False, 2, 3, 4]}, "'bbox'"),
        ({**ENTRY, "bbox": [1, 2, float("inf"), 4]}, "'bbox'"),
        ({**ENTRY, "bbox": [1, 2, -3, 4]}, "'bbox'"),
        ({**ENTRY, "bbox": [1, 2, 3]}, "'bbox'"),
        ({**ENTRY, "bbox": "1234"}, "'bbox'"),
        ({**ENTRY, "category_id": 77}, "unknown category id 77"),
        ({**ENTRY, "category_id": None}, "'category_id'"),
    ],
)
def test_a_bad_entry_is_named(tmp_path, entry, part):
    with pytest.raises(UserError, match="entry 1") as caught:
        read_results(write(tmp_path, [ENTRY, entry]), IMAGES, [2])
    assert part in str(caught.value) and "results.json" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[{", "broken json"),
        ("3", "not a COCO results json"),
        ('{"images": []}', "belongs to `ann`"),
    ],
)
def test_other_files_are_refused(tmp_path, text, part):
    with pytest.raises(UserError, match=part):
        read_results(write(tmp_path, text), IMAGES, [2])


def test_normalised_boxes_are_refused(tmp_path):
    entries = [dict(image_id=1, category_id=1, bbox=[0.2, 0.1 * k, 0.3, 0.2], score=0.5) for k in range(5)]
    path = write(tmp_path, entries)
    with pytest.raises(UserError, match="all 5 entries lie between 0 and 0.6: they look normalised"):
        read_results(path, IMAGES, [1])
    entries[3]["bbox"] = [3, 4, 20, 10]
    assert len(read_results(write(tmp_path, entries), IMAGES, [1])) == 5


def test_boxes_of_one_pixel_in_a_tiny_image(tmp_path):
    """Numbers that only a large image makes doubtful, and zeros beside normalised boxes."""
    path = write(tmp_path, [dict(ENTRY, bbox=[0, 0, 1, 1])])
    assert len(read_results(path, {1: dict(id=1, width=6, height=4)}, [2])) == 1
    for box in ([0, 0, 1, 1], [-0.2, 0.1, 0.9, 1.2]):
        path = write(tmp_path, [dict(ENTRY, bbox=box), dict(ENTRY, bbox=[0, 0, 0, 0])])
        with pytest.raises(UserError, match="look normalised"):
            read_results(path, IMAGES, [2])
    assert len(read_results(write(tmp_path, [dict(ENTRY, bbox=[0, 0, 0, 0])]), IMAGES, [2])) == 1
