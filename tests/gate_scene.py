"""A small generated set with what a detector found in it, each verdict of the quality gate known."""

CATEGORIES = [dict(id=i, name=n, supercategory="thing") for i, n in ((3, "ball"), (5, "tent"), (9, "sky"))]


def scene():
    """Image 1: a kept and a moved ball, a missed tent, the sky. Image 2: all kept. Image 3: nothing judged."""
    images = [
        dict(id=i, file_name=f"{i}.png", width=100, height=80, strategy="hard", source_image_id=7 + i)
        for i in (1, 2, 3)
    ]
    boxes = [
        (1, 3, [10, 10, 20, 20]),
        (1, 3, [60, 10, 20, 20]),
        (1, 5, [10, 50, 20, 20]),
        (1, 9, [0, 0, 100, 40]),
        (2, 3, [10, 10, 40, 40]),
        (3, 9, [0, 0, 100, 40]),
    ]
    annotations = [
        dict(id=k, image_id=i, category_id=c, bbox=b, area=b[2] * b[3], iscrowd=0, attribute="hard")
        for k, (i, c, b) in enumerate(boxes, 1)
    ]
    return dict(info={}, images=images, annotations=annotations, categories=CATEGORIES)


RESULTS = [
    (1, 3, [11, 11, 20, 20], 0.9),  # IoU .82 with object 1
    (1, 3, [70, 10, 20, 20], 0.6),  # IoU 1/3 with object 2
    (1, 5, [10, 50, 20, 20], 0.2),  # on the tent, but not confident
    (1, 3, [10, 50, 20, 20], 0.9),  # on the tent, but a ball: extra
    (2, 3, [10, 12, 40, 40], 0.8),
    (2, 3, [12, 10, 40, 40], 0.95),  # a second detection of the same ball: extra
]
