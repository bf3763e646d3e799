"""Convert darknet's YOLOv4 weights to a checkpoint for mmdet, or a checkpoint to darknet's files."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  # the detector of the YOLO score; configs/detectors/yolov4_coco.py loads the result
  python tools/model_converters/darknet_to_mmdet.py configs/detectors/yolov4_coco.py yolov4.weights yolov4.pth
  # any other network file: a config names it by model=dict(type='detdiffusion.YOLOv4', cfg='my.cfg')
  python tools/model_converters/darknet_to_mmdet.py my.cfg my.weights my.pth --names my.names
  # a detector that was trained here, for darknet and OpenCV 4; writes scenes.weights and scenes.cfg
  python tools/model_converters/darknet_to_mmdet.py --reverse configs/detectors/yolov4_miniscenes.py \\
      iter_600.pth scenes.weights
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument(
        "network", help="darknet .cfg, an mmdet config with a YOLOv4, or yolov4, yolov4-tiny (built in)"
    )
    parser.add_argument("weights", help="darknet's .weights; with --reverse a checkpoint .pth")
    parser.add_argument("out", help="checkpoint to write; with --reverse a name that ends in .weights")
    parser.add_argument(
        "--names",
        metavar="FILE",
        help="class names, one a line (default: the config's, or for 80 classes COCO's, which its json files use and "
        "darknet's coco.names does not)",
    )
    parser.add_argument("--reverse", action="store_true", help="from a checkpoint to darknet's files")
    return parser


def main(args) -> None:
    from detdiffusion.models.detectors.yolov4.darknet import from_darknet, to_darknet
    from detdiffusion.utils.errors import UserError

    if args.reverse and args.names:
        raise UserError("--names is for the way to mmdet; darknet keeps names in a file of its own")
    if args.reverse:
        done = to_darknet(args.network, args.weights, args.out)
        print(
            f"{args.out} and {done['cfg']}: {done['layers']} convolutions, {done['parameters']:,} parameters"
        )
        return
    done = from_darknet(args.network, args.weights, args.out, args.names)
    print(
        f"{args.out}: {done['layers']} convolutions, {done['parameters']:,} parameters, version "
        f"{done['version']}, {done['seen']:,} images seen"
    )
    if done["classes"] is None:
        print("note: no class names are known (give --names); the config that loads it must name them")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
