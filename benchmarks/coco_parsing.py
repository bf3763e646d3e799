"""Measure reading and filtering COCO-Thing-Stuff at train2017's size, with and without the index.

    OMP_NUM_THREADS=1 python benchmarks/coco_parsing.py --json benchmarks/results/coco_parsing.json

Two json files are synthesised: 118,287 images, 860,001 instances with polygons, 749,000 stuff regions with compressed
run lengths, with about as many bytes per annotation as the real files. Each run is a fresh process: `full` parses
the files with `json.loads` (for comparison), `cold` creates the index, `cached` reads it.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
IMAGES, INSTANCES, STUFF = 118_287, 860_001, 749_000


def write_files(folder: Path, scale: float) -> list[Path]:
    """Write instances and stuff json with the real files' counts times ``scale``."""
    rng = random.Random(0)
    masks = [_run_lengths(rng) for _ in range(2000)]
    counts = [max(1, round(n * scale)) for n in (IMAGES, INSTANCES, STUFF)]
    images = [
        dict(
            id=i,
            file_name=f"{i:012d}.jpg",
            width=640,
            height=480,
            license=1,
            date_captured="2013-11-14 17:02:52",
        )
        for i in range(1, counts[0] + 1)
    ]
    head = '{"info": {"year": 2017}, "licenses": [], "images": ' + json.dumps(images)
    paths = []
    for name, count, first, classes in (
        ("instances", counts[1], 1, range(1, 81)),
        ("stuff", counts[2], 10_000_000, range(92, 184)),
    ):
        categories = [
            dict(id=c, name="other" if c == 183 else f"{name} {c}", supercategory="x") for c in classes
        ]
        path = folder / f"{name}_train2017.json"
        with path.open("w") as file:
            file.write(head + ', "annotations": [')
            for i in range(count):
                file.write(", " if i else "")
                mask = rng.choice(masks) if name == "stuff" else None
                image, category = rng.randrange(1, counts[0] + 1), rng.choice(classes)
                file.write(_annotation(rng, first + i, image, category, mask))
            file.write('], "categories": ' + json.dumps(categories) + "}")
        paths.append(path)
    return paths


def _run_lengths(rng: random.Random) -> str:
    """Return a compressed RLE of 480 x 640 pixels, as long as typical ones of the real stuff file."""
    from pycocotools import mask as mask_utils

    runs = [rng.randrange(1, 60) for _ in range(int(rng.lognormvariate(5.6, 0.8)))]
    while sum(runs) >= 480 * 640:
        runs.pop()
    runs.append(480 * 640 - sum(runs))
    return mask_utils.frPyObjects(dict(counts=runs, size=[480, 640]), 480, 640)["counts"].decode()


def _annotation(rng: random.Random, number: int, image: int, category: int, mask: str | None) -> str:
    w, h = 640 * rng.random() ** 2 + 2, 480 * rng.random() ** 2 + 2
    x, y = (640 - min(w, 640)) * rng.random(), (480 - min(h, 480)) * rng.random()
    if mask is not None:
        segmentation = json.dumps(dict(counts=mask, size=[480, 640]))
    else:
        points = [
            (round(x + w * rng.random(), 2), round(y + h * rng.random(), 2))
            for _ in range(max(3, int(rng.lognormvariate(3.0, 0.7))))
        ]
        segmentation = f"[[{', '.join(f'{px}, {py}' for px, py in points)}]]"
    return (
        f'{{"segmentation": {segmentation}, "area": {w * h * 0.6:.4f}, "iscrowd": {int(rng.random() < 0.01)}, '
        f'"image_id": {image}, "bbox": [{x:.2f}, {y:.2f}, {w:.2f}, {h:.2f}], "category_id": {category}, '
        f'"id": {number}}}'
    )


def start(paths: list[str], way: str) -> dict:
    """Measure one run in this process."""
    from detdiffusion.datasets import LayoutCocoDataset

    before = time.perf_counter(), time.process_time()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == "full":
        kept = [json.loads(Path(path).read_text()) for path in paths]
        result = {"annotations": sum(len(data["annotations"]) for data in kept)}
    else:
        data = LayoutCocoDataset(paths, str(Path(paths[0]).parent))
        result = {"report": dict(data.report), "first": data.layouts[0].file_name}
    return dict(
        seconds=round(time.perf_counter() - before[0], 1),
        cpu_seconds=round(time.process_time() - before[1], 1),
        peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        imports_gb=round(base / 1e6, 2),
        **result,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: python benchmarks/coco_parsing.py --scale 0.1"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of train2017's counts (default 1)")
    parser.add_argument("--ways", nargs="+", default=["cold", "cached"], choices=["full", "cold", "cached"])
    parser.add_argument("--json", help="also write the results to this file")
    parser.add_argument("--start", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.start:
        print(json.dumps(start(args.start[1:], args.start[0])))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder), args.scale)
        sizes = [path.stat().st_size for path in paths]
        print(f"files: {', '.join(f'{s / 1e6:.0f} MB' for s in sizes)}")
        results = {}
        for way in args.ways:
            command = [sys.executable, __file__, "--start", way, *map(str, paths)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[way] = json.loads(output.splitlines()[-1])
            print(f"{way:7}", results[way])
        index = list(Path(folder).glob(".layout_index/*.npz"))
        extra = dict(
            index_mb=[round(p.stat().st_size / 1e6, 1) for p in index], files_mb=[s // 10**6 for s in sizes]
        )
    if args.json:
        record = dict(
            date=time.strftime("%Y-%m-%d"),
            command=f"python benchmarks/coco_parsing.py --scale {args.scale:g}",
            note="processor seconds are the figure where other work ran on the machine",
            load_average=round(os.getloadavg()[0], 1),
            machine=f"{platform.machine()}, one core used, Python {platform.python_version()}",
            **extra,
            results=results,
        )
        Path(args.json).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
