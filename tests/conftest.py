"""Fixtures for all tests: where the shared files lie, one torch thread, a folder to work in."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detdiffusion.utils.library_messages import silence

# Before anything imports torch: tests run side by side, and results repeat for an equal thread count.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]

# In this order before all others: a worker that gets one of them last would work on it alone for minutes.
LONGEST = "quickstart generator_configs validation augment_run low_data exact_resume fidelity fsdp".split()


class DeprecationLogged(logging.Handler):
    """What diffusers and transformers log of an interface that is about to go fails the test that used it."""

    def emit(self, record: logging.LogRecord) -> None:
        if "deprecated" in (text := record.getMessage()):
            raise DeprecationWarning(f"{record.name}: {text}")


def pytest_configure() -> None:
    """As the tools do it: messages that nobody can act on are left out; all others count."""
    silence()
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).addHandler(DeprecationLogged(logging.WARNING))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of tests that take longest come first; see ``--no-loadscope-reorder`` in the Makefile."""
    place = {f"test_{name}": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="module", autouse=True)
def no_default_scope() -> None:
    """What a file's tests build does not depend on the scope that another file's left in the same process."""
    registry = sys.modules.get("mmengine.registry")
    if registry is not None:
        registry.DefaultScope._instance_dict.clear()


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with public photographs and weights: ``$DETDIFFUSION_SHARED`` or ``../shared``, else skip."""
    folder = Path(os.environ.get("DETDIFFUSION_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder with shared test data at {folder} (set DETDIFFUSION_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def no_image_rules(monkeypatch) -> None:
    """Rules for image files that a test chooses end with it."""
    from detdiffusion.utils import image_rules

    monkeypatch.setattr(image_rules, "_chosen_by", {})
    for name in ("DETDIFFUSION_EXIF_ORIENTATION", "DETDIFFUSION_HUGE_IMAGES"):
        monkeypatch.setenv(name, "")


def registered() -> set[tuple]:
    """(registry, name, component) of everything in the library's registries, if they are loaded."""
    ours = sys.modules.get("detdiffusion.registry")
    registries = [part for part in vars(ours).values() if isinstance(part, ours.Registry)] if ours else []
    return {(registry, name, part) for registry in registries for name, part in registry.module_dict.items()}


@pytest.fixture(autouse=True)
def no_components_of_tests() -> Iterator[None]:
    """What a test registers that belongs to no loaded module leaves the registries with it."""
    before = registered()
    yield
    for registry, name, part in registered() - before:
        if (
            isinstance(part, type)
            and getattr(sys.modules.get(part.__module__), part.__name__, None) is not part
        ):
            registry.module_dict.pop(name)


@pytest.fixture
def work_dir(tmp_path, monkeypatch) -> Path:
    """An empty folder that is also the current one, so that nothing is written into the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
