"""Kill tools/augment.py at random moments, and compare what it ends in with an undisturbed run.

Run: ``python benchmarks/kill_augment.py --out benchmarks/results/kill_augment.json`` (minutes).

Both runs have the smallest size (``--smoke``) and a YOLO set of MiniScenes, and use the same folder, one after the
other. The second run is started several times and killed at a random moment: all of it by SIGKILL; the command alone
(its step works on, and the next start waits for it); the step alone; or the command by SIGTERM. Then it is continued to
its end.

Compared are the bytes of all files: annotations, attributes, predictions, images, manifests, configs, checkpoints,
results and the report. Left out are times, see ``TIMES``, and files that record a process, see ``RECORDS``.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
MARK = ".augment"
VICTIMS = ("run", "command", "step", "terminated")
RECORDS = {
    r"logs/[^/]+\.log": "output of the steps, with times and what was resumed",
    r"(.*/)?\d{8}_\d{6}/.*": "mmengine's logs of each start, with times",
    r"latents/[0-9a-f]+/.*": "a cache, in a folder that is named by the modification times of the labels",
    rf"{re.escape(MARK)}": "the lock",
}
"""Pattern of a file's path -> why it differs by nature."""
CACHE = re.compile(r"(?<=\.predictions/)[0-9a-f]+(?=/)")
"""Folder of cached predictions, which is named by the modification times of the images; what is in it is compared."""
TIMES = {
    r"stamps/[^/]+\.json": rb'"seconds": [\d.]+',
    r"summary\.json": rb'"seconds": \{[^}]*\}',
    r"report\.html": rb"[\d.]+ minutes in all steps|<h2>Seconds</h2>.*?</table>",
}
"""Pattern of a file's path -> pattern of the times in it."""


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work-dir", type=Path, help="folder for the runs, which stay (default: a temporary one)"
    )
    parser.add_argument("--out", type=Path, help="result file (json)")
    return parser.parse_args()


class Run:
    """``tools/augment.py`` in one folder.

    Args:
        folder: folder of the data, of the run and of its log.
    """

    def __init__(self, folder: Path) -> None:
        self.dir, self.log = folder / "out", folder / "augment.log"
        data = ["--train", folder / "set/data.yaml", "--vae", folder / "vae", "--out", self.dir]
        self.command = [sys.executable, "tools/augment.py", *map(str, data), "--smoke", "--seeds", "1"]

    def start(self) -> subprocess.Popen:
        """Start it in a session of its own."""
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def finish(self) -> float:
        """Run to the end; returns the seconds."""
        began = time.monotonic()
        if self.start().wait():
            sys.exit(self.log.read_text()[-3000:])
        return time.monotonic() - began

    def done(self) -> float:
        """Return the seconds of the steps so far."""
        stamps = [json.loads(path.read_text()) for path in self.dir.glob("stamps/*.json")]
        return sum(stamp["seconds"] for stamp in stamps)

    def step(self) -> str:
        """Return the name of the unfinished step."""
        stamps = {path.stem: json.loads(path.read_text()) for path in self.dir.glob("stamps/*.json")}
        return next((name for name, stamp in stamps.items() if not stamp["finished"]), "")

    def kill(self, process: subprocess.Popen, victim: str) -> bool:
        """Kill a part of a started run, and wait until all of it has ended; returns whether it was running."""
        running, steps = process.poll() is None, child_pids(process.pid)
        if running and victim == "step" and steps:
            os.kill(steps[0], signal.SIGKILL)
        elif running and victim in ("command", "terminated"):
            process.send_signal(signal.SIGKILL if victim == "command" else signal.SIGTERM)
        elif running:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.wait_for_the_step()
        return running

    def wait_for_the_step(self) -> None:
        """Wait until the lock is free: a step that outlives its command keeps it."""
        from detdiffusion.utils.work_folder import try_lock

        while self.dir.is_dir() and (lock := try_lock(self.dir / MARK)) is None:
            time.sleep(0.5)
        if self.dir.is_dir():
            lock.close()


