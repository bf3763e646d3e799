"""Write the embedded MiniScenes data set as COCO json files and PNG images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/dataset_converters/miniscenes.py --out data/miniscenes --split detector=2000 train=2000 val=400
  python tools/dataset_converters/miniscenes.py --out data/miniscenes256 --split train=500 --size 256 --seed 1
  python tools/dataset_converters/miniscenes.py --out data/dusk --split train=100 val=300 --look dusk
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="folder of the data set")
    parser.add_argument(
        "--split", nargs="+", required=True, metavar="NAME=COUNT", help="splits and their image counts"
    )
    parser.add_argument(
        "--size", type=int, default=64, help="side of the square images in pixels (default 64)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the data set (default 0)")
    parser.add_argument(
        "--look",
        default="classic",
        metavar="NAME",
        help="colours, light and camera: classic (default), random (another look each image: what the zoo is "
        "trained on), or one that the zoo never saw: swapped, dusk, xray, blueprint",
    )
    args = parser.parse_args()
    try:
        args.split = {name: int(count) for name, count in (item.split("=") for item in args.split)}
    except ValueError:
        parser.error(f"--split takes NAME=COUNT, for example train=2000; got {' '.join(args.split)}")
    return args


def main() -> None:
    args = parse_args()
    import json
    from functools import partial

    from detdiffusion.datasets.miniscenes import write_miniscenes
    from detdiffusion.utils.progress import Progress

    options = dict(size=args.size, seed=args.seed, look=args.look)
    for split, count in args.split.items():
        with Progress(split, total=count) as bar:
            folder = write_miniscenes(args.out, split, count, **options, progress=partial(bar, total=count))
        counts = {
            name: len(json.loads((Path(folder) / f"{name}.json").read_text())["annotations"])
            for name in ("instances", "stuff")
        }
        print(f"{folder}: {count} images, {counts['instances']} instances, {counts['stuff']} stuff regions")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
