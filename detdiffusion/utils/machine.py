"""The software and hardware that a result was computed with, for its record."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("detdiffusion", "torch", "diffusers", "transformers", "onedl-mmengine", "onedl-mmcv")
_PACKAGES += ("onedl-mmdetection", "numpy")


def package_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that affect results; None for packages not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def machine_facts(threads: int) -> dict:
    """Return the system, processor, GPUs (names, without importing torch) and number of threads."""
    return dict(
        system=platform.platform(),
        processor=_processor(),
        gpus=_gpus(),
        cores=os.cpu_count(),
        threads=threads,
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout.split("\n")[:-1] if result.returncode == 0 else []
