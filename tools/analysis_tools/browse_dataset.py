"""Show a COCO-form set: sheets (png) of its images with boxes, attributes and masks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/analysis_tools/browse_dataset.py --ann data/my_coco/instances.json --out work_dirs/browse
  python tools/analysis_tools/browse_dataset.py --ann data/coco/annotations/instances_val2017.json \\
      --ann data/coco/annotations/stuff_val2017.json --img-dir data/coco/val2017 --out work_dirs/browse \\
      --attributes attributes.json --classes person dog --shuffle 0
  # a set of tools/generate.py carries its attributes with it
  python tools/analysis_tools/browse_dataset.py --ann work_dirs/synthetic/hard/annotations.json --out work_dirs/browse
"""


def build_parser():
    from detdiffusion import apis
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    add_options(parser, apis.AnnotatedImages)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the sheets")
    add_options(parser, apis.ShownImages)
    add_options(parser, apis.SheetOptions)
    add_image_options(parser)
    parser.moved("--ann")
    parser.renamed("--ids", "--image-ids")
    return parser


def main(args) -> None:
    from detdiffusion import apis
    from detdiffusion.utils.option_groups import build_options

    apis.browse_dataset(
        build_options(apis.AnnotatedImages, args),
        args.out,
        build_options(apis.ShownImages, args),
        build_options(apis.SheetOptions, args),
    )


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
