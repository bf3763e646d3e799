"""Kill the generation of one set a hundred times by SIGKILL, with one or two ranks.

Run: ``python benchmarks/kill_generation.py --out benchmarks/results/kill_generation.json`` (minutes).

The model is the zoo's small one, the layouts are MiniScenes. Every round continues the set with 1 or 2 ranks and is
killed: a quarter of the rounds at startup, the others while images are generated or the set is finished; all ranks at
once or one of them (the launcher then ends the others by SIGTERM). Most rounds fork their ranks from this process,
which has imported everything and built the model, so that the kills hit the generation and not the imports. Some
rounds (``--commands``) run the real commands, tools/generate.py and tools/dist_generate.sh; there the launcher alone
may be killed, too.

Checked after every kill: each complete line of the manifests has its image with the recorded checksum. At the end the
set is compared with that of an undisturbed run of one process: the same images, ids and bytes, and no other files.
"""

import argparse
import datetime
import hashlib
import json
import multiprocessing
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["OMP_NUM_THREADS"] = "1"  # pixels repeat bit for bit for an equal number of threads
CONFIG = "configs/detdiffusion_miniscenes.py"


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--commands", type=int, default=8, help="number of rounds that run the real commands")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="result file (json)")
    return parser.parse_args()


class Killer:
    """Continue one set repeatedly, and kill every run except the last."""

    def __init__(self, args, folder: Path) -> None:
        self.args, self.folder, self.set = args, folder, folder / "killed"
        self.rng = random.Random(args.seed)
        self.log: list[dict] = []
        self.orphans: list[int] = []
        self.start_seconds: list[float] = [3.0]  # from launch to the first new image
        self.rate: list[float] = [2.0]  # images per second after that

    # one round

    def round(self, size: int, by_command: bool, number: int) -> None:
        before, lines_before, begun = self.names(), self.lines(), 0.0
        left = max(0, self.args.images - len(lines_before))
        kills_left = max(1, self.args.kills - number)
        at_start = self.rng.random() < 0.25 or not left
        victim = self.rng.choice(
            ["all", "one", "launcher"] if by_command and size > 1 else ["all", "all", "one"]
        )
        launched = time.monotonic()
        ranks, launcher = self.launch(size, by_command)
        if at_start:
            delay = self.rng.uniform(0, 1.2 * statistics.median(self.start_seconds[-15:]) + 8 * by_command)
            self.sleep(delay, ranks, launcher)
        else:
            while not self.names() - before and self.alive(ranks, launcher):
                time.sleep(0.01)
            begun = time.monotonic()
            if not by_command:
                self.start_seconds.append(begun - launched)
            # as many images as there are for this kill on average, and a part of the next one
            wanted = self.rng.uniform(0, 2 * left / kills_left)
            while len(self.names() - before) < wanted and self.alive(ranks, launcher):
                time.sleep(0.003)
            self.sleep(self.rng.uniform(0, 1 / statistics.median(self.rate[-15:])), ranks, launcher)
        killed_after = time.monotonic()
        died = self.kill(victim, ranks, launcher, by_command)
        lines = self.check()
        if not at_start and killed_after - begun > 0.2:
            self.rate.append(max(0.2, len(self.names() - before) / (killed_after - begun)))
        self.log.append(
            dict(
                ranks=size,
                by="command" if by_command else "fork",
                victim=victim,
                killed=died,
                phase="drawing" if self.names() - before else "start" if left else "checking a finished set",
                seconds=round(killed_after - launched, 2),
                images=lines,
            )
        )

    def launch(self, size: int, by_command: bool):
        if by_command:
            return [], self.launch_command(size)
        return fork_ranks(size, self.settings(self.set), self.folder / "fork.log"), None

    def settings(self, out: Path) -> dict:
        return dict(
            config=str(ROOT / CONFIG),
            out=str(out),
            strategy="hard",
            attributes=str(self.folder / "attributes.json"),
            batch_size=self.args.batch_size,
            steps=self.args.steps,
            preview_every=2.0,
            cfg_options=[f"data_root={self.folder}/data"],
        )

    def launch_command(self, size: int) -> subprocess.Popen:
        s = self.settings(self.set)
        arguments = [
            "--out",
            s["out"],
            "--strategy",
            "hard",
            "--attributes",
            s["attributes"],
            "--device",
            "cpu",
        ]
        arguments += [
            "--batch-size",
            str(s["batch_size"]),
            "--steps",
            str(s["steps"]),
            "--preview-every",
            "1",
        ]
        arguments += ["--cfg-options", *s["cfg_options"]]
        head = [sys.executable, "tools/generate.py", CONFIG, "none"]
        if size > 1:
            head = ["bash", "tools/dist_generate.sh", CONFIG, "none", str(size)]
        environment = dict(os.environ, PYTHON=sys.executable, PORT=str(free_port()))
        with (self.folder / "commands.log").open("ab") as log:
            return subprocess.Popen(
                [*head, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def alive(self, ranks, launcher) -> bool:
        return launcher.poll() is None if launcher else all(rank.is_alive() for rank in ranks)

    def sleep(self, seconds: float, ranks, launcher) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.alive(ranks, launcher):
            time.sleep(0.003)

    def kill(self, victim: str, ranks, launcher, by_command: bool) -> bool:
        """Return whether the SIGKILL hit a running process."""
        if by_command:
            return self.kill_command(victim, launcher)
        victims = ranks if victim == "all" else [self.rng.choice(ranks)]
        for rank in victims:
            rank.kill()
        if victim == "one":  # torchrun notices within a tenth of a second and ends the others
            time.sleep(self.rng.uniform(0, 0.1))
            for rank in ranks:
                rank.terminate()
        for rank in ranks:
            rank.join()
        return any(rank.exitcode == -signal.SIGKILL for rank in victims)

    def kill_command(self, victim: str, launcher) -> bool:
        children = child_pids(launcher.pid)
        running = launcher.poll() is None
        if victim == "one" and children:
            os.kill(self.rng.choice(children), signal.SIGKILL)
        elif victim == "launcher":
            launcher.kill()
        else:
            for pid in [launcher.pid, *children]:  # torchrun puts each rank into a session of its own
                if is_running(pid):
                    os.kill(pid, signal.SIGKILL)
        launcher.wait(timeout=120)
        self.orphans += [
            pid for pid in children if is_running(pid)
        ]  # they stop by themselves; the next start waits
        return running

    # what is on the disk

    def names(self) -> set[str]:
        return {p.name for p in (self.set / "images").glob("0*.png")}

    def lines(self) -> list[bytes]:
        found = []
        for part in sorted(self.set.glob("manifest*.jsonl")):
            found += part.read_bytes().splitlines(keepends=True)
        return [line for line in found if line.endswith(b"\n")]

    def check(self) -> int:
        """Check that every complete line has an intact image; return the number of images with a line."""
        entries = {e["image"]["id"]: e for e in map(json.loads, self.lines())}
        for entry in entries.values():
            data = (self.set / "images" / entry["image"]["file_name"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry["sha256"], entry["image"]["file_name"]
        return len(entries)


def fork_ranks(size: int, settings: dict, log: Path) -> list:
    """Fork ranks with torchrun's environment."""
    port = free_port()

    def work(rank: int) -> None:
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(fd, 1), os.dup2(fd, 2)
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        from detdiffusion import apis

        apis.generate_dataset(
            apis.GeneratorOptions(
                config=settings["config"], checkpoint=None, device="cpu", cfg_options=settings["cfg_options"]
            ),
            apis.LayoutOptions(attributes=settings["attributes"]),
            apis.ContentOptions(strategy=settings["strategy"]),
            apis.SetFiles(out=settings["out"], preview_every=settings["preview_every"]),
            apis.SamplingOptions(batch_size=settings["batch_size"], steps=settings["steps"]),
            launcher="pytorch" if size > 1 else "none",
            progress=False,
        )

    ranks = [multiprocessing.get_context("fork").Process(target=work, args=(rank,)) for rank in range(size)]
    for rank in ranks:
        rank.start()
    return ranks


def build_once(folder: Path) -> None:
    """Build the model in this process; forked ranks reuse it instead of building it."""
    from detdiffusion.apis import generation

    built = generation.DetDiffusionInferencer(str(ROOT / CONFIG), None, "cpu", [f"data_root={folder}/data"])
    generation.DetDiffusionInferencer = lambda *args: built


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def child_pids(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def prepare(folder: Path, images: int) -> None:
    """Write layouts and alternating attributes."""
    from detdiffusion.datasets.miniscenes import write_miniscenes

    write_miniscenes(folder / "data", "train", images, size=64, seed=0)
    attributes, names = {}, []
    for kind in ("stuff", "instances"):
        data = json.loads((folder / f"data/train/{kind}.json").read_text())
        names = [category["name"] for category in data["categories"]]
        for k, annotation in enumerate(data["annotations"]):
            attributes[annotation["id"]] = "background" if kind == "stuff" else ("easy", "hard")[k % 2]
    (folder / "attributes.json").write_text(
        json.dumps(dict(info=dict(nameable=names), attributes=attributes))
    )


def compare(killed: Path, whole: Path) -> dict:
    """Compare the finished set with the undisturbed one."""
    import numpy as np
    from PIL import Image
    from pycocotools.coco import COCO

    files = {p.name: p.read_bytes() for p in (whole / "images").iterdir()}
    mine = {p.name: p.read_bytes() for p in (killed / "images").iterdir()}
    difference = 0
    for name in files.keys() & mine.keys():
        if mine[name] != files[name]:
            a, b = (np.asarray(Image.open(p / "images" / name)).astype(int) for p in (killed, whole))
            difference = max(difference, int(np.abs(a - b).max()))
    ids = [sorted(i["id"] for i in COCO(p / "annotations.json").dataset["images"]) for p in (killed, whole)]
    lines = (killed / "manifest.jsonl").read_bytes().splitlines()
    same = {
        name: (killed / name).read_bytes() == (whole / name).read_bytes()
        for name in ("annotations.json", "manifest.jsonl", "run.json")
    }
    return dict(
        images=len(mine),
        every_image_once=len(lines) == len(mine) == len(set(ids[0])) and mine.keys() == files.keys(),
        same_ids=ids[0] == ids[1],
        files_with_the_same_bytes=sum(mine[name] == files[name] for name in files.keys() & mine.keys()),
        largest_difference_in_grey_levels=difference,
        same_json_files=same,
        entries_of_the_folder=sorted(p.name for p in killed.iterdir()),
        stray_files=[str(p.relative_to(killed)) for p in killed.rglob(".tmp-*")]
        + [p.name for p in killed.glob("manifest.rank*")],
    )


def settings_of(args) -> list[str]:
    """Return all options except the output path."""
    return [f"--{name.replace('_', '-')} {value}" for name, value in vars(args).items() if name != "out"]


def main() -> None:
    args = parse_args()
    import torch

    torch.set_num_threads(1)
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory(prefix="kill-generation-") as name:
        folder = Path(name)
        prepare(folder, args.images)
        build_once(folder)
        killer = Killer(args, folder)
        began = time.monotonic()
        (undisturbed,) = fork_ranks(1, killer.settings(folder / "whole"), folder / "fork.log")
        undisturbed.join()
        if undisturbed.exitcode:
            sys.exit((folder / "fork.log").read_text()[-3000:])
        commands = set(killer.rng.sample(range(args.kills), min(args.commands, args.kills)))
        number = 0
        while number < args.kills:
            killer.round(killer.rng.choice([1, 2]), number in commands, number)
            last = killer.log[-1]
            number += last["killed"]
            print(f"{number}/{args.kills}: {json.dumps(last)}", flush=True)
        last = fork_ranks(2, killer.settings(killer.set), folder / "fork.log")
        for rank in last:
            rank.join()
        if any(rank.exitcode for rank in last):
            sys.exit((folder / "fork.log").read_text()[-3000:])
        end = time.monotonic() + 120
        while any(map(is_running, killer.orphans)) and time.monotonic() < end:
            time.sleep(0.1)
        outlived = sum(map(is_running, killer.orphans))
        logs = "".join(p.read_text(errors="replace") for p in folder.glob("*.log"))
        met = Counter()
        for word in ("torn_lines", "missing_files", "damaged_files", "superseded_lines", "stray_files"):
            for found in logs.split(f"{word} ")[1:]:
                met[word] += int(found.split()[0].rstrip(",;"))
        kills = [one for one in killer.log if one["killed"]]
        result = dict(
            date=datetime.date.today().isoformat(),
            command=" ".join(["python benchmarks/kill_generation.py", *settings_of(args)]),
            how="fork: ranks forked from a process that has imported everything and built the model, so that kills "
            "fall on the work; command: tools/generate.py or tools/dist_generate.sh, where the launcher alone may be "
            "the victim",
            hardware=f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPU cores, one thread a rank",
            wall_minutes=round((time.monotonic() - began) / 60, 1),
            kills=len(kills),
            rounds_that_ended_before_their_kill=len(killer.log) - len(kills),
            kills_by={
                key: dict(Counter(str(one[key]) for one in kills))
                for key in ("ranks", "by", "victim", "phase")
            },
            changes_of_the_number_of_ranks=sum(a["ranks"] != b["ranks"] for a, b in zip(kills, kills[1:])),
            met_and_cleared_by_the_next_start=dict(met),
            ranks_that_outlived_their_launcher=dict(at_once=len(killer.orphans), at_the_end=outlived),
            images_after_each_kill=[one["images"] for one in kills],
            finished_set=compare(killer.set, folder / "whole"),
        )
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")
    end = result["finished_set"]
    sound = end["every_image_once"] and end["same_ids"] and not end["stray_files"]
    sys.exit(0 if sound and end["largest_difference_in_grey_levels"] <= 1 else 1)


if __name__ == "__main__":
    main()
