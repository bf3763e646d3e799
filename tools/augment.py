"""From labels to an answer: train a generator on a labelled set, and measure whether its images help a detector.

Checks and converts the labels, finds out which objects are hard, trains a layout-to-image generator, scores it on
held-out layouts, makes synthetic training sets, checks them with a detector, trains the same detector on real images,
with copy-paste, and with generated ones beside it, for equally many iterations over several seeds, and ends in one
sentence with its uncertainty.

Every step is one of the public tools; OUT/stamps contains the commands, OUT/logs their output, OUT/configs the derived
configs: edit them, and run the same command again. After an interruption the same command continues. Writes
OUT/report.html and OUT/summary.json.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

EXAMPLES = """examples:
  # Pascal VOC, no Stable Diffusion: a small generator from nothing on TAESD's latents, within 90 minutes of a CPU
  python tools/augment.py --train BCCD_Dataset/BCCD --vae taesd_encoder.safetensors taesd_decoder.safetensors \\
      --budget 90 --out work_dirs/bccd
  # COCO jsons, Stable Diffusion, and a detector that already knows the classes
  python tools/augment.py --train train.json --val val.json --test test.json --img-dir images \\
      --base models/stable-diffusion-v1-5 --detector CONFIG WEIGHTS --budget 600 --out work_dirs/mine
  # given sizes, 16 steps at a time: small networks on one GPU of a machine with 16 cores
  python tools/augment.py --train my_set/data.yaml --vae models/taesd --detector-iters 500 --generator-iters 1000 \\
      --parallel 16 --seeds 5 --out work_dirs/mine
  python tools/augment.py --train my_set/data.yaml --vae models/taesd --learner fcos --out work_dirs/mine --dry-run
"""
MARK = ".augment"
PATHS = ("train", "val", "test", "out", "img_dir")


def build_parser():
    from detdiffusion.experiments.augment.settings import AugmentOptions
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    add_options(parser, AugmentOptions)
    return parser


def main(args) -> None:
    from detdiffusion.experiments.augment.pipeline import of_data, of_experiment, steps
    from detdiffusion.experiments.augment.preflight import check_options, record_owner
    from detdiffusion.experiments.augment.run_folder import RunFolder
    from detdiffusion.experiments.run_parallel import FolderSteps, run_parallel
    from detdiffusion.experiments.run_steps import claim, print_commands, run_steps

    options = options_of(args)
    os.chdir(ROOT)  # as the commands, for which the paths are
    run = RunFolder(ROOT, options)
    check_options(options, run.dir)
    dry = RunFolder(ROOT, options, dry=True)
    first = list(of_data(dry))
    planned = [*first, *of_experiment(dry)]
    if options.dry_run:
        print_commands(planned)
        return
    run.look_early()
    with claim(run.dir, MARK, "--out") as lock:
        record_owner(options, run.dir)
        if options.parallel == 1:
            seconds, threads = run_steps(steps(run), len(planned), ROOT, run.dir, lock)
        else:
            seconds, _ = run_steps(of_data(run), len(first), ROOT, run.dir, lock)
            works = [FolderSteps(run.dir, lock, list(of_experiment(run)))]
            others, threads = run_parallel(works, options.parallel, ROOT)
            seconds |= others[run.dir]
        from detdiffusion.experiments.augment.report import minutes_in_all, write_answer

        verdict = write_answer(run, seconds, threads)
    print(minutes_in_all(run, seconds))
    print(f"written: {run.dir / 'report.html'}, {run.dir / 'summary.json'}")
    if options.smoke:
        print("--smoke only tests the steps: at these sizes the answer is meaningless")
    print(verdict.sentence)


def options_of(args):
    """Return the options with paths as the steps' commands, which run in the repository, see them."""
    from detdiffusion.experiments.augment.settings import LEARNERS, NO_BASE, AugmentOptions
    from detdiffusion.utils.option_groups import build_options
    from detdiffusion.utils.work_folder import seen_from

    def seen(path: str) -> str:
        return path if "://" in path or "::" in path else str(seen_from(ROOT, path))

    paths = {name: seen(value) for name in PATHS if (value := getattr(args, name)) is not None}
    if args.base != NO_BASE:
        paths["base"] = seen(args.base)
    if args.vae:
        paths["vae"] = [seen(path) for path in args.vae]
    if args.detector:
        paths["detector"] = tuple(seen(path) for path in args.detector)
    if args.learner not in LEARNERS and args.learner.endswith(".py"):
        paths["learner"] = seen(args.learner)
    return build_options(AugmentOptions, args, **paths)


if __name__ == "__main__":
    import signal

    from detdiffusion.utils.cli import run_main

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the running step, keep its record
    run_main(main, build_parser)
