"""Compare finished detector trainings (real only, real + synthetic, ...) in one table."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/compare_trainability.py work_dirs/real work_dirs/hard --out work_dirs/comparison
  # several seeds, several detectors: rows go by detector (from the runs' configs) and name
  python tools/compare_trainability.py real=r0 real=r1 real=r2 hard=h0 hard=h1 hard=h2 --out DIR
  python tools/compare_trainability.py real=fcos_real hard=fcos_hard real=atss_real hard=atss_hard --out DIR

A name that occurs several times for one detector is one arm with several seeds; runs of one seed are paired. Each
detector's first arm is its reference. Writes comparison.md, comparison.csv, comparison.json, classes.csv (AP of the
rarest classes) and curves.png (loss and AP over the iterations).
"""


def build_parser():
    from detdiffusion.utils.shared_options import ANNOTATIONS
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("work_dirs", nargs="+", metavar="[NAME=]WORK_DIR", help="work dirs of tools/train.py")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the tables")
    parser.add_argument(
        "--rarest",
        type=int,
        default=5,
        metavar="N",
        help="classes in the second table (default: %(default)s)",
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="these classes in place of the rarest")
    parser.add_argument(
        "--ann",
        help="training annotations, which tell the rare classes; may be repeated (default: the first run's)",
        action="append",
        metavar=ANNOTATIONS["metavar"],
    )
    return parser


def main(args) -> None:
    from detdiffusion.apis import compare_trainability

    result = compare_trainability(args.work_dirs, args.out, args.ann, max(0, args.rarest), args.classes)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(result["markdown"]))
    else:  # a log has lines of any length
        print(result["markdown"])
    files = ["comparison.md", "comparison.csv", "comparison.json", *["classes.csv"] * bool(result["classes"])]
    print(f"written to {args.out}: {', '.join([*files, 'curves.png'])}")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
