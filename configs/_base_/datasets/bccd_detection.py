"""Blood cells (BCCD) for detectors, from `tools/dataset_converters/voc_to_coco.py BCCD_FOLDER --out data/bccd`."""

_base_ = "own_detection.py"

data_root = "data/bccd/"
image_scale = (320, 240)  # width, height: half of the photographs' size
metainfo = dict(classes=("Platelets", "RBC", "WBC"))
