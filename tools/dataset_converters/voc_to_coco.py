"""Convert a Pascal VOC folder (Annotations/*.xml, JPEGImages, ImageSets/Main/*.txt) to COCO json files.

Sub-folders are read too, names in any case. Writes OUT/annotations/<split>.json and puts the images under OUT/images.
Boxes without area or outside their image, broken XML, images that are missing, cannot be read or have another size are
left out, counted and named; every file of VOC_FOLDER is in the output or in a count.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/dataset_converters/voc_to_coco.py BCCD_Dataset/BCCD --out data/bccd
  # the challenge's own files count pixels from 1
  python tools/dataset_converters/voc_to_coco.py VOCdevkit/VOC2007 --out data/voc2007 --one-based --splits trainval test
"""


def build_parser():
    from detdiffusion.apis import OutputOptions
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("root", metavar="VOC_FOLDER", help="holds Annotations, JPEGImages and ImageSets")
    add_options(parser, OutputOptions)
    add_image_options(parser)
    parser.add_argument(
        "--annotations", default="Annotations", help="folder of the XML files, default: %(default)s"
    )
    parser.add_argument(
        "--image-folder", default="JPEGImages", help="folder of the images, default: %(default)s"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        metavar="NAME",
        help="lists in ImageSets/Main (default: train, val, trainval, test)",
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="classes to keep (default: all, by alphabet)"
    )
    parser.add_argument(
        "--difficult",
        choices=["crowd", "keep", "drop"],
        default="crowd",
        help="objects marked difficult become crowd regions, which an evaluation ignores (default), objects, nothing",
    )
    parser.add_argument(
        "--one-based", action="store_true", help="coordinates count from 1, both ends included"
    )
    return parser


def main(args) -> None:
    from detdiffusion.apis import OutputOptions, write_and_report
    from detdiffusion.datasets.formats.voc import read_voc
    from detdiffusion.utils.option_groups import build_options

    converted = read_voc(
        args.root,
        annotations=args.annotations,
        images=args.image_folder,
        splits=args.splits,
        classes=args.classes,
        difficult=args.difficult,
        one_based=args.one_based,
        decode=not args.no_decode,
        without=args.out,
    )
    write_and_report(converted, build_options(OutputOptions, args))


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
