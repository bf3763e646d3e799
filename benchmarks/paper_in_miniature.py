"""Measure every claim of the paper on the built-in MiniScenes data set over several seeds.

The work is a list of jobs, one per arm and seed (DIR/results/SEED/JOB.json): running the same command again continues
with the missing ones. To use two cores, start it twice at the same time, each with --threads 1; each seed is processed
by one process at a time. All arms of a seed start from the same layout checkpoint and get the same data, steps, images
and iterations.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

EXAMPLES = """examples:
  python benchmarks/paper_in_miniature.py --out work_dirs/miniature --seeds 5
  python benchmarks/paper_in_miniature.py --out work_dirs/miniature --seeds 3 --only C2,C3,C4 --jobs-for 120
  # the scoreboard alone, here of results that came with the repository
  python benchmarks/paper_in_miniature.py --out work_dirs/miniature --seeds 5 --jobs-for 0 --results DIR
  python benchmarks/paper_in_miniature.py --out work_dirs/miniature --seeds 3 --dry-run    # jobs and commands

Claims: C1 to C10 of the paper, M1 and M2 of MiniScenes alone; the scoreboard says them in words. It is written
at the end of every run, interrupted ones too, beside the results: scoreboard.md, .json, .csv, .png, and
strategies.png with four layouts drawn easy, origin and hard.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for work folders, and for results in DIR/results"
    )
    parser.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="number of seeds, default: %(default)s"
    )
    parser.add_argument("--first-seed", type=int, default=1, metavar="K", help="default: %(default)s")
    parser.add_argument(
        "--scale", choices=["cpu", "gpu", "smoke"], default="cpu", help="sizes; smoke only tests the steps"
    )
    parser.add_argument("--only", metavar="CLAIMS", help="only jobs of these claims, e.g. C2,C4")
    parser.add_argument("--jobs-for", type=float, metavar="MINUTES", help="do not start jobs after this time")
    parser.add_argument("--threads", type=int, metavar="N", help="default: $OMP_NUM_THREADS, else all cores")
    parser.add_argument("--keep", action="store_true", help="keep checkpoints that no other job needs")
    parser.add_argument("--results", metavar="DIR", help="result files, default: DIR/results of --out")
    parser.add_argument("--layout-checkpoint", metavar="FOLDER", help="diffusers folder, default: the zoo's")
    parser.add_argument("--dry-run", action="store_true", help="print the jobs and their commands, and exit")
    args = parser.parse_args()
    if args.seeds < 1 or args.first_seed < 0:
        parser.error("--seeds must be at least 1 and --first-seed at least 0")
    if args.threads is not None and args.threads < 1:
        parser.error("--threads must be at least 1")
    return args


def main() -> None:
    args = parse_args()
    import shlex

    from detdiffusion.experiments.miniscenes_steps import checked_source
    from detdiffusion.experiments.paper.claims import CLAIMS, jobs_of_claims
    from detdiffusion.experiments.paper.jobs import SeedJobs, ordered_jobs
    from detdiffusion.experiments.paper.run import ResultFolder, run_jobs
    from detdiffusion.experiments.paper.scales import SCALES
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.threads import thread_count
    from detdiffusion.utils.work_folder import claim_folder, seen_from

    claims = [claim.strip().upper() for claim in args.only.split(",")] if args.only else None
    known = [claim.name for claim in CLAIMS]
    if unknown := [claim for claim in claims or () if claim not in known]:
        raise UserError(f"--only {', '.join(unknown)}: the claims are {', '.join(known)}")
    out = seen_from(ROOT, args.out)
    layout = checked_source(ROOT, args.layout_checkpoint)
    results_folder = seen_from(ROOT, args.results) if args.results else out / "results"
    os.chdir(ROOT)  # as the commands, for which the paths are

    def folder(seed: int) -> Path:
        return out / "work" / str(seed)

    def seed_jobs(seed: int) -> SeedJobs:
        return SeedJobs(ROOT, folder(seed), SCALES[args.scale], seed, layout)

    seeds = [seed_jobs(seed) for seed in range(args.first_seed, args.first_seed + args.seeds)]
    jobs = ordered_jobs(seeds, jobs_of_claims(claims) if claims else None)
    if args.dry_run:
        for job in jobs:
            print(f"# seed {job.seed}, {job.name}: {job.title}")
            for step in job.steps:
                print(shlex.join(["python", *step.command]))
        return
    claim_folder(out, ".miniature", "--out")
    threads = args.threads or thread_count()
    results = ResultFolder(results_folder)
    try:
        run_jobs(ROOT, jobs, folder, results, threads, args.jobs_for, args.keep)
    finally:
        others = [seed_jobs(n) for n in results.seeds() if n not in {one.seed for one in seeds}]
        report(args, [*seeds, *others], results)


def report(args: argparse.Namespace, seeds: list, results) -> None:
    """Write scoreboard and pictures from all existing results, whatever jobs this run was asked for."""
    from detdiffusion.experiments.paper.jobs import ordered_jobs
    from detdiffusion.experiments.paper.report import markdown, write_scoreboard, write_strategies
    from detdiffusion.experiments.paper.scoreboard import scoreboard

    command = f"python benchmarks/paper_in_miniature.py --out {args.out} --seeds {max(args.seeds, 3)}"
    command += f" --first-seed {args.first_seed} --scale {args.scale} --only {{claims}}"
    for option, value in (("results", args.results), ("layout-checkpoint", args.layout_checkpoint)):
        command += f" --{option} {value}" if value else ""
    board = scoreboard(ordered_jobs(seeds), results, command)
    paths = write_scoreboard(board, results.folder)
    paths += write_strategies(seeds, results.folder)
    print(f"\n{markdown(board)}\nwritten: {', '.join(map(str, paths))}")


if __name__ == "__main__":
    import signal

    from detdiffusion.utils.cli import run_main

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the running step, keep its record
    run_main(main)
