"""Write a trained generator, or autoencoder, as a folder that plain diffusers loads."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/model_converters/to_diffusers.py configs/detdiffusion_miniscenes.py work_dirs/gen/iter_400.pth exported
  python tools/model_converters/to_diffusers.py CONFIG CHECKPOINT exported --dtype fp16
"""


def build_parser():
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.shared_options import ConfigOptions
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("config", help="the config that it was trained with")
    parser.add_argument("checkpoint", help="mmengine checkpoint; EMA weights are taken where it has them")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--dtype", choices=["fp32", "fp16", "bf16"], default="fp32", help="weights on disk")
    add_options(parser, ConfigOptions)
    return parser


def main(args) -> None:
    from detdiffusion.models.editors.converters.diffusers_folder import export_diffusers

    written = export_diffusers(args.config, args.checkpoint, args.out, args.dtype, args.cfg_options)
    print(f"{args.out}: " + ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in written.items()))


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
