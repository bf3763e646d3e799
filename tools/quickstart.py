"""Run the complete pipeline on the built-in MiniScenes data set: data, detector, attributes, generator, scores.

Every step is one of the public tools; DIR/stamps contains the commands, DIR/logs their output. After an interruption,
run it again: finished steps are skipped, and training resumes from its last checkpoint. Writes
DIR/summary.json, DIR/report.html and DIR/scenes.png.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

EXAMPLES = """examples:
  python tools/quickstart.py                        # from the zoo's layout checkpoint, minutes on 2 cores
  python tools/quickstart.py --smoke --work-dir work_dirs/smoke      # the same steps at tiny sizes
  python tools/quickstart.py --full --work-dir work_dirs/full        # train everything from scratch, hours
  python tools/quickstart.py --dry-run              # print the commands only
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("--work-dir", default="work_dirs/demo", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--full", action="store_true", help="train the zoo's models too, from scratch")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny sizes, to test the steps; the results are meaningless"
    )
    parser.add_argument("--layout-checkpoint", metavar="FOLDER", help="diffusers folder to fine-tune from")
    parser.add_argument("--dry-run", action="store_true", help="print the commands of the steps and exit")
    return parser


def main(args) -> None:
    from detdiffusion.experiments.demo.pipeline import SMOKE, Demo, Settings
    from detdiffusion.experiments.miniscenes_steps import checked_source
    from detdiffusion.experiments.run_steps import claim, print_commands, run_steps
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.work_folder import seen_from

    if args.full and args.layout_checkpoint:
        raise UserError("--full trains the layout checkpoint itself; leave out --layout-checkpoint")
    demo = Demo(
        ROOT,
        seen_from(ROOT, args.work_dir),
        SMOKE if args.smoke else Settings(),
        None if args.full else checked_source(ROOT, args.layout_checkpoint),
        args.seed,
        args.full,
    )
    os.chdir(ROOT)  # as the commands, for which the paths are
    steps = demo.steps()
    if args.dry_run:
        print_commands(steps)
        return
    with claim(demo.dir, ".quickstart", "--work-dir") as lock:
        seconds, threads = run_steps(steps, len(steps), ROOT, demo.dir, lock)
        finish(demo, seconds, threads)
        if args.smoke:
            print("--smoke only tests the steps: at these sizes the scores and checks above are meaningless")


def finish(demo, seconds: dict[str, float], threads: int) -> None:
    """Write summary and report and print the tables; imports torch only now, when no step needs the memory."""
    import json

    from detdiffusion.experiments.demo.report import write_demo_report
    from detdiffusion.experiments.demo.summary import print_summary, summarise
    from detdiffusion.utils.files import write_atomic

    summary = summarise(demo, seconds, threads)
    write_atomic(demo.dir / "summary.json", json.dumps(summary, indent=2).encode() + b"\n")
    report = write_demo_report(demo, summary)
    print_summary(summary)
    print(f"{summary['seconds']['total'] / 60:.1f} minutes in all steps")
    print(f"written: {demo.dir / 'summary.json'}, {report}, {demo.dir / 'scenes.png'}")


if __name__ == "__main__":
    import signal

    from detdiffusion.utils.cli import run_main

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the running step, keep its record
    run_main(main, build_parser)
