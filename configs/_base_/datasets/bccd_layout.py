"""Blood cells (BCCD) as layouts at 192 x 144.

`data_root` is written by `tools/dataset_converters/voc_to_coco.py`, `attributes_file` by `tools/extract_attributes.py`.
"""

_base_ = "own_layout.py"

data_root = "data/bccd"
attributes_file = "work_dirs/bccd/attributes.json"
image_size = (144, 192)  # height, width: the aspect ratio of the photographs
# keep all cells that are visible at this size; platelets cover 1/200 of a photograph
filter_cfg = dict(min_area_ratio=0.001, min_objects=1, max_objects=30)
# microscope images have no preferred orientation: flips give four times the data
flip_prob = 0.75
flip_directions = ["horizontal", "vertical", "diagonal"]
