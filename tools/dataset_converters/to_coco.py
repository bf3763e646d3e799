"""Convert a labelled data set to COCO json files; its form is recognised by its files.

Known are COCO, Pascal VOC, YOLO, and the exports of Roboflow, CVAT and Label Studio. Writes
OUT/annotations/<split>.json (train, val and test, or all where the set has no splits) and puts the images under
OUT/images. Everything that cannot be used is left out, counted and listed; every file of the set is either converted
or counted.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/dataset_converters/to_coco.py my_export --out data/my_set
  python tools/dataset_converters/to_coco.py my_yolo/data.yaml --out data/my_set
  python tools/dataset_converters/to_coco.py labels.json --img-dir photos --out data/my_set --images copy
"""


def build_parser():
    from detdiffusion.apis import OutputOptions
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser, add_forms

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("source", metavar="SOURCE", help="folder of the set, or its COCO json or data.yaml")
    parser.add_argument(
        "--img-dir", metavar="DIR", help="folder of the images of COCO jsons (default: found beside them)"
    )
    add_options(parser, OutputOptions)
    add_image_options(parser)
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="classes to keep, in this order (default: all; not for YOLO)",
    )
    parser.add_argument(
        "--classes-like",
        metavar="JSON",
        help="number the classes as this COCO json does; classes that it does not have follow",
    )
    add_forms(parser)
    return parser


def main(args) -> None:
    from detdiffusion.apis import OutputOptions, write_and_report
    from detdiffusion.datasets.coco_json import read_coco
    from detdiffusion.datasets.formats.any_form import read_set
    from detdiffusion.datasets.formats.recognise import recognise
    from detdiffusion.utils.option_groups import build_options

    source = recognise(args.source, args.img_dir)
    print(f"{args.source}: {source}")
    converted = read_set(
        source,
        classes=args.classes,
        task=args.task,
        one_based=args.one_based,
        decode=not args.no_decode,
        without=args.out,
    )
    if args.classes_like:
        converted.put_classes_first(
            [category["name"] for category in read_coco(args.classes_like).categories]
        )
    write_and_report(converted, build_options(OutputOptions, args))


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
