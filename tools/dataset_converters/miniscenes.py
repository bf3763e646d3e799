"""Write the embedded MiniScenes data set as COCO json files and PNG images."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/dataset_converters/miniscenes.py --out data/miniscenes --counts detector=2000 train=2000 val=400
  python tools/dataset_converters/miniscenes.py --out data/miniscenes256 --counts train=500 --size 256 --seed 1
  python tools/dataset_converters/miniscenes.py --out data/dusk --counts train=100 val=300 --look dusk
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--counts", nargs="+", required=True, metavar="NAME=COUNT", help="splits and their image counts"
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
    parser.renamed("--split", "--counts")
    return parser


def main(args) -> None:
    import json
    from functools import partial

    from detdiffusion.datasets.miniscenes import write_miniscenes
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.progress import Progress

    try:
        counts = {name: int(count) for name, count in (item.split("=") for item in args.counts)}
    except ValueError:
        raise UserError(
            f"--counts takes NAME=COUNT, for example train=2000; got {' '.join(args.counts)}"
        ) from None
    options = dict(size=args.size, seed=args.seed, look=args.look)
    for split, count in counts.items():
        with Progress(split, total=count) as bar:
            folder = write_miniscenes(args.out, split, count, **options, progress=partial(bar, total=count))
        found = {
            name: len(json.loads((Path(folder) / f"{name}.json").read_text())["annotations"])
            for name in ("instances", "stuff")
        }
        print(f"{folder}: {count} images, {found['instances']} instances, {found['stuff']} stuff regions")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
