"""Run the tests with the lowest and the newest versions that our requirements allow, on every Python found.

Each environment is built in --envs by uv, which links files from its cache instead of copying them, so that later
environments take seconds. The environment .venv is not changed. The record lists the versions, the results of the tests
and their duration; finished environments are not tested again unless something changed.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
ENDS = {"lowest": "lowest-direct", "newest": "highest"}
TESTS = ("models", "generation", "engine", "integrations", "setup")
REQUIREMENTS = ("runtime", "optional", "tests")
# Distributed as source; they build nothing.
SOURCES = ("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection", "mmagic")
MMAGIC = ("click", "einops", "lpips", "pandas", "resize-right")  # what its import needs
NAMED = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "huggingface-hub",
    "numpy",
    "pillow",
    "opencv-python",
)

EXAMPLES = """examples:
  make test-matrix
  make test-matrix ARGS="--python 3.12 --end lowest"
  make test-matrix ARGS="--json benchmarks/results/version_matrix.json"
  python benchmarks/version_matrix.py --resolve-only     # the versions alone, in seconds
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", action="append", choices=PYTHONS, help="default: all; may be repeated")
    parser.add_argument("--end", action="append", choices=list(ENDS), help="default: both")
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="FOLDER", help="tests/test_FOLDER")
    parser.add_argument("--envs", type=Path, default=ROOT / "work_dirs/version_matrix", metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the record (default: DIR/record.json)")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="number of pytest workers"
    )
    parser.add_argument(
        "--resolve-only", action="store_true", help="print the versions without installing anything"
    )
    return parser.parse_args()


def uv(*args: object, **options) -> subprocess.CompletedProcess:
    """Run uv; raise SystemExit with its output if it fails."""
    command = [shutil.which("uv", path=f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}") or "uv"]
    result = subprocess.run([*command, *map(str, args)], capture_output=True, text=True, **options)
    if result.returncode:
        raise SystemExit(f"error: uv {' '.join(map(str, args))}:\n{result.stderr.strip()}")
    return result


def interpreter(version: str) -> str | None:
    """Return the path of a Python version on PATH or in pyenv, or None if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)]
    for path in filter(None, found):
        code = "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])"
        result = subprocess.run([str(path), "-c", code], capture_output=True, text=True)
        if result.returncode == 0 and result.stdout.split()[-1] == version:
            return result.stdout.split()[0]
    return None


def resolve(version: str, end: str) -> str:
    """Return the lowest or newest exact versions of the requirements as the text of a requirements file."""
    sources = [option for name in SOURCES for option in ("--no-binary", name)]
    files = [ROOT / "requirements" / f"{name}.txt" for name in REQUIREMENTS]
    arguments = ("--resolution", ENDS[end], "--only-binary", ":all:", *sources)
    return uv(
        *("pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", version),
        *arguments,
        *files,
    ).stdout


def versions(locked: str) -> dict[str, str]:
    """Return the versions of the packages listed in the record."""
    found = dict(re.findall(r"^([\w.-]+)==([\w.+]+)", locked, re.MULTILINE))
    return {name: found[name] for name in NAMED if name in found}


def build(folder: Path, python: str, locked: str) -> Path:
    """Build an environment with these packages and ours (editable); return its interpreter."""
    uv("venv", "--quiet", "--clear", "--seed", "--python", python, folder)
    (folder / "requirements.txt").write_text(locked)
    target = ("--quiet", "--python", folder / "bin/python")
    uv("pip", "install", *target, "-r", folder / "requirements.txt")
    uv("pip", "install", *target, "--no-deps", "-r", ROOT / "requirements/mmagic.txt")
    uv("pip", "install", *target, *MMAGIC, "-c", folder / "requirements.txt")
    uv("pip", "install", *target, "--no-deps", "--no-build-isolation", "-e", ROOT)
    return folder / "bin/python"


def run_tests(python: Path, tests: list[str], workers: int, log: Path) -> dict:
    """Run pytest and return its counts; its output is written to ``log``."""
    folders = [f"tests/test_{name}" for name in tests]
    command = [
        python,
        "-m",
        "pytest",
        "-n",
        workers,
        "--dist",
        "loadfile",
        "-p",
        "no:cacheprovider",
        *folders,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with open(log, "w") as file:
        done = subprocess.run([str(c) for c in command], cwd=ROOT, env=environment, stdout=file, stderr=file)
    text = log.read_text()
    counts = {
        word: int(number)
        for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", text[-400:])
    }
    failures = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    return dict(status=done.returncode, **counts, failures=failures[:20])


def code_state() -> str:
    """Return the commit, with '+' appended if files differ from it."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    dirty = subprocess.run(
        [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True
    ).stdout.strip()
    return commit + ("+" if dirty else "")


def try_one(version: str, end: str, args: argparse.Namespace) -> dict:
    """Resolve, build (if changed) and test one environment."""
    start = time.monotonic()
    python = interpreter(version)
    if python is None:
        return dict(skipped="no such Python on this machine")
    locked = resolve(version, end)
    if args.resolve_only:
        return dict(versions=versions(locked))
    folder = args.envs / f"{version}-{end}"
    stamp, key = folder / "built", hashlib.sha256((locked + python).encode()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != key:
        build(folder, python, locked)
        stamp.write_text(key)
    built = time.monotonic()
    counts = run_tests(folder / "bin/python", args.tests, args.workers, args.envs / f"{version}-{end}.log")
    return dict(
        versions=versions(locked),
        tests=counts,
        minutes=dict(set_up=round((built - start) / 60, 1), tests=round((time.monotonic() - built) / 60, 1)),
        code=code_state(),
        date=date.today().isoformat(),
    )


def line(name: str, result: dict) -> str:
    if "tests" not in result:
        return f"{name:13s} {result.get('skipped') or result['versions']}"
    tests, minutes = result["tests"], result["minutes"]
    counts = ", ".join(
        f"{tests[word]} {word}" for word in ("passed", "failed", "errors", "skipped") if tests.get(word)
    )
    verdict = "pass" if tests["status"] == 0 else "FAIL"
    return f"{name:13s} {verdict}  {counts}  set-up {minutes['set_up']} min, tests {minutes['tests']} min"


def main() -> int:
    args = parse_args()
    args.envs.mkdir(parents=True, exist_ok=True)
    record_file = args.json or args.envs / "record.json"
    record = json.loads(record_file.read_text()) if record_file.is_file() else {}
    failed = False
    for version in args.python or PYTHONS:
        for end in args.end or ENDS:
            name = f"{version} {end}"
            print(f"{name:13s} ...", end="\r", flush=True)
            result = try_one(version, end, args)
            print(line(name, result), flush=True)
            failed |= result.get("tests", {}).get("status", 0) != 0
            for test in result.get("tests", {}).get("failures", []):
                print(f"  {test}")
            if not args.resolve_only:
                record[name] = result
                record_file.parent.mkdir(parents=True, exist_ok=True)
                record_file.write_text(json.dumps(record, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
