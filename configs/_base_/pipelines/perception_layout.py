"""Layouts with their images, masks and attributes: what the perception-aware parts need."""

attributes_file = "attributes.json"  # a data set writes its own into the pipeline
image_size = (256, 256)  # height, width
train_pipeline = [
    dict(type="LoadLayoutImage", size=image_size),
    dict(type="LoadLayoutMasks"),
    dict(type="LoadPerceptionAttributes", attributes_file=attributes_file),
    dict(type="RandomFlipLayout", prob=0.5),
    dict(type="PackLayoutInputs"),
]
