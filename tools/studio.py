"""Serve a local page to draw layouts on and to see their images, easy and hard side by side, with a detector's boxes.

Boxes are drawn by mouse or keyboard, or opened from COCO annotations. Images of all attributes start from the same
noise. They can be saved to a COCO set (DIR) or as PNG files that carry their recipe. The page loads nothing from
elsewhere and listens on this machine only unless --host says otherwise.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/studio.py configs/detdiffusion_miniscenes.py work_dirs/demo/generator/iter_400.pth \\
      --detector configs/detectors/atss_miniscenes.py work_dirs/demo/detector/iter_450.pth \\
      --ann work_dirs/demo/data/val/instances.json --ann work_dirs/demo/data/val/stuff.json
  # the zoo's model, which was trained without attributes
  python tools/studio.py configs/geodiffusion_miniscenes.py none --port 0
  # layouts open with their own attributes; images are saved to another folder
  python tools/studio.py CONFIG CHECKPOINT --ann instances.json --attributes attributes.json --out work_dirs/drawn
  # for other machines of the network; there is no password
  python tools/studio.py CONFIG CHECKPOINT --host 0.0.0.0
"""


def build_parser():
    from detdiffusion.generation.options import GeneratorOptions
    from detdiffusion.studio import StudioOptions
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    add_options(parser, GeneratorOptions)
    add_options(parser.add_argument_group("page"), StudioOptions)
    return parser


def main(args) -> None:
    from detdiffusion.generation.options import GeneratorOptions
    from detdiffusion.studio import StudioOptions, serve
    from detdiffusion.utils.option_groups import build_options

    serve(build_options(GeneratorOptions, args), build_options(StudioOptions, args))


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
