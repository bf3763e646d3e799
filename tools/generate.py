"""Generate a synthetic COCO set from layouts; run it again to continue where it stopped.

Writes DIR/images/, DIR/annotations.json (COCO, the source's category ids), DIR/manifest.jsonl (one line an image,
with its checksum), DIR/run.json (what the set was made with) and DIR/preview.png (the latest images).
Several GPUs: tools/dist_generate.sh.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/generate.py configs/detdiffusion_miniscenes.py work_dirs/gen/iter_300.pth \\
      --out work_dirs/synthetic/hard --strategy hard --attributes work_dirs/attributes.json
  # held-out layouts, two images each
  python tools/generate.py configs/detdiffusion_miniscenes.py work_dirs/gen/iter_300.pth --split val \\
      --out work_dirs/fidelity/easy --strategy easy --samples-per-image 2 \\
      --attributes work_dirs/attributes.json
  # layouts of any COCO json; the weights that the config itself names
  python tools/generate.py CONFIG none --ann instances.json --ann stuff.json --out DIR --strategy origin \\
      --attributes attributes.json --limit 4
  # 30 % of the objects hard, edited layouts, more images of rare classes
  python tools/generate.py CONFIG CHECKPOINT --out DIR --strategy mix --strategy-options ratio=0.3 \\
      --edit flip=0.5 jitter=0.05 swap=0.2 --oversample-thr 0.1
  python tools/generate.py CONFIG CHECKPOINT --out DIR --strategy per-class \\
      --strategy-options attributes.person=hard "attributes.traffic light=easy" default=origin
  # check every file of a set, and make what is damaged or missing anew: the same command and --verify
  python tools/generate.py CONFIG CHECKPOINT --out DIR --strategy hard --verify
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="the generator's config")
    parser.add_argument("checkpoint", help="its weights, or 'none' for those that the config names")
    parser.add_argument("--out", required=True, metavar="DIR", help="the set's folder")
    strategy = parser.add_argument_group("what is drawn")
    strategy.add_argument(
        "--strategy",
        required=True,
        metavar="NAME",
        help="attributes of the objects that the attribute detector can name ([background] stays): origin, easy, "
        "hard, flip, mix, per-class, the class name of a registered strategy, or its config as json",
    )
    strategy.add_argument(
        "--strategy-options", nargs="+", metavar="KEY=VALUE", help="of the strategy, e.g. ratio=0.3"
    )
    strategy.add_argument(
        "--edit",
        nargs="+",
        metavar="EDIT=VALUE",
        help="edited layouts: jitter (share of a box's side), and probabilities drop, flip, swap (to rarer classes)",
    )
    strategy.add_argument(
        "--oversample-thr",
        type=float,
        metavar="SHARE",
        help="more images of layouts with classes in less than this share of the layouts (repeat factor sampling)",
    )
    strategy.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    strategy.add_argument(
        "--samples-per-image", type=int, default=1, help="images a layout, default: %(default)s"
    )
    strategy.add_argument("--limit", type=int, help="only the first LIMIT layouts")
    strategy.add_argument("--split", default="train", help="entry of layout_datasets, default: %(default)s")
    strategy.add_argument(
        "--ann", action="append", metavar="ANN.json", help="layouts of these files instead; may be repeated"
    )
    strategy.add_argument("--img-dir", help="images of --ann (drawing itself does not read them)")
    strategy.add_argument("--attributes", metavar="FILE", help="attributes file (default: the config's)")
    drawing = parser.add_argument_group("how")
    drawing.add_argument(
        "--batch-size", type=int, default=8, help="images at once a rank, default: %(default)s"
    )
    drawing.add_argument("--steps", type=int, default=50, help="denoising steps, default: %(default)s")
    drawing.add_argument("--guidance-scale", type=float, default=3.5, help="default: %(default)s")
    drawing.add_argument("--height", type=int, help="pixels (default: the model's)")
    drawing.add_argument("--width", type=int, help="pixels (default: the model's)")
    drawing.add_argument("--device", help="default: cuda where available, else cpu")
    drawing.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="overrides of the config")
    drawing.add_argument(
        "--launcher",
        choices=["none", "pytorch"],
        help="pytorch: a rank of torchrun (default: where torchrun started several processes); none: alone",
    )
    files = parser.add_argument_group("files")
    files.add_argument(
        "--format", dest="image_format", choices=["png", "jpeg"], default="png", help="default: %(default)s"
    )
    files.add_argument("--jpeg-quality", type=int, default=95, help="1 to 100, default: %(default)s")
    files.add_argument(
        "--min-free-mb", type=float, default=500, help="stop before the disk is fuller, default: %(default)s"
    )
    files.add_argument(
        "--preview-every",
        type=float,
        default=30,
        metavar="SECONDS",
        help="renew preview.png; 0: no preview, default: %(default)s",
    )
    files.add_argument(
        "--verify", action="store_true", help="check all checksums first and repair what is damaged"
    )
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())

    from detdiffusion.apis.generation import generate_dataset
    from detdiffusion.utils.config import nested_options
    from detdiffusion.utils.errors import UserError

    if args["checkpoint"] == "none":
        args["checkpoint"] = None
    if args["strategy"].lstrip().startswith("{"):
        try:
            args["strategy"] = json.loads(args["strategy"])
        except ValueError as error:
            raise UserError(f"--strategy: broken json: {error}") from error
    args["strategy_options"] = nested_options(args["strategy_options"], "--strategy-options")
    args["edits"] = nested_options(args.pop("edit"), "--edit")
    generate_dataset(**args)


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
