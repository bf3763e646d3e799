"""Find the cheapest sampling plan of a generator: AP, Fréchet distance and seconds against network evaluations.

Every plan generates images of the same layouts from the same noise; a detector scores them, and a paired bootstrap over
the layouts compares each plan with that of the paper. Writes OUT/sampler_sweep.json and .png, OUT/fidelity.json and the
sets. Run the same command again to resume.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/analysis_tools/sampler_sweep.py configs/detdiffusion_miniscenes.py \\
      work_dirs/demo/generator/iter_400.pth \\
      --detector configs/detectors/atss_miniscenes.py work_dirs/demo/detector/iter_450.pth \\
      --ann work_dirs/demo/data/val/instances.json --ann work_dirs/demo/data/val/stuff.json \\
      --img-dir work_dirs/demo/data/val/images --attributes work_dirs/demo/attributes/val.json \\
      --batch-size 50 --out work_dirs/sampler_sweep
  # plans of your own, beside that of the paper
  python tools/analysis_tools/sampler_sweep.py CONFIG CHECKPOINT --detector CONFIG WEIGHTS --split val --out DIR \\
      --plans fast steps=20 steps=15,guidance_interval=0.2:0.8 fast,schedule=ays,guidance_rescale=0.7
"""


def build_parser():
    from detdiffusion import apis
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    for group in (apis.GeneratorOptions, apis.LayoutOptions, apis.SweepOptions, apis.ResultFolder):
        add_options(parser, group)
    return parser


def main(args) -> None:
    from detdiffusion import apis
    from detdiffusion.utils.option_groups import build_options
    from detdiffusion.visualization.reports.sampler_sweep import plot_sweep, print_sweep

    groups = (apis.GeneratorOptions, apis.LayoutOptions, apis.SweepOptions, apis.ResultFolder)
    result = apis.sweep_sampling(*(build_options(group, args) for group in groups))
    figure = Path(args.out) / "sampler_sweep.png"
    plot_sweep(result, figure)
    print_sweep(result)
    print(f"written: {figure.with_suffix('.json')}, {figure}")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
