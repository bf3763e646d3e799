"""Score generated images: AP of the prompted objects beside the same on real images, FID, consistency."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/evaluate_fidelity.py --detector CONFIG WEIGHTS \\
      --ann data/miniscenes/val/instances.json --img-dir data/miniscenes/val/images \\
      --synthetic easy=work_dirs/easy hard=work_dirs/hard --out work_dirs/score
  # FID by the paper's protocol and a modern one, Inception weights from a file
  python tools/evaluate_fidelity.py ... --fid lama_tf modern --extractor-weights pt_inception-2015-12-05-6726825d.pth
  # Fréchet and kernel distances on a detector's features
  python tools/evaluate_fidelity.py ... --fid configs/fid/faster-rcnn_coco.py
  # distances of real images from real images, as a bound at equal numbers
  python tools/evaluate_fidelity.py ... --real-reference data/miniscenes/train/instances.json \\
      data/miniscenes/train/images
  torchrun --nproc_per_node 4 tools/evaluate_fidelity.py ...    # shared out, the same figures

Prints a table and writes OUT/fidelity.json, OUT/consistency.json, .md and .html. With sets named easy and hard it
adds the paired bootstrap of easy - hard and the attribute effect.
"""


def build_parser():
    from detdiffusion import apis
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser, add_sets

    parser = ToolParser(__doc__, EXAMPLES)
    add_options(parser, apis.DetectorOptions)
    add_options(parser.add_argument_group("the real images, one file"), apis.AnnotatedImages)
    add_sets(parser, "sets written by tools/generate.py (default name: the folder's)")
    add_options(parser, apis.ResultFolder)
    parser.add_argument(
        "--dataset", metavar="NAME", help="the data set's name in tables (default: the file's)"
    )
    for group in (apis.FidOptions, apis.FoundRule, apis.BootstrapOptions):
        add_options(parser, group)
    add_image_options(parser)
    parser.renamed("--real", "--ann")
    parser.renamed("--real-images", "--img-dir")
    return parser


def main(args) -> None:
    from detdiffusion import apis
    from detdiffusion.utils.option_groups import build_options
    from detdiffusion.utils.tool_parser import named_sets
    from detdiffusion.visualization.reports.fidelity import print_result, write_reports

    result = apis.evaluate_fidelity(
        build_options(apis.DetectorOptions, args),
        build_options(apis.AnnotatedImages, args),
        named_sets(args.synthetic),
        build_options(apis.ResultFolder, args),
        build_options(apis.FidOptions, args),
        build_options(apis.FoundRule, args),
        build_options(apis.BootstrapOptions, args),
        dataset=args.dataset,
    )
    if result is None:  # not the first process
        return
    written = write_reports(result, args.out)
    print_result(result)
    print(f"written: {', '.join(map(str, (Path(args.out) / 'fidelity.json', *written)))}")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
