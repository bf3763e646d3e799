"""Export a trained generator or autoencoder as a folder that diffusers can load.

A generator's folder also has a pipeline that takes boxes, names and attributes, and a model card.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/model_converters/to_diffusers.py configs/detdiffusion_miniscenes.py work_dirs/gen/iter_400.pth exported
  python tools/model_converters/to_diffusers.py CONFIG CHECKPOINT exported --dtype fp16
  python tools/model_converters/to_diffusers.py CONFIG CHECKPOINT exported --license apache-2.0 --results fidelity.json
"""


def build_parser():
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.shared_options import ConfigOptions
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("config", help="config that the model was trained with")
    parser.add_argument("checkpoint", help="mmengine checkpoint; its EMA weights are used if it has any")
    parser.add_argument("out", help="folder to write")
    parser.add_argument(
        "--dtype", choices=["fp32", "fp16", "bf16"], default="fp32", help="dtype of the saved weights"
    )
    parser.add_argument(
        "--license", metavar="ID", help="licence of the weights, for the model card, e.g. apache-2.0"
    )
    parser.add_argument(
        "--results",
        nargs="+",
        default=[],
        metavar="FILE",
        help="result files with figures of this model, for the model card (evaluate_fidelity.py writes them)",
    )
    add_options(parser, ConfigOptions)
    return parser


def main(args) -> None:
    from detdiffusion.evaluation.results import read_result_file
    from detdiffusion.models.editors.converters.diffusers_folder import export_diffusers

    results = [row for file in args.results for row in read_result_file(file)]
    written = export_diffusers(
        args.config, args.checkpoint, args.out, args.dtype, args.cfg_options, args.license, results
    )
    print(f"{args.out}: " + ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in written.items()))


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
