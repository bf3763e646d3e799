"""Compare finished detector trainings (real only, real + synthetic, ...) in one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/compare_trainability.py work_dirs/real work_dirs/hard --out work_dirs/comparison
  python tools/compare_trainability.py real=r0 real=r1 hard=h0 hard=h1 --out DIR

A name that occurs several times is one arm with several seeds. The first arm is the reference.
Writes comparison.md, comparison.csv and comparison.json.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dirs", nargs="+", metavar="[NAME=]WORK_DIR", help="work dirs of tools/train.py")
    parser.add_argument("--out", required=True, help="folder for the tables")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    import csv
    import json

    from rich.console import Console
    from rich.markdown import Markdown

    from detdiffusion.evaluation.trainability import compare_runs, markdown_table, read_run, result_of

    arms: dict = {}
    for item in args.work_dirs:
        name, folder = item.split("=", 1) if "=" in item else (Path(item).name, item)
        arms.setdefault(name, []).append(read_run(folder))
    rows, notes = compare_runs(arms)

    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    table = markdown_table(rows, notes)
    (out / "comparison.md").write_text(table)
    (out / "comparison.json").write_text(json.dumps(result_of(rows, notes, arms), indent=2) + "\n")
    with (out / "comparison.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()})
    Console().print(Markdown(table))
    print(f"written: {out / 'comparison.json'}, comparison.md, comparison.csv")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
