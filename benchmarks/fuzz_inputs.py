"""Run the tools on randomly damaged inputs: each must be read correctly, counted, or refused with a clear error.

    OMP_NUM_THREADS=1 python benchmarks/fuzz_inputs.py --count 2000 --command-line 30 --json FILE

Json files, images, manifests, attribute files, YOLO and VOC labels, logs, ONNX outputs and checkpoints are damaged at
random, with one seed per case. The tools run on them in forks of one process that has imported everything; the first
cases of each tool also run by the real command line. An independent reader of the damaged input determines the expected
result. Outcomes: right (as the damaged file says), counted (losses were printed, and add up), clear error (it names the
file), unclear error (it does not), wrong result, foreign traceback, hang (over 60 s), silent loss.
Exit status 1 if there is a wrong result, a foreign traceback, a hang or a silent loss.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent))

EXAMPLES = """examples:
  python benchmarks/fuzz_inputs.py --count 2000 --command-line 30 --json benchmarks/results/fuzz_inputs.json
  python benchmarks/fuzz_inputs.py --count 200 --tool voc_to_coco yolo_to_coco --seed 7
  # one case again, with all that it printed; its files stay in DIR
  python benchmarks/fuzz_inputs.py --only yolo_to_coco:17 --seed 7 --keep DIR
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--count", type=int, default=200, metavar="N", help="total number of cases, default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random damage, default: %(default)s")
    parser.add_argument("--tool", nargs="+", metavar="NAME", help="only these tools, default: all")
    parser.add_argument(
        "--command-line",
        type=int,
        default=0,
        metavar="K",
        help="cases per tool that also run by its command line",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="TOOL:NUMBER", help="run only these cases, and print their output"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder that keeps the files of --only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    from fuzzing.session import Session, record, run_all, table, write_record
    from fuzzing.targets import TARGETS
    from fuzzing.verdict import FAILURES

    wanted = args.tool or ([name.split(":")[0] for name in args.only] if args.only else list(TARGETS))
    if unknown := [name for name in wanted if name not in TARGETS]:
        sys.exit(f"error: no tool {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    begin = time.monotonic()
    memory = (
        "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    )  # tools sync what they write: disks take long
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as name:
        folder = Path(name) if args.keep is None else args.keep.absolute()
        session = Session([TARGETS[name] for name in dict.fromkeys(wanted)], folder, args.seed)
        session.prepare()
        print(
            f"{len(session.targets)} tools are right on their sound inputs, {time.monotonic() - begin:.0f} s",
            flush=True,
        )
        if args.only:
            results = []
            for name in args.only:
                tool, number = name.split(":")
                result, run = session.run(
                    tool, int(number), args.command_line > 0, keep=args.keep is not None
                )
                results.append(result)
                print(
                    f"\n{run.output}\n{name}: {result.outcome}: {result.reason}\ndamage: {'; '.join(result.damages)}"
                )
        else:
            results = run_all(session, args.count, args.command_line)
    minutes = (time.monotonic() - begin) / 60
    print(f"\n{table(results)}\n\n{minutes:.1f} minutes, seed {args.seed}")
    if args.json:
        options = f"--count {args.count} --seed {args.seed} --command-line {args.command_line}"
        options += f" --tool {' '.join(args.tool)}" if args.tool else ""
        command = f"python benchmarks/fuzz_inputs.py {options}"
        write_record(args.json, record(results, command, minutes, args.seed))
    return int(any(result.outcome in FAILURES for result in results))


if __name__ == "__main__":
    sys.exit(main())
