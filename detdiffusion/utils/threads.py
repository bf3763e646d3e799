"""How many threads compute and how they wait, chosen before torch, OpenCV or onnxruntime are imported.

OpenMP's threads wait for each other in a busy loop, at every layer of a network. Where anything else runs on the
same cores, a thread that waits keeps the one it waits for off its core, and a training step takes ten times its
share. Passive waiting gives the core away after a moment. The libraries read all of it from the environment, once,
when they are loaded; so this module imports the standard library only.

    python -m detdiffusion.utils.threads RANKS    # the threads of each of RANKS processes on this machine
"""

import math
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

SPIN_COUNT = "10000"
"""Turns of the loop in which a thread of GNU OpenMP waits before it sleeps, some tenths of a millisecond: long enough
for the next small layer (a tenth of it costs 20 to 50 % on an idle machine), shorter than a scheduler's time slice.
The library's own count is 300,000. ``benchmarks/busy_machine.py --spin`` compares."""

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def usable_cores() -> int:
    """Cores that this process may use, at least 1.

    Its affinity counts (``taskset``, slurm), with the two threads of a core as one, as torch counts them, and its
    control group's quota (containers), rounded up.
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
    else:
        cpus = range(os.cpu_count() or 1)
    cores = len({_read(Path(_SIBLINGS.format(cpu))) or str(cpu) for cpu in cpus})
    return max(1, math.ceil(min(cores, cpu_quota())))


def cpu_quota(groups: Path = _GROUPS, own_group: Path = _OWN_GROUP) -> float:
    """Processors that the control groups of this process allow it, infinity without a limit.

    Args:
        groups: where control groups are mounted, of version 1 or 2.
        own_group: the list of this process's groups.
    """
    quota = math.inf
    for line in _read(own_group).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / controllers if controllers else groups
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            quota = min(quota, _limit(folder))
    return quota


def rank_threads(ranks: int) -> int:
    """Threads of each of ``ranks`` processes that share this machine."""
    return max(1, usable_cores() // max(1, ranks))


def thread_count(environment: MutableMapping[str, str] = os.environ) -> int:
    """What ``OMP_NUM_THREADS`` says, of its first level; the usable cores where it says nothing readable."""
    text = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(text) if text.isdigit() and int(text) else usable_cores()


def choose_threads(environment: MutableMapping[str, str] = os.environ) -> str:
    """Chooses what the user left open, for this process and those that it starts.

    Variables that are set stay as they are: ``OMP_NUM_THREADS``; ``OMP_WAIT_POLICY``, ``GOMP_SPINCOUNT`` (GNU
    OpenMP) and ``KMP_BLOCKTIME`` (Intel's) as one choice; and OpenCV's own number of threads.

    Args:
        environment: changed in place.

    Returns:
        One line that says what is in force and who chose it.
    """
    cores = usable_cores()
    given = bool(environment.get("OMP_NUM_THREADS"))
    if not given:
        ranks = environment.get("LOCAL_WORLD_SIZE", "1")  # torchrun's; it sets one thread itself
        environment["OMP_NUM_THREADS"] = str(rank_threads(int(ranks) if ranks.isdigit() else 1))
    count = thread_count(environment)
    environment.setdefault("OPENCV_FOR_THREADS_NUM", str(count))
    chosen = [name for name in _WAITING if environment.get(name)]
    if not chosen:
        environment.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT=SPIN_COUNT, KMP_BLOCKTIME="0")
    waiting = ", ".join(f"{name}={environment[name]}" for name in chosen) or "waiting passively"
    who = "" if given else "; set OMP_NUM_THREADS for another number"
    return f"{count} on {cores} core{'s' * (cores != 1)}, {waiting}{who}"


def _limit(folder: Path) -> float:
    """Processors that one control group allows."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")  # version 2
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return math.inf  # no file, "max" or -1
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    # torchrun also takes "auto", "gpu" and "cpu", and one thread is what it sets itself
    print(rank_threads(int(sys.argv[1])) if sys.argv[1].isdigit() else 1)
