"""The paper's Tables 1 to 7 with your figures beside the printed ones, from result files."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/paper_tables.py work_dirs/score/fidelity.json work_dirs/comparison/comparison.json --out work_dirs/tables
  # ablations: rows that no method's name tells
  python tools/paper_tables.py --assign 4/attr=work_dirs/attr-only/fidelity.json \\
      --assign 7/without-dice=work_dirs/without-dice/fidelity.json#easy --out work_dirs/tables

Result files are those of tools/evaluate_fidelity.py, tools/compare_trainability.py and the YOLO score. Methods find
their rows by name: easy, origin, hard, real, gligen, controlnet, geodiffusion, ... Writes tables.md, tables.csv and
tables.html; what was not measured says "not run".
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("files", nargs="*", metavar="RESULT.json", help="result files")
    parser.add_argument(
        "--assign",
        dest="assigned",
        action="append",
        default=[],
        metavar="TABLE/ROW=FILE[#METHOD]",
        help="a row's result; METHOD defaults to easy. Rows: 4/baseline, 4/attr, 4/attr+loss, 6/faster-rcnn, 6/yolov4, "
        "7/full, 7/without-sqrt-alpha-bar, 7/without-dice, and those of the other tables",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the tables")
    return parser


def main(args) -> None:
    from detdiffusion.apis import write_paper_tables
    from detdiffusion.utils.errors import UserError

    if any("=" not in item for item in args.assigned):
        raise UserError(f"--assign takes TABLE/ROW=FILE[#METHOD], got {' '.join(args.assigned)}")
    write_paper_tables(args.files, dict(item.split("=", 1) for item in args.assigned), args.out)


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
