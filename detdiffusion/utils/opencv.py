"""Several OpenCV distributions in one environment: each brings the same folder ``cv2``, and the last one wins.

mmcv asks for ``opencv-python``, imaug (which mmdet imports) for ``opencv-python-headless``. In equal versions they
are the same to this library. In others the files of one lie over those of the other, and removing either breaks cv2.
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
    """Version of each OpenCV distribution that is installed."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def distribution_of(cv2: ModuleType) -> tuple[str, str]:
    """Name and version of the distribution that the imported files are of, as they say themselves."""
    facts = getattr(cv2, "version", None)
    contrib, headless = ("contrib-" * bool(getattr(facts, "contrib", 0)), getattr(facts, "headless", 0))
    name = f"opencv-{contrib}python{'-headless' * bool(headless)}"
    return name, getattr(facts, "opencv_version", getattr(cv2, "__version__", "of no version"))


def opencv_conflict(found: dict[str, str], name: str, version: str) -> str:
    """What is wrong with the installed distributions and how to mend it; '' where nothing is.

    Args:
        found: see :func:`installed_opencv`.
        name, version: see :func:`distribution_of`.
    """
    if len(set(found.values())) < 2:
        return ""
    listed = " and ".join(f"{one} {number}" for one, number in found.items())
    return (
        f"{listed} are installed over each other; {name} {version} is the one that is imported. Keep one: "
        f"{mend_opencv(found, name)}"
    )


def mend_opencv(found: dict[str, str], keep: str = DISTRIBUTIONS[0]) -> str:
    """The command that leaves one whole distribution."""
    remove = f"pip uninstall -y {' '.join(found)} && " if found else ""
    return f"{remove}pip install --no-deps {keep}"


def warn_of_two_opencvs(cv2: ModuleType) -> None:
    """Says :func:`opencv_conflict` on stderr; to be called once, when cv2 was imported."""
    if text := opencv_conflict(installed_opencv(), *distribution_of(cv2)):
        print(f"warning: {text}", file=sys.stderr, flush=True)
