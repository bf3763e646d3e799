"""YOLO score of any methods' images: detector AP on the layouts' objects, beside the same on the real images.

Names of image files: the stem of the layout's COCO file name or its image id (zero-padded or not), with _k for
the k-th sample of a layout; or a folder of tools/generate.py. Writes OUT/yolo_score.json, .md and .csv.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  # the protocol of the papers, on COCO: YOLOv4, the 3,097 layouts of LAMA's filter
  python tools/evaluate_yolo_score.py --detector configs/detectors/yolov4_coco.py yolov4.pth \\
      --ann data/coco/annotations/instances_val2017.json --stuff data/coco/annotations/stuff_val2017.json \\
      --img-dir data/coco/val2017 --ids lama --synthetic ours=work_dirs/val/easy lama=outputs/lama \\
      gligen=outputs/gligen --out work_dirs/yolo_score
  # any detector and data; the layouts that all folders have
  python tools/evaluate_yolo_score.py --detector CONFIG WEIGHTS --ann instances.json --img-dir images \\
      --synthetic folder --out score --cfg-options model.test_cfg.score_thr=0.25
  torchrun --nproc_per_node 4 tools/evaluate_yolo_score.py ...    # shared out, the same figures
"""


def build_parser():
    from detdiffusion import apis
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser, add_sets

    parser = ToolParser(__doc__, EXAMPLES)
    add_options(parser, apis.DetectorOptions)
    add_options(parser.add_argument_group("the real images, one file"), apis.AnnotatedImages)
    add_sets(parser, "a folder for each method (default name: the folder's)")
    add_options(parser, apis.ResultFolder)
    add_options(parser, apis.YoloScoreOptions)
    add_image_options(parser)
    parser.renamed("--real-images", "--img-dir")
    parser.renamed("--images", "--synthetic")
    return parser


def main(args) -> None:
    from detdiffusion import apis
    from detdiffusion.utils.option_groups import build_options
    from detdiffusion.utils.tool_parser import named_sets
    from detdiffusion.visualization.reports.yolo_score import print_report, write_report

    result = apis.score_methods(
        build_options(apis.DetectorOptions, args),
        build_options(apis.AnnotatedImages, args),
        named_sets(args.synthetic),
        build_options(apis.ResultFolder, args),
        build_options(apis.YoloScoreOptions, args),
    )
    if result is None:  # not the first process
        return
    files = write_report(result, args.out)
    print_report(result)
    print(f"written: {', '.join(map(str, files))}")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
