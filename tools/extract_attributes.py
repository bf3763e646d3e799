"""Perception-aware attributes of a labelled set: easy where a detector finds the object, else hard (Eq. 2).

An object is easy if any prediction with score > GAMMA overlaps its box with IoU > BETA, hard if none does,
and background if the detector has no name for its class. Writes
{"info": {...}, "attributes": {"<annotation id>": "easy" | "hard" | "background"}}
and, under the same name, a .png with the share of easy objects by size and by class.

A detector is an mmdet config with its checkpoint, or a config of configs/onnx with an .onnx file. Its predictions are
kept beside --out, so a run that was stopped continues, and other thresholds take seconds.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  # an mmdet detector; things it can name become easy or hard, stuff becomes background
  python tools/extract_attributes.py configs/detectors/faster-rcnn_miniscenes.py work_dirs/det/epoch_4.pth \\
      --ann data/miniscenes/train/instances.json --ann data/miniscenes/train/stuff.json \\
      --img-dir data/miniscenes/train/images --out work_dirs/attributes.json
  # an ONNX detector (pip install onnxruntime), matched by class
  python tools/extract_attributes.py configs/onnx/yolox_nano_coco.py yolox_nano.onnx --class-aware \\
      --ann instances.json --img-dir images --out attributes.json
  # three levels of difficulty by the highest IoU x score; names alone make equal shares
  python tools/extract_attributes.py CONFIG CHECKPOINT --ann instances.json --out attributes.json \\
      --levels easy=0.6 medium=0.3 hard
  # results of any detector as a COCO results json
  python tools/extract_attributes.py --predictions results.json --ann instances_train2017.json \\
      --ann stuff_train2017.json --out attributes.json
"""


def parse_args() -> argparse.Namespace:
    from detdiffusion.utils.cli import positive_int, share
    from detdiffusion.utils.image_rules import add_image_options

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config", nargs="?", help="config of the detector: mmdet's, or one with onnx_detector"
    )
    parser.add_argument("checkpoint", nargs="?", help="its weights, .pth or .onnx")
    parser.add_argument("--predictions", metavar="RESULTS.json", help="COCO results json, not a detector")
    parser.add_argument(
        "--ann", action="append", required=True, metavar="ANN.json", help="COCO annotations; may be repeated"
    )
    parser.add_argument(
        "--img-dir",
        help="images, only with a detector (default: 'images' beside the first --ann or its folder)",
    )
    parser.add_argument("--out", required=True, metavar="ATTRIBUTES.json", help="file to write")
    parser.add_argument("--score-thr", type=share, default=0.3, metavar="GAMMA", help="default: %(default)s")
    parser.add_argument("--iou-thr", type=share, default=0.5, metavar="BETA", help="default: %(default)s")
    parser.add_argument(
        "--class-aware", action="store_true", help="only predictions of the object's own class count"
    )
    parser.add_argument(
        "--detector-classes",
        nargs="+",
        metavar="NAME",
        help="with --predictions: classes that the detector can name, or a text file with one a line "
        "(default: the categories that occur in the results)",
    )
    parser.add_argument(
        "--levels",
        nargs="+",
        metavar="NAME[=THR]",
        help="levels of difficulty in place of easy and hard, easiest first, by the highest IoU x score: a level "
        "holds what lies above its threshold, the last the rest; without thresholds: equal shares",
    )
    parser.add_argument(
        "--scores", action="store_true", help="also write the continuous score, the highest IoU x score"
    )
    parser.add_argument(
        "--save-predictions",
        metavar="RESULTS.json",
        help="also write what the detector found, as COCO results",
    )
    parser.add_argument(
        "--cache", metavar="DIR", help="where finished predictions are kept (default: beside --out)"
    )
    parser.add_argument(
        "--no-cache", action="store_true", help="keep no predictions: a stopped run begins anew"
    )
    parser.add_argument(
        "--batch-size",
        type=positive_int,
        help="default: the config's test_dataloader; for ONNX the model's, else 8",
    )
    parser.add_argument("--num-workers", type=int, default=0, help="image loading processes, default: 0")
    parser.add_argument("--device", help="default: cuda where available, else cpu")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="overrides of the config")
    add_image_options(parser)
    args = parser.parse_args()
    _check(args, parser)
    return args


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Options that exclude each other; every one is an error with what to do, never ignored."""
    if args.predictions is None:
        if args.config is None or args.checkpoint is None:
            parser.error("name a detector (CONFIG CHECKPOINT) or give --predictions RESULTS.json")
        if args.detector_classes:
            parser.error("--detector-classes is for --predictions; a detector brings its own class names")
        if args.cache and args.no_cache:
            parser.error("give --cache or --no-cache, not both")
        return
    if args.config is not None:
        parser.error(f"give a detector ({args.config}) or --predictions, not both")
    for option in ("img_dir", "save_predictions", "cache", "batch_size", "device", "cfg_options"):
        if getattr(args, option) is not None:
            parser.error(f"--{option.replace('_', '-')} is for a detector; leave it out with --predictions")


def main() -> None:
    args = parse_args()

    from detdiffusion.perception.extraction import extract

    extract(
        args.ann,
        args.out,
        config=args.config,
        checkpoint=args.checkpoint,
        predictions=args.predictions,
        img_dir=args.img_dir,
        detector_classes=args.detector_classes,
        score_thr=args.score_thr,
        iou_thr=args.iou_thr,
        class_aware=args.class_aware,
        levels=args.levels,
        with_scores=args.scores,
        save_predictions=args.save_predictions,
        cache=False if args.no_cache else args.cache or True,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        device=args.device,
        cfg_options=args.cfg_options,
    )


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
