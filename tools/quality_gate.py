"""Check a synthetic set with a detector: count objects that are kept, moved, missed or extra, and filter them.

Prints the counts and writes new annotations (OUT.json) and a report (OUT.report.json); the set itself is not modified.
Without rules, the annotations only get the additional fields quality, detection_score and detection_iou.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  # only count
  python tools/quality_gate.py work_dirs/synthetic/hard --detector CONFIG WEIGHTS \\
      --out work_dirs/synthetic/hard/annotations_judged.json
  # drop images with less than half of their objects, ignore missed objects, refine boxes by confident detections
  python tools/quality_gate.py work_dirs/synthetic/hard --predictions results.json \\
      --min-found 0.5 --missed ignore --refine 1.0 --out work_dirs/synthetic/hard/annotations_gated.json
  # ignore classes and objects that the detector finds much worse than in real images; of 4 samples keep the best
  python tools/quality_gate.py work_dirs/synthetic/hard --detector CONFIG WEIGHTS --real-ann data/val.json \\
      --min-class-ap 0.5 --max-loss 3 --best-samples 1 --out work_dirs/synthetic/hard/annotations_gated.json
  # then train a detector with synthetic=[dict(data_root='work_dirs/synthetic/hard',
  #                                            ann_file='annotations_gated.json')]
"""


def build_parser():
    from detdiffusion import apis
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("folder", metavar="SET", help="folder of a set written by tools/generate.py")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="file for the new annotations (json); the report and the predictions are written under the same name with "
        "suffix .report.json and .predictions",
    )
    add_options(parser.add_argument_group("rules (default: none)"), apis.GateRules)
    add_options(parser.add_argument_group("thresholds"), apis.GateThresholds)
    add_options(
        parser.add_argument_group("real images for --min-class-ap and --max-loss"), apis.GateReference
    )
    add_options(parser.add_argument_group("the detector, or its results"), apis.PredictionOptions)
    add_image_options(parser)
    return parser


def main(args) -> None:
    from detdiffusion import apis
    from detdiffusion.utils.option_groups import build_options

    apis.run_quality_gate(
        args.folder,
        args.out,
        build_options(apis.PredictionOptions, args),
        build_options(apis.GateRules, args),
        build_options(apis.GateThresholds, args),
        build_options(apis.GateReference, args),
    )


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
