"""Detect several OpenCV distributions in one environment: each installs the same folder ``cv2``, and the last one wins.

mmcv requires ``opencv-python``, imaug (which mmdet imports) requires ``opencv-python-headless``. If their versions are
equal, either works for this library. If they differ, the files of one overwrite those of the other, and uninstalling
either breaks cv2.
"""

import sys
from importlib import metadata
from types import ModuleType

DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def installed_opencv() -> dict[str, str]:
    """Return the version of each installed OpenCV distribution."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def distribution_of(cv2: ModuleType) -> tuple[str, str]:
    """Return the name and version of the distribution that the imported module comes from, as it reports them."""
    facts = getattr(cv2, "version", None)
    contrib, headless = ("contrib-" * bool(getattr(facts, "contrib", 0)), getattr(facts, "headless", 0))
    name = f"opencv-{contrib}python{'-headless' * bool(headless)}"
    return name, getattr(facts, "opencv_version", getattr(cv2, "__version__", "of no version"))


def opencv_conflict(found: dict[str, str], name: str, version: str) -> str:
    """Describe a conflict between the installed distributions and how to fix it; '' if there is none.

    Args:
        found: see :func:`installed_opencv`.
        name, version: see :func:`distribution_of`.
    """
    if len(set(found.values())) < 2:
        return ""
    listed = " and ".join(f"{distribution} {number}" for distribution, number in found.items())
    return (
        f"{listed} are installed over each other; {name} {version} is the one that is imported. Keep only one: "
        f"{mend_opencv(found, name)}"
    )


def mend_opencv(found: dict[str, str], keep: str = DISTRIBUTIONS[0]) -> str:
    """Return the command that reinstalls a single distribution and removes the others."""
    remove = f"pip uninstall -y {' '.join(found)} && " if found else ""
    return f"{remove}pip install --no-deps {keep}"


def warn_of_two_opencvs(cv2: ModuleType) -> None:
    """Print the message of :func:`opencv_conflict` to stderr, if any; called once after cv2 was imported."""
    if text := opencv_conflict(installed_opencv(), *distribution_of(cv2)):
        print(f"warning: {text}", file=sys.stderr, flush=True)
