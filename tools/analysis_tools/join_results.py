"""Join COCO results (json lists of detections) of several parts of a set, for --predictions of other tools.

Each half of a training set can so be judged by a detector that was trained on the other half.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/analysis_tools/join_results.py half_a.json half_b.json --out predictions.json
  python tools/extract_attributes.py --predictions predictions.json --ann train.json --out attributes.json
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS.json", help="COCO results; no image in two of them"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="file for all of them")
    return parser


def main(args) -> None:
    from detdiffusion.datasets.json_files import load_json
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.files import check_not_input, write_atomic

    check_not_input(args.out, args.results, "`out`")
    joined, owner = [], {}
    for path in args.results:
        found = load_json(Path(path))
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise UserError(f"{path}: not a COCO results json, which is a list of detections")
        for entry in found:
            first = owner.setdefault(entry.get("image_id"), path)
            if first != path:
                raise UserError(
                    f"{path}: image id {entry.get('image_id')} has results in {first} too; give each once"
                )
        joined += found
    write_atomic(args.out, json.dumps(joined).encode())
    print(f"{args.out}: {len(joined)} detections in {len(owner)} images")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