def kill_until(run: Run, kills: int, seconds: float, rng: random.Random) -> list[dict]:
    """Start a run repeatedly and kill it; returns what was killed when."""
    log: list[dict] = []
    for number in range(kills):
        left = max(10.0, seconds - run.done())
        process, began = run.start(), time.monotonic()
        delay = rng.uniform(1, 2 * left / (kills - number + 1))
        while time.monotonic() < began + delay and process.poll() is None:
            time.sleep(0.05)
        step, victim = run.step(), rng.choice(VICTIMS)
        running = run.kill(process, victim)
        log.append(dict(victim=victim, step=step, after=round(time.monotonic() - began, 1), running=running))
        print(f"{number + 1}/{kills}: {json.dumps(log[-1])}", flush=True)
    return log


def child_pids(pid: int) -> list[int]:
    """Return the direct children of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def contents(folder: Path) -> dict[str, str]:
    """Return path -> digest of all files of a run whose content must repeat."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(re.fullmatch(pattern, name) for pattern in RECORDS):
            name, digest = CACHE.sub("KEY", name), digest_of(path, name)
            found.setdefault(name, set()).add(digest)
    return {name: " ".join(sorted(digests)) for name, digests in found.items()}


def digest_of(path: Path, name: str) -> str:
    """Return the digest of a file without times."""
    data = path.read_bytes()
    for pattern, times in TIMES.items():
        if re.fullmatch(pattern, name):
            data = re.sub(times, b"", data, flags=re.DOTALL)
    return hashlib.sha256(data).hexdigest()


def compare(whole: dict[str, str], killed: dict[str, str]) -> dict:
    """Compare the contents of two runs."""
    names = sorted(whole.keys() | killed.keys())
    differing = [name for name in names if whole.get(name) != killed.get(name)]
    kinds = Counter(Path(name).suffix or name for name in whole)
    return dict(files=len(whole), by_kind=dict(kinds.most_common()), differing=differing)


def prepare(folder: Path) -> None:
    """Write a YOLO set of MiniScenes in two splits, and a small autoencoder."""
    import torch
    from diffusers import AutoencoderTiny

    from detdiffusion.datasets.formats.exports import read_for_export, write_yolo
    from detdiffusion.datasets.miniscenes import write_miniscenes

    for split, count in (("train", 8), ("val", 4)):
        write_miniscenes(folder / "scenes", split, count, size=64)
    sources = [f"{split}={folder / 'scenes' / split / 'instances.json'}" for split in ("train", "val")]
    write_yolo(read_for_export(sources, None, crowds=False), folder / "set", "copy")
    torch.manual_seed(0)
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    ).save_pretrained(folder / "vae")


def main() -> None:
    args = parse_args()
    folder = args.work_dir or Path(tempfile.mkdtemp(prefix="kill-augment-"))
    began = time.monotonic()
    try:
        prepare(folder)
        run = Run(folder)
        seconds = run.finish()
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        run.dir.rename(folder / "whole")
        kills = kill_until(run, args.kills, seconds, random.Random(args.seed))
        run.finish()
        result = dict(
            date=datetime.date.today().isoformat(),
            command=f"python benchmarks/kill_augment.py --kills {args.kills} --seed {args.seed}",
            hardware=f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPU cores",
            wall_minutes=round((time.monotonic() - began) / 60, 1),
            undisturbed_seconds=round(seconds),
            kills=kills,
            differs_by_nature=RECORDS,
            times_left_out_of=list(TIMES),
            compared=compare(contents(folder / "whole"), contents(run.dir)),
            stray_files=[str(path.relative_to(run.dir)) for path in run.dir.rglob(".tmp-*")],
        )
    finally:
        if args.work_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    sys.exit(1 if result["compared"]["differing"] or result["stray_files"] else 0)


if __name__ == "__main__":
    main()
