"""The saved set: classes keep their ids when it is opened again."""

import json

import numpy as np

from detdiffusion.studio.model import StudioImage
from detdiffusion.studio.saving import SavedSet

CATEGORIES = [dict(id=3, name="ball"), dict(id=9, name="sky")]


def image_of(number, names, left_out=()):
    """An image of all objects but those in ``left_out``."""
    objects = [dict(category_id=k, bbox=[1, 1, 4, 4], attribute="easy") for k in range(len(names))]
    kept = [
        dict(one, id=10 * number + k, image_id=number, area=16, iscrowd=0)
        for k, one in enumerate(objects)
        if k not in left_out
    ]
    record = dict(id=number, file_name=f"{number}.png", width=8, height=8, strategy="origin")
    if left_out:
        record["not_prompted"] = [objects[k] for k in left_out]
    extra = dict(noise_seed=number, prompt="", not_prompted=[k + 1 for k in left_out])
    return StudioImage("origin", np.zeros((8, 8, 3), np.uint8), record, kept, extra, names, {})


def test_classes_of_objects_without_room_keep_their_ids(tmp_path):
    images = (
        image_of(1, ["ball", "drone"], left_out=[1]),
        image_of(2, ["kite", "drone"]),
        image_of(3, ["drone", "tent"], left_out=[0, 1]),
        image_of(4, ["sky", "tent"]),
    )
    for image in images:  # opened again for each
        saved = SavedSet(tmp_path / "set", dict(config="a"), CATEGORIES)
        saved.add([image])
        saved.close()
    content = json.loads((tmp_path / "set/annotations.json").read_text())
    ids = {category["name"]: category["id"] for category in content["categories"]}
    assert ids == dict(ball=3, sky=9, drone=10, kite=11, tent=12)
    found = {
        record["id"]: [one["category_id"] for one in record.get("not_prompted", ())]
        for record in content["images"]
    }
    assert found == {1: [10], 2: [], 3: [10, 12], 4: []}
    assert [one["category_id"] for one in content["annotations"]] == [3, 11, 10, 9, 12]
