"""Perception-aware attributes of a labelled set: easy where a detector finds the object, else hard (Eq. 2).

An object is easy if any prediction with a score above --score-thr overlaps its box with an IoU above --iou-thr,
hard if none does, and background if the detector has no name for its class. Writes
{"info": {...}, "attributes": {"<annotation id>": "easy" | "hard" | "background"}}
and, under the same name, a .png with the share of easy objects by size and by class.

A detector is an mmdet config with its checkpoint, or a config of configs/onnx with an .onnx file. Its predictions are
kept beside --out, so a run that was stopped continues, and other thresholds take seconds.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  # an mmdet detector; things it can name become easy or hard, stuff becomes background
  python tools/extract_attributes.py --detector configs/detectors/faster-rcnn_miniscenes.py work_dirs/det/epoch_4.pth \\
      --ann data/miniscenes/train/instances.json --ann data/miniscenes/train/stuff.json \\
      --img-dir data/miniscenes/train/images --out work_dirs/attributes.json
  # an ONNX detector (pip install onnxruntime), matched by class
  python tools/extract_attributes.py --detector configs/onnx/yolox_nano_coco.py yolox_nano.onnx --class-aware \\
      --ann instances.json --img-dir images --out attributes.json
  # three levels of difficulty by the highest IoU x score; names alone make equal shares
  python tools/extract_attributes.py --detector CONFIG WEIGHTS --ann instances.json --out attributes.json \\
      --levels easy=0.6 medium=0.3 hard
  # results of any detector as a COCO results json
  python tools/extract_attributes.py --predictions results.json --ann instances_train2017.json \\
      --ann stuff_train2017.json --out attributes.json
"""


def build_parser():
    from detdiffusion import apis
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    for group in (apis.PredictionOptions, apis.AnnotatedImages, apis.AttributeFiles, apis.AttributeRule):
        add_options(parser, group)
    add_image_options(parser)
    parser.moved("--detector")
    return parser


def main(args) -> None:
    from detdiffusion import apis
    from detdiffusion.utils.option_groups import build_options

    apis.extract(
        build_options(apis.AnnotatedImages, args),
        build_options(apis.PredictionOptions, args),
        build_options(apis.AttributeFiles, args),
        build_options(apis.AttributeRule, args),
    )


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
