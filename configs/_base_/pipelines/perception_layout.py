"""Layouts with their images, masks and attributes, as needed by the perception-aware parts."""

attributes_file = "attributes.json"  # data sets replace it in the pipeline
image_size = (256, 256)  # height, width
train_pipeline = [
    dict(type="LoadLayoutImage", size=image_size),
    dict(type="LoadLayoutMasks"),
    dict(type="LoadPerceptionAttributes", attributes_file=attributes_file),
    dict(type="RandomFlipLayout", prob=0.5),
    dict(type="PackLayoutInputs"),
]
