"""Show a COCO-form set: sheets (png) of its images with boxes, attributes and masks."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/analysis_tools/browse_dataset.py data/my_coco/instances.json --out work_dirs/browse
  python tools/analysis_tools/browse_dataset.py data/coco/annotations/instances_val2017.json \\
      data/coco/annotations/stuff_val2017.json --img-dir data/coco/val2017 --out work_dirs/browse \\
      --attributes attributes.json --classes person dog --shuffle 0
  # a set of tools/generate.py carries its attributes with it
  python tools/analysis_tools/browse_dataset.py work_dirs/synthetic/hard/annotations.json --out work_dirs/browse
"""


def parse_args() -> argparse.Namespace:
    from detdiffusion.utils.cli import positive_int
    from detdiffusion.utils.image_rules import add_image_options

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ann_files", nargs="+", metavar="ANN.json", help="COCO annotations of one set")
    parser.add_argument("--img-dir", help="images (default: 'images' beside the first file or its folder)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the sheets")
    parser.add_argument(
        "--attributes", metavar="FILE", help="of tools/extract_attributes.py; colours the boxes"
    )
    parser.add_argument("--count", type=positive_int, default=24, help="images in all, default: %(default)s")
    parser.add_argument(
        "--per-sheet", type=positive_int, default=12, help="images a sheet, default: %(default)s"
    )
    parser.add_argument("--columns", type=positive_int, default=4, help="images a row, default: %(default)s")
    parser.add_argument(
        "--side", type=positive_int, default=320, help="longer side of an image, default: %(default)s pixels"
    )
    parser.add_argument("--no-masks", action="store_true", help="boxes only")
    parser.add_argument("--layouts-only", action="store_true", help="boxes on grey; no image is read")
    parser.add_argument("--ids", nargs="+", type=int, metavar="ID", help="these images")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="only objects of these classes")
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="images in a random order")
    add_image_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from detdiffusion.visualization.browse import browse_dataset

    browse_dataset(
        args.ann_files,
        args.out,
        img_dir=args.img_dir,
        attributes=args.attributes,
        count=args.count,
        per_sheet=args.per_sheet,
        columns=args.columns,
        side=args.side,
        masks=not args.no_masks and not args.layouts_only,
        layouts_only=args.layouts_only,
        image_ids=args.ids,
        classes=args.classes,
        seed=args.shuffle,
    )


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
