"""Convert a YOLO set (data.yaml, or folders of images and label files) to COCO json files.

Sub-folders are read too, names in any case. Writes OUT/annotations/<split>.json and puts the images under OUT/images.
Lines with wrong columns or values outside [0, 1], and images that cannot be read, are left out, counted and named;
every file of the set is in the output or in a count. A class number without a name, and lines that may be one thing or
another (see --task), are errors.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/dataset_converters/yolo_to_coco.py my_set/data.yaml --out data/my_set
  python tools/dataset_converters/yolo_to_coco.py --image-folder my_set/images --label-folder my_set/labels \\
      --names my_set/classes.txt --out data/my_set
"""


def build_parser():
    from detdiffusion.apis import OutputOptions
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("data", nargs="?", metavar="DATA.yaml", help="Ultralytics' description of the set")
    parser.add_argument("--image-folder", help="in place of DATA.yaml: the images; one split, 'all'")
    parser.add_argument("--label-folder", help="with --image-folder: the label files")
    parser.add_argument("--names", metavar="FILE", help="with --image-folder: class names, one a line")
    parser.add_argument(
        "--task",
        choices=["auto", "detect", "segment", "pose"],
        default="auto",
        help="what lines of more than five columns are: boxes with more behind them, polygons (oriented boxes too), "
        "boxes with key points; default: by kpt_shape of DATA.yaml, else polygons where nothing speaks against it",
    )
    add_options(parser, OutputOptions)
    add_image_options(parser)
    return parser


def main(args) -> None:
    from detdiffusion.apis import OutputOptions, write_and_report
    from detdiffusion.datasets.formats.yolo import read_yolo
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.option_groups import build_options

    folders = (args.image_folder, args.label_folder, args.names)
    if bool(args.data) == any(folders) or (any(folders) and not all(folders)):
        raise UserError("give DATA.yaml, or --image-folder, --label-folder and --names together")

    converted = read_yolo(
        args.data,
        images=args.image_folder,
        labels=args.label_folder,
        names=args.names,
        task=args.task,
        decode=not args.no_decode,
        without=args.out,
    )
    write_and_report(converted, build_options(OutputOptions, args))


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
