"""Build script: never imports torch; wheel and editable install both carry ``detdiffusion/.mim``.

``.mim`` holds configs, tools and model-index.yml. mmengine finds ``_base_ = 'detdiffusion::file.py'`` there.
A wheel gets copies, put straight into the build folder; an editable install gets links in the package.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "detdiffusion"
MIM_PARTS = ("configs", "tools", "model-index.yml")


def put(source: Path, target: Path, link: bool) -> None:
    """Link or copy ``source`` to ``target``, in place of what lies there."""
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            target.symlink_to(Path("..") / ".." / source.name, target_is_directory=source.is_dir())
            return
        except OSError:  # a system without links: the copy is renewed by the next install
            pass
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.py[cod]"))
    else:
        shutil.copy2(source, target)


def add_mim(package: Path, link: bool) -> None:
    """Give the package folder its ``.mim``."""
    for name in MIM_PARTS:
        put(ROOT / name, package / ".mim" / name, link)


class BuildPy(build_py):
    """Adds ``.mim`` to the built package; in an editable build nothing is copied."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            add_mim(Path(self.build_lib) / "detdiffusion", link=False)


class EditableWheel(editable_wheel):
    """Links ``.mim`` inside the source package, which an editable install uses in place."""

    def run(self) -> None:
        add_mim(PACKAGE, link=True)
        super().run()


def version() -> str:
    return re.search(r'^__version__ = "(.+)"', (PACKAGE / "__init__.py").read_text(), re.MULTILINE)[1]


def requirements(name: str) -> list[str]:
    """The requirements of a file in ``requirements/``, with the files that it includes."""
    lines = []
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            lines += requirements(line[3:].strip().removesuffix(".txt"))
        elif line:
            lines.append(line)
    return lines


readme = ROOT / "README.md"
setup(
    name="detdiffusion",
    version=version(),
    description="Perception-aware layout-to-image diffusion that makes training data for detectors",
    long_description=readme.read_text(encoding="utf-8") if readme.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    classifiers=[
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["detdiffusion", "detdiffusion.*"]),
    package_data={"detdiffusion": ["zoo/**/*", "zoo/*", "studio/page/*"]},
    include_package_data=False,
    entry_points={"console_scripts": ["detdiffusion = detdiffusion.cli:main"]},
    install_requires=requirements("runtime"),
    extras_require={name: requirements(name) for name in ("optional", "tests")},
    cmdclass={"build_py": BuildPy, "editable_wheel": EditableWheel},
    zip_safe=False,
)
