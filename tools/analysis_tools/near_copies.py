"""Report how many images of synthetic sets are near copies of training images.

For each image the nearest training image is found by its pixels (mirrored ones count) and, with --detector, by the
detector's features. A near copy is nearer than most training images are to each other. Writes near_copies.json and, for
each set, a picture of its nearest pairs: generated above, training image below.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/analysis_tools/near_copies.py --ann data/my_coco/instances.json --img-dir data/my_coco/images \\
      --synthetic hard=work_dirs/synthetic/hard --out work_dirs/near_copies
  python tools/analysis_tools/near_copies.py --ann data/my_coco/instances.json \\
      --synthetic hard=work_dirs/synthetic/hard edited=work_dirs/synthetic/edited \\
      --detector CONFIG WEIGHTS --out work_dirs/near_copies
"""


def build_parser():
    from detdiffusion import apis
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser, add_sets

    parser = ToolParser(__doc__, EXAMPLES)
    add_options(parser.add_argument_group("the training images, one file"), apis.AnnotatedImages)
    add_sets(parser, "sets written by tools/generate.py (default name: the folder's)")
    add_options(parser, apis.ResultFolder)
    add_options(parser.add_argument_group("near copies"), apis.CopyOptions)
    add_image_options(parser)
    return parser


def main(args) -> None:
    from detdiffusion import apis
    from detdiffusion.utils.option_groups import build_options
    from detdiffusion.utils.tool_parser import named_sets

    apis.report_near_copies(
        build_options(apis.AnnotatedImages, args),
        named_sets(args.synthetic),
        build_options(apis.ResultFolder, args),
        build_options(apis.CopyOptions, args),
    )


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
