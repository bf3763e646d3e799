"""What an install carries: ``.mim`` in a wheel and in an editable install, the lock, one cv2."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def copy_project(target):
    """The tracked files, as a clone has them."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout
    files = [n for n in names.split("\0") if n and (ROOT / n).is_file() and not n.startswith("tests/")]
    if not files:
        pytest.skip("not a git checkout")
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((ROOT / name).read_bytes())
    return target


def pip(*args, cwd):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, args)]
    # A torch that fails to import proves that the build does not need it.
    (cwd / "block").mkdir(exist_ok=True)
    (cwd / "block" / "torch.py").write_text("raise ImportError('setup.py imported torch')\n")
    env = dict(os.environ, PYTHONPATH=str(cwd / "block"))
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


RESOLVE = """
import sys
sys.path.insert(0, sys.argv[1])
import detdiffusion, mmengine.utils.package_utils
assert detdiffusion.__file__.startswith(sys.argv[1]), detdiffusion.__file__
from mmengine.config import Config
for base in ('detdiffusion::_base_/default_runtime.py', 'detdiffusion::probe.py'):
    cfg = Config.fromfile(sys.argv[2].replace('BASE', base.replace('/', '-').replace(':', '-')))
    print(sorted(cfg.keys()))
"""


def resolves_from_elsewhere(package_root, folder):
    """``_base_ = 'detdiffusion::...'`` in another folder, with and without a folder in the name."""
    folder.mkdir()
    for base in ("detdiffusion::_base_/default_runtime.py", "detdiffusion::probe.py"):
        name = base.replace("/", "-").replace(":", "-")
        (folder / f"my-{name}").write_text(f"_base_ = [{base!r}]\nmine = 1\n")
    code = [sys.executable, "-c", RESOLVE, str(package_root), str(folder / "my-BASE")]
    result = subprocess.run(code, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    keys = result.stdout.splitlines()
    assert "'default_hooks'" in keys[0] and "'mine'" in keys[0]
    assert "'probe'" in keys[1] and "'mine'" in keys[1]


def test_wheel_carries_mim_and_zoo(tmp_path):
    project = copy_project(tmp_path / "project")
    (project / "configs" / "probe.py").write_text("probe = 1\n")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path, project, cwd=tmp_path)
    wheel = next(tmp_path.glob("detdiffusion-*.whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "detdiffusion/.mim/model-index.yml" in names
    for folder in ("configs", "tools"):
        wanted = {p.relative_to(project).as_posix() for p in (project / folder).rglob("*.*") if p.is_file()}
        assert wanted and {f"detdiffusion/.mim/{name}" for name in wanted} <= names
    for folder in ("zoo", "studio/page"):
        files = (project / "detdiffusion" / folder).rglob("*")
        wanted = {p.relative_to(project).as_posix() for p in files if p.is_file()}
        assert wanted and wanted <= names
    assert not [n for n in names if n.startswith(("tests/", "tools/", "configs/")) or "__pycache__" in n]
    assert not (project / "detdiffusion" / ".mim").exists()  # the build leaves the sources alone
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    resolves_from_elsewhere(site, tmp_path / "elsewhere")
    (points,) = site.glob("*.dist-info/entry_points.txt")
    assert "detdiffusion = detdiffusion.cli:main" in points.read_text()
    environment = dict(os.environ, PYTHONPATH=str(site))
    command = [sys.executable, "-m", "detdiffusion.cli", "train", "--help"]
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert shown.stdout.startswith("usage: detdiffusion train "), shown.stderr


def test_editable_install_links_mim(tmp_path):
    project = copy_project(tmp_path / "project")
    (project / "configs" / "probe.py").write_text("probe = 1\n")
    site = tmp_path / "site"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", site]
    pip("install", *options, "-e", project, cwd=tmp_path)
    mim = project / "detdiffusion" / ".mim"
    for name in ("configs", "tools", "model-index.yml"):
        assert (mim / name).is_symlink() and (mim / name).resolve() == project / name
    resolves_from_elsewhere(project, tmp_path / "elsewhere")


def lock_lines():
    lines = (ROOT / "requirements" / "lock.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_lock_is_exact_complete_and_has_one_cv2(version):
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    chosen = {}
    for line in lock_lines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(dict(python_version=version)):
            assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), line
            name = canonicalize_name(requirement.name)
            assert name not in chosen, f"{name} twice for Python {version}"
            chosen[name] = requirement
    assert [name for name in chosen if name.startswith("opencv")] == ["opencv-python"]
    wanted = set()
    for name in ("runtime", "mminstall", "optional", "tests", "mmagic"):
        for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
            line = line.split("#")[0].strip()
            if line and not line.startswith("-"):
                requirement = Requirement(line)
                wanted.add(canonicalize_name(requirement.name))
                lock = chosen[canonicalize_name(requirement.name)]
                assert str(lock.specifier)[2:] in requirement.specifier, f"{line} against {lock}"
    assert wanted <= set(chosen)


def imported_packages(folder):
    """Top-level names that the Python files of a folder import, inside functions too."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"detdiffusion"}


def test_every_imported_package_is_required():
    from importlib.metadata import distributions

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    listed = set()
    for name in ("runtime", "mminstall", "optional", "mmagic"):
        for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
            line = line.split("#")[0].strip()
            if line and not line.startswith("-"):
                listed.add(canonicalize_name(Requirement(line).name))
    imported = set().union(*(imported_packages(ROOT / name) for name in ("detdiffusion", "tools", "configs")))
    assert len(imported) > 15  # the search works
    owners: dict[
        str, list[str]
    ] = {}  # packages_distributions() of Python 3.10 misses those without a top_level.txt
    for distribution in distributions():
        for name in {file.parts[0].removesuffix(".py") for file in distribution.files or ()}:
            owners.setdefault(name, []).append(distribution.metadata["Name"])
    missing = [
        name
        for name in sorted(imported)
        if not {canonicalize_name(owner) for owner in owners.get(name, [name])} & listed
    ]
    assert not missing


def test_lock_is_what_is_installed():
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    differing = []
    for line in lock_lines():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            installed = "not installed"
        if f"=={installed}" != str(requirement.specifier):
            differing.append(f"{line}: {installed}")
    if differing and not list(Path(sys.prefix).glob(".ready-*")):
        pytest.skip(f"not the environment of `make`: {differing}")
    assert not differing


# Left out on purpose: a second cv2 and numba; mmagic's list is older and longer than what its import needs.
LEFT_OUT = {"imaug": {"opencv-python-headless", "imagecorruptions-imaug"}, "mmagic": None}


def test_lock_has_what_its_packages_require():
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [Requirement(line) for line in lock_lines()]
    locked = {canonicalize_name(line.name) for line in lines}
    missing = []
    for line in sorted(lines, key=str):
        name = canonicalize_name(line.name)
        try:
            installed, wanted = version(name), [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue  # another Python's line; test_lock_is_what_is_installed covers the others
        if name == "torch" or installed not in line.specifier:
            continue  # pip resolves torch's own CUDA libraries; another version has other requirements
        for requirement in wanted:
            applies = requirement.marker is None or requirement.marker.evaluate(dict(extra=""))
            left_out = LEFT_OUT.get(name, set())
            if (
                applies
                and left_out is not None
                and canonicalize_name(requirement.name) not in left_out | locked
            ):
                missing.append(f"{name} needs {requirement}")
    assert not missing


def test_setup_reads_no_torch_and_names_the_licence():
    assert "import torch" not in (ROOT / "setup.py").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_make_refuses_an_unsupported_python(tmp_path):
    project = copy_project(tmp_path / "project")
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    result = subprocess.run(["make", "test", f"PYTHON={fake}"], cwd=project, capture_output=True, text=True)
    assert result.returncode != 0 and "is no Python 3.10 to 3.13" in result.stderr
    assert not (project / ".venv").exists()
