"""Count the paper's trainability subset (COCO images with 3 to 8 objects) in the six ways it can be read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/analysis_tools/trainability_subset.py data/coco/annotations/instances_train2017.json \\
      --stuff data/coco/annotations/stuff_train2017.json

The first line of the table is what tools/generate.py --split trainability draws by the COCO configs.
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("instances", metavar="INSTANCES.json", help="COCO annotations of the things")
    parser.add_argument("--stuff", metavar="STUFF.json", help="COCO annotations of the stuff")
    return parser


def main(args) -> None:
    from detdiffusion.datasets.trainability_subset import count_readings, format_readings

    readings, files = count_readings(args.instances, args.stuff)
    for file in files:
        print(file.summary())
    if args.stuff is None:
        print("without --stuff: the three readings in which stuff counts are left out")
    print("\n" + format_readings(readings))


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
