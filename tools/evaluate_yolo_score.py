"""YOLO score of any methods' images: detector AP on the layouts' objects, beside the same on the real images.

Names of image files: the stem of the layout's COCO file name or its image id (zero-padded or not), with _k for
the k-th sample of a layout; or a folder of tools/generate.py. Writes OUT/yolo_score.json, .md and .csv.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  # the protocol of the papers, on COCO: YOLOv4, the 3,097 layouts of LAMA's filter
  python tools/evaluate_yolo_score.py --detector configs/detectors/yolov4_coco.py yolov4.pth \\
      --ann data/coco/annotations/instances_val2017.json --stuff data/coco/annotations/stuff_val2017.json \\
      --real-images data/coco/val2017 --ids lama --images ours=work_dirs/val/easy lama=outputs/lama \\
      gligen=outputs/gligen --out work_dirs/yolo_score
  # any detector and data; the layouts that all folders have
  python tools/evaluate_yolo_score.py --detector CONFIG CHECKPOINT --ann instances.json --real-images images \\
      --images folder --out score --cfg-options model.test_cfg.score_thr=0.25
  torchrun --nproc_per_node 4 tools/evaluate_yolo_score.py ...    # shared out, the same figures
"""


def parse_args() -> argparse.Namespace:
    from detdiffusion.utils.image_rules import add_image_options

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--detector",
        nargs=2,
        required=True,
        metavar=("CONFIG", "CHECKPOINT"),
        help="mmdet config and checkpoint, or a config of configs/onnx and an .onnx file",
    )
    parser.add_argument(
        "--ann", required=True, metavar="ANN.json", help="COCO instances of the layouts' images"
    )
    parser.add_argument("--real-images", required=True, metavar="DIR", help="folder of the real images")
    parser.add_argument(
        "--images", nargs="+", required=True, metavar="[NAME=]DIR", help="a folder for each method (default "
        "name: the folder's)",
    )  # fmt: skip
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for yolo_score.json, .md and .csv"
    )
    parser.add_argument(
        "--ids",
        metavar="lama|FILE",
        help="the layouts of LAMA's filter, or a file with image ids; every method must have them (default: the "
        "layouts that all methods have)",
    )
    parser.add_argument("--stuff", metavar="STUFF.json", help="COCO stuff annotations, for --ids lama")
    parser.add_argument("--samples", type=int, help="samples of a layout that count (default: all)")
    parser.add_argument(
        "--size", type=int, default=512, help="pixels that PIL resizes to (default: %(default)s)"
    )
    parser.add_argument(
        "--min-area",
        type=float,
        default=0.02,
        help="share of the image for 'AP filtered' (default: %(default)s)",
    )
    parser.add_argument("--batch-size", type=int, help="default: the config's test_dataloader")
    parser.add_argument("--cache", metavar="DIR", help="what the detector found (default: OUT/cache)")
    parser.add_argument("--device", help="torch device (default: CUDA where available)")
    parser.add_argument(
        "--cfg-options", nargs="+", metavar="KEY=VALUE", help="overrides of the detector's config"
    )
    add_image_options(parser)
    args = parser.parse_args()
    pairs = [item.partition("=")[::2] if "=" in item else (Path(item).name, item) for item in args.images]
    if not all(name and folder for name, folder in pairs):
        parser.error(f"--images takes DIR or NAME=DIR, got {' '.join(args.images)}")
    args.images = dict(pairs)
    if len(args.images) != len(pairs):
        parser.error("--images: every name once; give names by NAME=DIR")
    for name in ("samples", "size", "batch_size"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if not 0 <= args.min_area < 1:
        parser.error("--min-area must be at least 0 and below 1")
    return args


def main() -> None:
    args = parse_args()
    from detdiffusion.apis.yolo_score import score_methods
    from detdiffusion.visualization.reports.yolo_score import print_report, write_report

    result = score_methods(
        args.detector,
        args.ann,
        args.real_images,
        args.images,
        args.out,
        ids=args.ids,
        stuff=args.stuff,
        samples=args.samples,
        size=args.size,
        min_area_ratio=args.min_area,
        batch_size=args.batch_size,
        cache=args.cache,
        device=args.device,
        cfg_options=args.cfg_options,
    )
    if result is None:  # not the first process
        return
    files = write_report(result, args.out)
    print_report(result)
    print(f"written: {', '.join(map(str, files))}")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
