"""Generate a synthetic COCO set from layouts; run it again to continue where it stopped.

Writes DIR/images/*.png, DIR/annotations.json (COCO, the source's category ids), DIR/manifest.jsonl (one line
an image, with its checksum) and DIR/run.json (what the set was made with).
"""

import argparse
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
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="the generator's config")
    parser.add_argument("checkpoint", help="its weights, or 'none' for those that the config names")
    parser.add_argument("--out", required=True, metavar="DIR", help="the set's folder")
    parser.add_argument(
        "--strategy",
        required=True,
        choices=["origin", "easy", "hard"],
        help="attributes of the objects that the attribute detector can name; [background] stays",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--samples-per-image", type=int, default=1, help="images a layout, default: %(default)s"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--limit", type=int, help="only the first LIMIT layouts")
    parser.add_argument("--steps", type=int, default=50, help="denoising steps, default: %(default)s")
    parser.add_argument("--guidance-scale", type=float, default=3.5, help="default: %(default)s")
    parser.add_argument("--split", default="train", help="entry of layout_datasets, default: %(default)s")
    parser.add_argument(
        "--ann", action="append", metavar="ANN.json", help="layouts of these files instead; may be repeated"
    )
    parser.add_argument("--img-dir", help="images of --ann (drawing itself does not read them)")
    parser.add_argument("--attributes", metavar="FILE", help="attributes file (default: the config's)")
    parser.add_argument("--height", type=int, help="pixels (default: the model's)")
    parser.add_argument("--width", type=int, help="pixels (default: the model's)")
    parser.add_argument("--device", help="default: cuda where available, else cpu")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="overrides of the config")
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())

    from detdiffusion.apis.generation import generate_dataset

    if args["checkpoint"] == "none":
        args["checkpoint"] = None
    generate_dataset(**args)


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
