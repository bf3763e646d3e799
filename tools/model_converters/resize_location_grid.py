"""Write a layout checkpoint with a finer or coarser grid of location tokens, to train on from there."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/model_converters/resize_location_grid.py zoo://miniscenes_layout models/layout_64 --bins 64 64
  python tools/train.py configs/zoo/layout_miniscenes.py --cfg-options model.layout_tokenizer.bins=[64,64] ...
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("source", help="folder that to_diffusers.py wrote, or zoo://NAME")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--bins", type=int, nargs=2, required=True, metavar=("ROWS", "COLUMNS"))
    return parser


def main(args) -> None:
    from detdiffusion.models.editors.converters.location_grid import resize_location_grid

    print(f"{args.out}: {resize_location_grid(args.source, args.out, tuple(args.bins))} location tokens")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
