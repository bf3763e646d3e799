"""A YOLOv4 with weights by hand that finds red and green squares of one cell exactly, and images of them."""

import json

import numpy as np
import torch
from PIL import Image

CFG = """
[net]
width=64
height=64
channels=3
[maxpool]
size=8
stride=8
padding=0
[convolutional]
filters=7
size=1
stride=1
pad=1
activation=linear
[yolo]
mask=0
anchors=8,8
classes=2
num=1
"""
CONFIG = """
default_scope = 'mmdet'
model = dict(type='detdiffusion.YOLOv4', cfg='{cfg}')
test_dataloader = dict(batch_size=4, dataset=dict(
    type='CocoDataset', metainfo=dict(classes=('red', 'green')), pipeline=[
        dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64), keep_ratio=False),
        dict(type='PackDetInputs')]))
"""
AREA = 0.01  # a cell is 1.6 % of an image
COLORS = {1: (255, 0, 0), 2: (0, 255, 0)}


def write_detector(folder):
    """``(config, cfg, weights)`` in a folder; the checkpoint is the converter's to make."""
    from detdiffusion.models.detectors import YOLOv4
    from detdiffusion.models.detectors.yolov4.weights import Header, write_weights

    (folder / "squares.cfg").write_text(CFG)
    (folder / "squares.py").write_text(CONFIG.format(cfg=folder / "squares.cfg"))
    model = YOLOv4(cfg=str(folder / "squares.cfg"))
    conv = model.bbox_head.convs_pred[0]
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        conv.bias[4:] = -20
        conv.weight[4, :2], conv.weight[5, 0], conv.weight[6, 1] = 40, 40, 40
    write_weights(folder / "squares.weights", model.darknet_convolutions(), Header(seen=640))
    return folder / "squares.py", folder / "squares.cfg", folder / "squares.weights"


def draw(cells, size):
    """An image of ``size`` (width, height), an 8 x 8 grid of black with (column, row, category) cells in colour."""
    image = np.zeros((8, 8, 3), np.uint8)
    for column, row, category in cells:
        image[row, column] = COLORS[category]
    return Image.fromarray(image).resize(size, Image.Resampling.NEAREST)


def write_squares(folder, count=6, size=(128, 96)):
    """Real images with a COCO json: two squares each, and a third object, small, that no image shows."""
    rng = np.random.default_rng(0)
    categories = [dict(id=1, name="red"), dict(id=2, name="green"), dict(id=9, name="ghost")]
    coco = dict(images=[], annotations=[], categories=categories)
    (folder / "real").mkdir(parents=True)
    cells = {}
    width, height = size[0] / 8, size[1] / 8
    for k in range(count):
        image_id = 139 + 7 * k
        places = rng.choice(64, 2, replace=False)
        cells[image_id] = [(int(p % 8), int(p // 8), c) for p, c in zip(places, (1, 2))]
        name = f"COCO_{image_id:012d}.png"
        draw(cells[image_id], size).save(folder / "real" / name)
        coco["images"].append(dict(id=image_id, file_name=name, width=size[0], height=size[1]))
        boxes = [(c, [x * width, y * height, width, height]) for x, y, c in cells[image_id]]
        for category, box in [*boxes, (1, [60.0, 40.0, 5.0, 5.0]), (9, [1.0, 1.0, 20.0, 20.0])]:
            area = box[2] * box[3]
            coco["annotations"].append(
                dict(
                    id=len(coco["annotations"]) + 1,
                    image_id=image_id,
                    category_id=category,
                    bbox=box,
                    area=area,
                )
            )
            coco["annotations"][-1]["iscrowd"] = 0
    (folder / "instances.json").write_text(json.dumps(coco))
    return coco, cells


def make(folder, cells, name, size=(64, 64)):
    """A method's folder: an image of each image's cells, named by ``name(image_id, index)``."""
    folder.mkdir(exist_ok=True)
    for k, (image_id, squares) in enumerate(cells.items()):
        draw(squares, size).save(folder / name(image_id, k))
    return folder


def evaluate(detector, root, methods, **kwargs):
    """The YOLO score of methods' folders beside the images of :func:`write_squares`."""
    from detdiffusion.evaluation import yolo_score

    kwargs = {"min_area_ratio": AREA, "progress": False, **kwargs}
    return yolo_score.evaluate(detector, root / "instances.json", root / "real", methods, **kwargs)
