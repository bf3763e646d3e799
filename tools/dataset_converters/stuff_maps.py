"""Write the stuff json of a data set whose stuff comes as pixel maps (one PNG an image)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/dataset_converters/stuff_maps.py data/coco/annotations/stuff_val2017_pixelmaps \\
      --instances data/coco/annotations/instances_val2017.json --out data/coco/annotations/stuff_val2017.json
  python tools/dataset_converters/stuff_maps.py data/coco/stuffthingmaps/val2017 --offset 1 --workers 8 \\
      --instances data/coco/annotations/instances_val2017.json --out data/coco/annotations/stuff_val2017.json
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("maps", help="folder of PNG files with the images' names")
    parser.add_argument("--instances", required=True, help="COCO json of the same images")
    parser.add_argument("--out", required=True, metavar="FILE", help="the stuff json to write")
    parser.add_argument(
        "--categories", help="json with the stuff categories (default: COCO-Stuff's 91, ids 92-182)"
    )
    parser.add_argument(
        "--offset",
        type=int,
        default=0,
        help="category id minus pixel value: 0 for COCO's stuff_*_pixelmaps (default), 1 for stuffthingmaps",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    return parser


def main(args) -> None:
    from detdiffusion.datasets.formats.stuff_maps import convert_stuff_maps
    from detdiffusion.utils.progress import Progress

    with Progress("converting") as bar:
        counts = convert_stuff_maps(
            args.maps,
            args.instances,
            args.out,
            args.categories,
            args.offset,
            args.workers,
            bar.advance,
        )
    print(f"{args.out}: " + ", ".join(f"{name}: {count}" for name, count in counts.items()))


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
