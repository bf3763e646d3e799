"""Measure what generated images are worth when a domain has few real ones, on a look of MiniScenes.

A job is a look, a number of real images and a seed, in the folder DIR/LOOK-IMAGES/SEED. Everything that reads labels
(attribute detectors, fine-tuning of the generator, learners) sees these images alone; only the oracles get further
real images, and looks-falling-copy-paste the scenes that the layout checkpoint was trained on. The layout checkpoint
that the generator starts from has seen labelled scenes of other looks, or of the classic one: a look that it never
saw stands for a user's own domain. All learners have equally many iterations. Every step is one of the public tools;
run the same command again to continue. Several jobs may run at the same time.
With networks this small one process leaves a GPU idle: --parallel N runs N steps, of all jobs, at the same time.
"""

import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

EXAMPLES = """examples:
  python benchmarks/low_data.py --out work_dirs/low_data --look dusk --images 100 --seed 11
  python benchmarks/low_data.py --out work_dirs/low_data --look xray --seed 11 --arms real edited-origin oracle
  python benchmarks/low_data.py --out work_dirs/low_data --look dusk --seed 11 --dry-run    # the commands
  # ten jobs on one GPU of a machine with 16 cores
  python benchmarks/low_data.py --out work_dirs/low_data --look dusk --images 50 200 --seed 21 22 23 24 25 --parallel 16
  python benchmarks/low_data.py --out work_dirs/low_data_smoke --smoke --images 12
  python benchmarks/low_data.py --out work_dirs/low_data --table    # of all jobs so far
"""


def build_parser():
    from detdiffusion.experiments.low_data.arms import ARMS
    from detdiffusion.experiments.low_data.job import LEARNERS
    from detdiffusion.experiments.miniscenes_steps import ZOO_LOOKS
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of all jobs")
    parser.add_argument(
        "--look", default="dusk", metavar="NAME", help="look of MiniScenes, default: %(default)s"
    )
    parser.add_argument(
        "--images", type=int, nargs="+", default=[100], metavar="N", help="of each job, default: 100"
    )
    parser.add_argument(
        "--seed", type=int, nargs="+", default=[0], metavar="SEED", help="of each job, default: 0"
    )
    parser.add_argument(
        "--parallel", type=int, default=1, metavar="N", help="steps at the same time, default: %(default)s"
    )
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--learner", nargs="+", choices=LEARNERS, default=["atss"], help="default: atss")
    parser.add_argument(
        "--layout-checkpoint",
        default=ZOO_LOOKS,
        metavar="SOURCE",
        help="diffusers folder or zoo://NAME to fine-tune from, default: %(default)s",
    )
    parser.add_argument(
        "--from-base",
        metavar="SOURCE",
        help="folder or zoo://NAME of a captions-only base, for the arms base-*",
    )
    parser.add_argument("--generator-iters", type=int, metavar="N", help="default: 400")
    parser.add_argument(
        "--base-iters", type=int, metavar="N", help="of the captions-only base, default: 2500"
    )
    parser.add_argument("--learner-iters", type=int, metavar="N", help="default: 500")
    parser.add_argument("--plan", help="sampling plan, e.g. paper (default: 10 steps)")
    parser.add_argument("--device", metavar="NAME", help="of tools that have the option, e.g. cpu")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to test the steps")
    parser.add_argument("--dry-run", action="store_true", help="print the commands of the steps and exit")
    parser.add_argument("--table", action="store_true", help="write table.md and table.json of DIR and exit")
    return parser


def main(args) -> None:
    from detdiffusion.utils.work_folder import seen_from

    if args.table:
        from detdiffusion.experiments.low_data.table import write_table

        text, paths = write_table(Path(args.out))
        print(f"{text}\n\nwritten: {', '.join(map(str, paths))}")
        return
    from detdiffusion.experiments.low_data.arms import ARMS, default_arms
    from detdiffusion.experiments.low_data.job import Job
    from detdiffusion.experiments.low_data.result import record, recorded
    from detdiffusion.experiments.miniscenes_steps import checked_source
    from detdiffusion.experiments.run_parallel import FolderSteps, run_parallel
    from detdiffusion.experiments.run_steps import claim, print_commands, run_steps
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.sampling_plan import read_plan

    if min(args.images) < 2:
        raise UserError(f"--images must be at least 2, got {min(args.images)}")
    if args.parallel < 1:
        raise UserError(f"--parallel must be at least 1, got {args.parallel}")
    arms = args.arms or default_arms(bool(args.from_base))
    without = [name for name in arms if ARMS[name].from_base and not args.from_base]
    if without:
        raise UserError(f"--arms {' '.join(without)}: name the captions-only base by --from-base")
    layout = checked_source(ROOT, args.layout_checkpoint)
    base = checked_source(ROOT, args.from_base, "--from-base") if args.from_base else None
    sizes = settings(args)
    for name in ("generator_iters", "base_iters", "learner_iters"):
        if getattr(sizes, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(sizes, name)}")
    if sizes.plan:
        read_plan(sizes.plan)
    out = seen_from(ROOT, args.out)
    os.chdir(ROOT)  # as the commands, for which the paths are
    jobs = [
        Job(ROOT, out, args.look, images, seed, sizes, layout, base, args.device)
        for images in dict.fromkeys(args.images)
        for seed in dict.fromkeys(args.seed)
    ]
    steps = [job.steps(arms, args.learner) for job in jobs]
    if args.dry_run:
        print_commands(step for of_job in steps for step in of_job)
        return
    with ExitStack() as locks:
        claimed = [locks.enter_context(claim(job.dir, ".low-data", "--out")) for job in jobs]
        if args.parallel > 1:
            works = [
                FolderSteps(job.dir, lock, of_job, partial(record, job, at_once=args.parallel))
                for job, lock, of_job in zip(jobs, claimed, steps, strict=True)
            ]
            run_parallel(works, args.parallel, ROOT)
        for job, lock, of_job in zip(jobs, claimed, steps, strict=True):
            if args.parallel == 1:
                run_steps(recorded(job, of_job), len(of_job), ROOT, job.dir, lock)
            report(job)


def report(job) -> None:
    """Print the scores of a job."""
    from detdiffusion.utils.steps import read_result

    path = job.dir / "result.json"
    for arm, learners in read_result(path, "benchmarks/low_data.py")["arms"].items():
        for learner, row in learners.items():
            print(f"{arm}, {learner}: AP {100 * row['bbox_mAP']:.1f} after {row['iterations']} iterations")
    print(f"written: {path}")


def settings(args):
    """Return the sizes of a run."""
    from dataclasses import replace

    from detdiffusion.experiments.low_data.settings import SMOKE, Settings

    given = {name: getattr(args, name) for name in ("generator_iters", "base_iters", "learner_iters", "plan")}
    given = {name: value for name, value in given.items() if value is not None}
    if "plan" in given:
        given.update(sampling_steps=None, guidance_scale=None)
    return replace(SMOKE if args.smoke else Settings(), **given)


if __name__ == "__main__":
    import signal

    from detdiffusion.utils.cli import run_main

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the running step, keep its record
    run_main(main, build_parser)
