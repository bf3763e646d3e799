"""Let a detector re-read a synthetic set: which objects are kept, moved, missed, and what is there unasked.

Prints the counts and writes new annotations (OUT.json) and a report (OUT.report.json); the set itself stays as it
is. Without rules nothing is changed but the fields quality, detection_score and detection_iou that are added.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  # only count
  python tools/quality_gate.py work_dirs/synthetic/hard --detector CONFIG CHECKPOINT \\
      --out work_dirs/synthetic/hard/annotations_judged.json
  # leave out images with less than half of their objects, ignore the missed ones, refine confident boxes
  python tools/quality_gate.py work_dirs/synthetic/hard --predictions results.json \\
      --min-found 0.5 --missed ignore --refine 1.0 --out work_dirs/synthetic/hard/annotations_gated.json
  # a detector is then trained on synthetic=[dict(data_root='work_dirs/synthetic/hard',
  #                                               ann_file='annotations_gated.json')]
"""


def parse_args() -> argparse.Namespace:
    from detdiffusion.utils.image_rules import add_image_options

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="SET", help="folder of tools/generate.py")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--detector", nargs=2, metavar=("CONFIG", "CHECKPOINT"), help="an mmdet detector, or an .onnx file"
    )
    source.add_argument("--predictions", metavar="results.json", help="or a detector's COCO results")
    parser.add_argument(
        "--detector-classes",
        nargs="+",
        metavar="NAME",
        help="with --predictions: names that the detector knows",
    )
    parser.add_argument("--out", required=True, metavar="OUT.json", help="the new annotations")
    rules = parser.add_argument_group("rules (default: none)")
    rules.add_argument(
        "--min-found",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="drop images with a smaller share of found objects",
    )
    rules.add_argument("--missed", choices=["keep", "ignore", "drop"], default="keep", help="missed objects")
    rules.add_argument("--moved", choices=["keep", "ignore", "drop"], default="keep", help="moved objects")
    rules.add_argument(
        "--extra",
        choices=["keep", "ignore"],
        default="keep",
        help="ignore: extra detections become ignored regions",
    )
    rules.add_argument(
        "--refine",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="boxes go this far to their detection, 0 to 1",
    )
    rules.add_argument(
        "--refine-score", type=float, default=0.7, help="of detections above this score, default: %(default)s"
    )
    thresholds = parser.add_argument_group("thresholds")
    thresholds.add_argument("--score-thr", type=float, default=0.3, help="default: %(default)s")
    thresholds.add_argument("--iou-thr", type=float, default=0.5, help="kept above, default: %(default)s")
    thresholds.add_argument("--moved-iou", type=float, default=0.1, help="moved from, default: %(default)s")
    running = parser.add_argument_group("the detector")
    running.add_argument("--batch-size", type=int, help="default: the config's")
    running.add_argument("--device", help="default: cuda where available, else cpu")
    running.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="overrides of the config")
    add_image_options(parser)
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())

    from detdiffusion.apis.quality_gate import run_quality_gate
    from detdiffusion.generation.quality_gate import GateRules

    names = ("min_found", "missed", "moved", "extra", "refine", "refine_score")
    rules = GateRules(**{name: args.pop(name) for name in names})
    config, checkpoint = args.pop("detector") or (None, None)
    run_quality_gate(**args, config=config, checkpoint=checkpoint, rules=rules)


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
