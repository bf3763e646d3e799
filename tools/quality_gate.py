"""Let a detector re-read a synthetic set: which objects are kept, moved, missed, and what is there unasked.

Prints the counts and writes new annotations (OUT.json) and a report (OUT.report.json); the set itself stays as it
is. Without rules nothing is changed but the fields quality, detection_score and detection_iou that are added.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  # only count
  python tools/quality_gate.py work_dirs/synthetic/hard --detector CONFIG WEIGHTS \\
      --out work_dirs/synthetic/hard/annotations_judged.json
  # leave out images with less than half of their objects, ignore the missed ones, refine confident boxes
  python tools/quality_gate.py work_dirs/synthetic/hard --predictions results.json \\
      --min-found 0.5 --missed ignore --refine 1.0 --out work_dirs/synthetic/hard/annotations_gated.json
  # a detector is then trained on synthetic=[dict(data_root='work_dirs/synthetic/hard',
  #                                               ann_file='annotations_gated.json')]
"""


def build_parser():
    from detdiffusion import apis
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("folder", metavar="SET", help="folder of tools/generate.py")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="the new annotations (json); the report and the predictions go beside it, under its name with "
        ".report.json and .predictions",
    )
    add_options(parser.add_argument_group("rules (default: none)"), apis.GateRules)
    add_options(parser.add_argument_group("thresholds"), apis.GateThresholds)
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
    )


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
