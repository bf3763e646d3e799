"""Score generated images: AP of the prompted objects beside the same on real images, FID, consistency."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/evaluate_fidelity.py --detector CONFIG CHECKPOINT \\
      --real data/miniscenes/val/instances.json --real-images data/miniscenes/val/images \\
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
        "--real", required=True, metavar="ANN", help="COCO json of the layouts' source images"
    )
    parser.add_argument("--real-images", required=True, metavar="DIR", help="folder of the source images")
    parser.add_argument(
        "--synthetic", nargs="+", required=True, metavar="NAME=DIR", help="sets written by tools/generate.py"
    )
    parser.add_argument(
        "--real-reference",
        nargs=2,
        metavar=("ANN", "DIR"),
        help="other real images: the distances' bound is theirs from the real ones (default: half against half)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--fid",
        nargs="+",
        default=[],
        metavar="PROTOCOL",
        help="lama_tf, modern, or a config file with fid = dict(protocol=..., extractor=...)",
    )
    parser.add_argument(
        "--extractor-weights",
        metavar="PATH",
        help="Inception weights of --fid (default: torch's hub folder); 'hub' downloads them",
    )
    parser.add_argument(
        "--score-thr",
        type=float,
        default=0.3,
        help="an object is found above this score (default %(default)s)",
    )
    parser.add_argument("--iou-thr", type=float, default=0.5, help="and with this IoU (default %(default)s)")
    parser.add_argument("--dataset", metavar="NAME", help="the data set's name in tables (default: ANN)")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstraps (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstraps (default %(default)s)")
    parser.add_argument(
        "--cache", metavar="DIR", help="what the networks said of the images (default: OUT/cache)"
    )
    parser.add_argument("--device", help="torch device (default: CUDA where available)")
    parser.add_argument(
        "--cfg-options", nargs="+", metavar="KEY=VALUE", help="overrides of the detector's config"
    )
    add_image_options(parser)
    args = parser.parse_args()
    pairs = [item.split("=", 1) for item in args.synthetic]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        parser.error(f"--synthetic takes NAME=DIR, got {' '.join(args.synthetic)}")
    args.synthetic = dict(pairs)
    if len(args.synthetic) != len(pairs):
        parser.error("--synthetic: every name once")
    if args.resamples < 1:
        parser.error("--resamples must be at least 1")
    for name in ("score_thr", "iou_thr"):
        if not 0 <= getattr(args, name) <= 1:
            parser.error(f"--{name.replace('_', '-')} must be in [0, 1]")
    return args


def main() -> None:
    args = parse_args()
    from detdiffusion.apis.fidelity import evaluate_fidelity
    from detdiffusion.visualization.reports.fidelity import print_result, write_reports

    result = evaluate_fidelity(**vars(args))
    if result is None:  # not the first process
        return
    written = write_reports(result, args.out)
    print_result(result)
    print(f"written: {', '.join(map(str, (Path(args.out) / 'fidelity.json', *written)))}")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
