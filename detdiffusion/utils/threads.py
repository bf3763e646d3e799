"""The number of compute threads and their wait policy, chosen before torch, OpenCV or onnxruntime are imported.

OpenMP threads wait for each other in a busy loop at every layer of a network. If anything else runs on the same cores,
a waiting thread can keep the thread that it waits for off its core, and a training step takes ten times as long as its
share of the cores would need. With passive waiting, a thread yields its core after a moment. The libraries read these
settings from the environment once, when they are loaded, so this module imports only the standard library.

    python -m detdiffusion.utils.threads RANKS    # the threads of each of RANKS processes on this machine
"""

import math
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

SPIN_COUNT = "10000"
"""Iterations of the busy loop of a waiting GNU OpenMP thread before it sleeps, some tenths of a millisecond: long
enough to reach the next small layer (a tenth of it costs 20 to 50 % on an idle machine), and shorter than a scheduler's
time slice. The library's default is 300,000. ``benchmarks/busy_machine.py --spin`` compares values."""

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    Considers its CPU affinity (``taskset``, slurm), counting the two hardware threads of a core as one, as torch does,
    and the quota of its control group (containers), rounded up.
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
    else:
        cpus = range(os.cpu_count() or 1)
    cores = len({_read(Path(_SIBLINGS.format(cpu))) or str(cpu) for cpu in cpus})
    return max(1, math.ceil(min(cores, cpu_quota())))


def cpu_quota(groups: Path = _GROUPS, own_group: Path = _OWN_GROUP) -> float:
    """Return the CPU quota that the control groups of this process allow, infinity if there is no limit.

    Args:
        groups: mount point of the control groups, version 1 or 2.
        own_group: file that lists this process's groups.
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
    """Return the number of threads for each of ``ranks`` processes that share this machine."""
    return max(1, usable_cores() // max(1, ranks))


def thread_count(environment: MutableMapping[str, str] = os.environ) -> int:
    """Return the first level of ``OMP_NUM_THREADS``, or the number of usable cores if it is not set or invalid."""
    text = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(text) if text.isdigit() and int(text) else usable_cores()


def choose_threads(environment: MutableMapping[str, str] = os.environ) -> str:
    """Set the thread variables that the user has not set, for this process and its child processes.

    Variables that are set are not changed: ``OMP_NUM_THREADS``; ``OMP_WAIT_POLICY``, ``GOMP_SPINCOUNT`` (GNU OpenMP)
    and ``KMP_BLOCKTIME`` (Intel OpenMP), none of which is set if the user has set any of them; and OpenCV's number of
    threads.

    Args:
        environment: changed in place.

    Returns:
        A line that describes the settings and how to change them.
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
    """Return the CPU quota of one control group."""
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
    # torchrun also accepts "auto", "gpu" and "cpu"; its own default is one thread per rank
    print(rank_threads(int(sys.argv[1])) if sys.argv[1].isdigit() else 1)
