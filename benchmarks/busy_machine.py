"""Measure a training step of the small generator next to other processes, with torch's and the tools' thread settings.

    python benchmarks/busy_machine.py --json benchmarks/results/busy_machine.json

Two trainings of configs/detdiffusion_miniscenes.py, one with the default settings of OpenMP (`before`) and one with
those of detdiffusion.utils.threads (`after`), alternate every few steps, next to zero, one and two processes that
compute without pause on one thread each. While one works, the other waits without computing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CONFIG = ROOT / "configs" / "detdiffusion_miniscenes.py"
BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:  # exit with the parent
    sum(range(10**6))
"""
GOAL = 2.0  # times the fair share


def train_in_turns(work: Path, batch_size: int) -> None:
    """Train in turns: read the limits `STEPS SECONDS` from standard input, train, and print the seconds per step."""
    import torch

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # keep mmengine's output out of the answers
    from mmengine.hooks import Hook

    from detdiffusion.datasets.miniscenes import write_miniscenes
    from detdiffusion.engine import build_runner
    from detdiffusion.utils.config import load_config

    class Turns(Hook):
        times: list[float] = []
        limits = (1, 0.0)  # warm-up

        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            steps, seconds = self.limits
            if len(self.times) >= steps or sum(self.times) >= seconds > 0:
                print(json.dumps(dict(times=self.times, threads=torch.get_num_threads())), file=answers)
                words = sys.stdin.readline().split()
                if not words:
                    os._exit(0)
                self.times, self.limits = [], (int(words[0]), float(words[1]))
            self.start = time.perf_counter()

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.times.append(time.perf_counter() - self.start)

    write_miniscenes(work / "data", "train", batch_size, size=64)
    kinds = [json.loads((work / f"data/train/{kind}.json").read_text()) for kind in ("instances", "stuff")]
    ids = [annotation["id"] for kind in kinds for annotation in kind["annotations"]]
    attributes = {str(one): ("easy", "hard")[one % 2] for one in ids}
    (work / "attributes.json").write_text(json.dumps(dict(info={}, attributes=attributes)))
    options = [f"data_root={work / 'data'}", f"attributes_file={work / 'attributes.json'}"]
    options += [f"train_dataloader.batch_size={batch_size}", "max_iters=100000"]
    config = load_config(str(CONFIG), options)
    config.work_dir, config.launcher = str(work), "none"
    runner = build_runner(config)
    runner.register_hook(Turns(), priority="VERY_HIGH")
    runner.train()


class Training:
    """One of the trainings, in a separate process."""

    def __init__(self, work: Path, environment: dict[str, str], batch_size: int) -> None:
        work.mkdir()
        command = [sys.executable, __file__, "--train", str(work), "--batch-size", str(batch_size)]
        self._log = (work / "log.txt").open("w")
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True)
        self.process = subprocess.Popen(command, env=environment, **pipes)
        self.threads = self._answer()["threads"]

    def turn(self, steps: int, seconds: float) -> list[float]:
        """Run one turn and return the seconds of each step."""
        print(steps, seconds, file=self.process.stdin, flush=True)
        return self._answer()["times"]

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: a training stopped:\n{Path(self._log.name).read_text()[-2000:]}")
        return json.loads(line)


def environments(spin: str | None) -> dict[str, dict[str, str]]:
    """Of both trainings."""
    from detdiffusion.utils.threads import choose_threads

    names = (
        "OMP_NUM_THREADS",
        "OMP_WAIT_POLICY",
        "GOMP_SPINCOUNT",
        "KMP_BLOCKTIME",
        "OPENCV_FOR_THREADS_NUM",
    )
    before = {name: value for name, value in os.environ.items() if name not in names}
    after = dict(before)
    print(f"after: {choose_threads(after)}", flush=True)
    if spin is not None:
        after["GOMP_SPINCOUNT"] = spin
    return dict(before=before, after=after)


def measure(trainings: dict[str, Training], args) -> dict[int, dict[str, list[float]]]:
    """Measure the seconds per step, by number of busy processes and training."""
    found: dict = {busy: {name: [] for name in trainings} for busy in args.busy}
    for number in range(args.rounds):
        for busy in args.busy:
            others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
            try:
                time.sleep(0.5)
                order = (
                    list(trainings) if number % 2 == 0 else list(reversed(trainings))
                )  # alternate the order
                for name in order:
                    found[busy][name] += trainings[name].turn(args.steps, args.seconds)
            finally:
                for other in others:
                    other.kill()
                    other.wait()
        print(f"round {number + 1} of {args.rounds}", flush=True)
    return found


def summarise(found: dict, threads: dict[str, int], cores: int) -> list[dict]:
    """Return one row for each number of busy processes.

    The fair share assumes that all threads of all processes get equal time: if there are more threads than cores,
    `threads` next to `busy` others on `cores` cores take (threads + busy) / cores of the time that they take alone.
    """
    idle = statistics.median(found[0]["before"])
    rows = []
    for busy, times in found.items():
        seconds = {name: statistics.median(values) for name, values in times.items()}
        fair = idle * max(1.0, (threads["before"] + busy) / cores)
        ratios = {name: value / fair for name, value in seconds.items()}
        rows.append(dict(busy=busy, fair=fair, seconds=seconds, times_fair=ratios, steps=times))
    return rows


def table(rows: list[dict]) -> str:
    """Markdown."""
    from detdiffusion.utils.tables import markdown_table

    cells = []
    for row in rows:
        seconds, ratios = row["seconds"], row["times_fair"]
        cells.append([row["busy"], f"{row['fair']:.2f}", *(f"{seconds[name]:.2f}" for name in seconds)])
        cells[-1] += [f"{ratios[name]:.2f} x" for name in ratios]
    return markdown_table(
        ["busy processes", "fair s a step", "before", "after", "before / fair", "after / fair"], cells
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="numbers of busy processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="steps per turn, default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=12, help="time limit of a turn, default: %(default)s"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="default: the config's, %(default)s")
    parser.add_argument("--spin", help="GOMP_SPINCOUNT of `after`, to compare (default: the tools')")
    parser.add_argument("--json", help="also write the results to this file")
    parser.add_argument("--train", metavar="DIR", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        return train_in_turns(Path(args.train), args.batch_size)
    if 0 not in args.busy:
        parser.error("--busy: 0 is missing, the time alone that the fair share is of")

    from detdiffusion.utils.machine import machine_facts, package_versions
    from detdiffusion.utils.threads import usable_cores

    with tempfile.TemporaryDirectory() as folder:
        trainings = {
            name: Training(Path(folder) / name, environment, args.batch_size)
            for name, environment in environments(args.spin).items()
        }
        try:
            found = measure(trainings, args)
        finally:
            for training in trainings.values():
                training.process.kill()
                training.process.wait()
    threads = {name: training.threads for name, training in trainings.items()}
    rows = summarise(found, threads, usable_cores())
    worst = max(row["times_fair"]["after"] for row in rows)
    print(table(rows))
    print(f"after: at most {worst:.2f} x its fair share (goal: {GOAL:.0f} x)")
    if args.json:
        command = " ".join(["python", "benchmarks/busy_machine.py", *sys.argv[1:]])
        record = dict(command=command, date=str(date.today()), config=CONFIG.relative_to(ROOT).as_posix())
        record.update(batch_size=args.batch_size, threads=threads, rows=rows, table=table(rows))
        record.update(machine=machine_facts(threads["after"]), versions=package_versions())
        Path(args.json).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
