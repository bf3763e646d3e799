"""CPU time of Eq. 2 at COCO's size: 100,000 images, 860,000 boxes, 10 predictions an image, one core.

OMP_NUM_THREADS=1 python benchmarks/attribute_matching.py
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--boxes", type=int, default=860_000)
    parser.add_argument("--predictions", type=int, default=10, help="an image")
    parser.add_argument("--class-aware", action="store_true")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    args = parser.parse_args()

    import numpy as np

    from detdiffusion.datasets.coco_json import read_coco
    from detdiffusion.perception import perception_attributes, read_results

    rng = np.random.default_rng(0)

    def boxes(count: int) -> list:
        return np.round(np.c_[rng.uniform(0, 400, (count, 2)), rng.uniform(10, 200, (count, 2))], 2).tolist()

    total = args.images * args.predictions
    coco = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 640} for i in range(args.images)
        ],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for k, (i, c, b) in enumerate(
                zip(
                    rng.integers(0, args.images, args.boxes).tolist(),
                    rng.integers(1, 81, args.boxes).tolist(),
                    boxes(args.boxes),
                )
            )
        ],
        "categories": [{"id": c, "name": f"class {c}"} for c in range(1, 81)],
    }
    results = [
        {"image_id": k // args.predictions, "category_id": c, "bbox": b, "score": s}
        for k, (c, b, s) in enumerate(
            zip(rng.integers(1, 81, total).tolist(), boxes(total), rng.uniform(size=total).tolist())
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("ann", coco), ("results", results)):
            (Path(folder) / f"{name}.json").write_text(json.dumps(data))
        del coco, results
        times = [time.process_time()]
        file = read_coco(Path(folder) / "ann.json")
        times.append(time.process_time())
        found = read_results(
            Path(folder) / "results.json",
            {i["id"]: i for i in file.images},
            {c["id"] for c in file.categories},
        )
        times.append(time.process_time())
        result = perception_attributes(
            file.annotations, found, {c["id"] for c in file.categories}, class_aware=args.class_aware
        )
        times.append(time.process_time())
    read_ann, read_pred, match = np.diff(times)
    print(
        f"{len(file.images)} images, {len(file.annotations)} boxes, {len(found)} predictions: {result.counts}"
    )
    print(
        f"annotations read and checked {read_ann:.1f} s, predictions {read_pred:.1f} s, matched {match:.1f} s"
    )
    if args.json:
        record = dict(
            command="python " + " ".join(sys.argv),
            date=time.strftime("%Y-%m-%d"),
            processor_seconds=dict(annotations=read_ann, predictions=read_pred, matching=match),
            counts=dict(images=len(file.images), boxes=len(file.annotations), predictions=len(found)),
        )
        Path(args.json).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
