"""The whole loop on the embedded MiniScenes, in one command: data, detector, attributes, generator, scores.

Every step is one of the public tools; DIR/stamps has the commands, DIR/logs what they print. Interrupt it
and run it again: finished steps are not redone, a training goes on from its last checkpoint. Writes
DIR/summary.json, DIR/report.html and DIR/scenes.png.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

EXAMPLES = """examples:
  python tools/quickstart.py                        # from the zoo's layout checkpoint, minutes on 2 cores
  python tools/quickstart.py --smoke --work-dir work_dirs/smoke      # the same steps at tiny sizes
  python tools/quickstart.py --full --work-dir work_dirs/full        # train everything from nothing, hours
  python tools/quickstart.py --dry-run              # print the commands only
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("--work-dir", default="work_dirs/demo", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--full", action="store_true", help="train the zoo's models too, from nothing")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: tests the steps, not the results")
    parser.add_argument("--layout-checkpoint", metavar="FOLDER", help="diffusers folder to fine-tune from")
    parser.add_argument("--dry-run", action="store_true", help="print the steps' commands and stop")
    return parser


def main(args) -> None:
    import shlex

    from detdiffusion.experiments.demo.pipeline import SMOKE, Demo, Settings
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.work_folder import seen_from

    if args.full and args.layout_checkpoint:
        raise UserError("--full trains the layout checkpoint itself; leave out --layout-checkpoint")
    demo = Demo(
        ROOT,
        seen_from(ROOT, args.work_dir),
        SMOKE if args.smoke else Settings(),
        None if args.full else layout_checkpoint(args.layout_checkpoint),
        args.seed,
        args.full,
    )
    steps = demo.steps()
    if args.dry_run:
        for step in steps:
            print(f"# {step.title}\n{shlex.join(['python', *step.command])}")
        return

    from detdiffusion.utils.steps import StepRunner
    from detdiffusion.utils.threads import thread_count

    with claim(demo.dir) as lock:
        threads = thread_count()
        environment = {"OMP_NUM_THREADS": str(threads)}
        runner = StepRunner(ROOT, demo.dir, environment, keep_open=[lock.fileno()])
        print(
            f"{len(steps)} steps into {demo.dir}, {threads} threads; logs in {demo.dir / 'logs'}", flush=True
        )
        seconds = {
            step.name: runner.run(step, f"{number}/{len(steps)}") for number, step in enumerate(steps, 1)
        }
        finish(demo, seconds, threads)
        if args.smoke:
            print("--smoke only tests the steps: at these sizes the scores and checks above mean nothing")


def finish(demo, seconds: dict[str, float], threads: int) -> None:
    """Writes summary and report, prints the tables; imports torch only now, while no step needs the memory."""
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


def layout_checkpoint(given: str | None) -> Path | None:
    """The folder to fine-tune from, None for the zoo's; checked before minutes are spent."""
    from detdiffusion.experiments.miniscenes_steps import require_layout
    from detdiffusion.utils.work_folder import seen_from

    folder = seen_from(ROOT, given) if given else None
    require_layout(folder)
    return folder


def claim(folder: Path):
    """The folder for this run alone: a locked file, held open by every command that the run starts.

    Raises:
        UserError: the folder holds other things, or another run is at work in it.
    """
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.work_folder import claim_folder, try_lock

    claim_folder(folder, ".quickstart", "--work-dir")
    lock = try_lock(folder / ".quickstart")
    if lock is None:
        raise UserError(f"another run, or a step of a killed one, is still at work in {folder}")
    return lock


if __name__ == "__main__":
    import signal

    from detdiffusion.utils.cli import run_main

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the running step, keep its record
    run_main(main, build_parser)
