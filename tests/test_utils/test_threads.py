"""Threads are chosen before torch, within the cores that there are, and never against the user."""

import os
import subprocess
import sys

import pytest

from detdiffusion.utils import threads


def chosen(**given):
    environment = dict(given)
    return environment, threads.choose_threads(environment)


def test_what_is_left_open_is_chosen():
    environment, line = chosen()
    cores = threads.usable_cores()
    assert environment["OMP_NUM_THREADS"] == environment["OPENCV_FOR_THREADS_NUM"] == str(cores)
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE" and environment["KMP_BLOCKTIME"] == "0"
    assert 0 < int(environment["GOMP_SPINCOUNT"]) < 100_000
    assert line.startswith(f"{cores} on {cores} core") and "passively" in line and "\n" not in line


@pytest.mark.parametrize("name, value", [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_waiting_that_the_user_chose_stays(name, value):
    environment, line = chosen(**{name: value})
    assert environment[name] == value and f"{name}={value}" in line
    assert len({"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & set(environment)) == 1


def test_numbers_that_the_user_chose_stay():
    environment, line = chosen(OMP_NUM_THREADS="5,2", MKL_NUM_THREADS="3", OPENCV_FOR_THREADS_NUM="4")
    assert [environment[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL")] == ["5,2", "3"]
    assert environment["OPENCV_FOR_THREADS_NUM"] == "4" and line.startswith("5 on ")
    assert threads.thread_count(environment) == 5


def test_ranks_share_the_cores(monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 9)
    assert [threads.rank_threads(n) for n in (1, 2, 4, 9, 20, 0)] == [9, 4, 2, 1, 1, 9]
    assert chosen(LOCAL_WORLD_SIZE="4")[0]["OMP_NUM_THREADS"] == "2"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinities")
def test_affinity_is_a_limit():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}})\n"
    code += "from detdiffusion.utils.threads import usable_cores; print(usable_cores())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "1\n", result.stderr


@pytest.mark.parametrize(
    "files, own, quota",
    [
        ({"job/cpu.max": "150000 100000", "cpu.max": "max 100000"}, "0::/job", 1.5),
        (
            {"a/b/cpu.max": "400000 100000", "a/cpu.max": "50000 100000"},
            "0::/a/b",
            0.5,
        ),  # the outer group counts
        ({"job/cpu.max": "max 100000"}, "0::/job", float("inf")),
        ({}, "0::/", float("inf")),
        (
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "300000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            "5:memory:/y\n4:cpu,cpuacct:/x",
            3.0,
        ),
        (
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            "2:cpu:/\n1:name=systemd:/",
            float("inf"),
        ),
    ],
)
def test_quota_of_control_groups(tmp_path, files, own, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own + "\n")
    assert threads.cpu_quota(tmp_path, tmp_path / "own") == quota
    assert threads.cpu_quota(tmp_path, tmp_path / "missing") == float("inf")


def test_torch_computes_with_what_was_chosen(repo_root):
    """A tool says it once, before its own first line; torch and OpenCV follow."""
    code = (
        "from detdiffusion.utils.cli import run_main\n"
        "def main():\n"
        "    import cv2, torch\n"
        "    print(torch.get_num_threads(), cv2.getNumThreads())\n"
        "run_main(main)\n"
    )
    theirs = ("OMP_", "GOMP_", "KMP_", "OPENCV_FOR_")  # also what a tool in this process has chosen
    environment = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
    results = {}
    for name, extra in {"ours": {}, "user's": {"OMP_NUM_THREADS": "1"}, "rank": {"RANK": "1"}}.items():
        results[name] = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=repo_root,
            env={**environment, **extra},
        )
    cores = threads.usable_cores()
    assert results["ours"].stdout.split() == [str(cores)] * 2, results["ours"].stderr
    assert results["ours"].stderr.count("threads: ") == 1
    assert results["user's"].stdout.split() == ["1", "1"] and "threads: 1 on" in results["user's"].stderr
    assert results["rank"].stderr == ""
