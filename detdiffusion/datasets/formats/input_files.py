"""The files of an input data set: case-insensitive lookup, and a record of how each file was used."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from detdiffusion.utils.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

IMAGES, LABELS, COMPANIONS = "images", "label files", "companions that were read"
HIDDEN = "hidden file: left out"
NO_FILE = "broken link, or not a regular file: left out"
LOOP = "link to a parent folder: not followed"
NO_ACCESS = "folder that cannot be read: left out"
NO_UTF8 = "file name that is not UTF-8: left out"
COMPANION = "companion that holds no objects (README, classes.txt, …): not read"
OTHER_KIND = "file of another kind: left out"

_HIDDEN_NAMES = ("__macosx", "thumbs.db", "desktop.ini")
_COMPANION_STEMS = (
    "readme",
    "license",
    "licence",
    "notes",
    "classes",
    "labels",
    "label_map",
    "dataset",
    "changelog",
)
_COMPANION_SUFFIXES = (".txt", ".md", ".json", ".pbtxt", ".yaml", ".yml", "")
_MACHINE_SUFFIXES = (".cache", ".names", ".data", ".yaml", ".yml")


class InputFiles:
    """All files of some folders, each used as an image, a label file or a companion, or left out.

    Args:
        without: a folder to skip, e.g. the output of an earlier run inside the input.
    """

    def __init__(self, without: str | Path | None = None):
        self._without = None if without is None else os.path.realpath(without)
        self._roots: list[Path] = []
        self._paths: dict[str, Path] = {}
        self._used: dict[str, str] = {}
        self._left_out: dict[str, str] = {}
        self._real: dict[str, str] = {}
        self._folders: dict[str, Path | None] = {}
        self._names: dict[Path, dict[str, list[str]]] = {}
        self._stems: dict[Path, dict[str, list[str]]] = {}

    # finding

    def scan(self, folder: str | Path) -> list[Path]:
        """Return all files below a folder, sorted by name; links to folders are followed.

        Hidden files, broken links and names that are not UTF-8 are left out immediately.

        Raises:
            UserError: if a folder cannot be read.
        """
        folder = Path(os.path.normpath(folder))
        self._roots.append(folder)
        return list(self._visit(folder, hidden=False, around=(os.path.realpath(folder),)))

    def _visit(self, folder: Path, hidden: bool, around: tuple[str, ...]) -> Iterator[Path]:
        for entry in _entries(folder):
            path = folder / entry.name
            covert = hidden or entry.name.startswith(".") or entry.name.lower() in _HIDDEN_NAMES
            if _test(entry.is_dir):
                real = os.path.realpath(path)
                if real == self._without:
                    continue
                if real in around:
                    self.leave_out(path, LOOP)
                    continue
                if not os.access(path, os.R_OK | os.X_OK):
                    self.leave_out(path, NO_ACCESS)
                    continue
                yield from self._visit(path, covert, (*around, real))
            elif not _test(entry.is_file):
                self.leave_out(path, NO_FILE)
            elif covert:
                self.leave_out(path, HIDDEN)
            elif not _is_utf8(entry.name):
                self.leave_out(path, NO_UTF8)
            else:
                self._paths.setdefault(self._key(path), path)
                yield path

    def find(self, path: str | Path) -> Path | None:
        """Find a file or folder; its path is matched case-insensitively if there is no exact match.

        Returns:
            The path as spelled on disk; None if there is no match, or more than one.
        """
        path = Path(os.path.normpath(path))
        if os.path.exists(path):
            return path
        parent = self.find(path.parent) if path.parent != path else None
        if parent is None or not os.path.isdir(parent):
            return None
        names = self._listing(parent)[0].get(fold(path.name), [])
        return parent / names[0] if len(names) == 1 else None

    def find_folder(self, path: Path) -> Path | None:
        """Find a folder as :meth:`find` does; results are cached."""
        key = str(path)
        if key not in self._folders:
            found = self.find(path)
            self._folders[key] = found if found is not None and found.is_dir() else None
        return self._folders[key]

    def with_stem(self, path: Path, suffixes: Sequence[str]) -> list[Path]:
        """Return the files with the folder and stem of ``path`` and one of some suffixes, in any case.

        Args:
            path: a path without suffix; dots in its name are part of the stem.
            suffixes: suffixes in lower case.
        """
        folder = self.find_folder(path.parent)
        if folder is None:
            return []
        names = [n for n in self._listing(folder)[1].get(fold(path.name), []) if suffix_of(n) in suffixes]
        same = [name for name in names if stem_of(name) == path.name]
        return [folder / name for name in same or names if (folder / name).is_file()]

    def find_images(self, path: Path) -> list[Path]:
        """Return the file at ``path`` in any case, else the images with its stem (see :meth:`with_stem`)."""
        file = self.find(path)
        return [file] if file and file.is_file() else self.with_stem(path, IMAGE_SUFFIXES)

    def _listing(self, folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Return the names in a folder, grouped by their case-folded form and by that of their stem."""
        if folder not in self._names:
            self._names[folder], self._stems[folder] = {}, {}
            for entry in _entries(folder):
                self._names[folder].setdefault(fold(entry.name), []).append(entry.name)
                self._stems[folder].setdefault(fold(stem_of(entry.name)), []).append(entry.name)
        return self._names[folder], self._stems[folder]

    # accounting

    def use(self, path: Path, kind: str) -> None:
        """Record that a file is used, as one of IMAGES, LABELS and COMPANIONS."""
        self._paths.setdefault(self._key(path), path)
        self._used[self._key(path)] = kind

    def is_used(self, path: Path) -> bool:
        """Return whether a file is used."""
        return self._key(path) in self._used

    def leave_out(self, path: Path, reason: str) -> None:
        """Record that a file is left out; has no effect on files that are used or already left out."""
        self._paths.setdefault(self._key(path), path)
        self._left_out.setdefault(self._key(path), reason)

    def first(self, path: Path) -> Path:
        """Return the path under which a file was seen first; it may have several through links to folders."""
        return self._paths.setdefault(self._key(path), path)

    def covers(self, folder: Path) -> bool:
        """Return whether a folder has been scanned."""
        return any(folder.is_relative_to(root) for root in self._roots)

    def undecided(self) -> list[Path]:
        """Return the files that were seen, but neither used nor left out."""
        return [p for key, p in self._paths.items() if key not in self._used and key not in self._left_out]

    def leave_out_rest(self, reason_of: Callable[[Path], str | None]) -> None:
        """Leave out all undecided files, with the reader's reason or one derived from the type of file."""
        for path in self.undecided():
            self.leave_out(path, reason_of(path) or _kind_of(path))

    def left_out(self) -> dict[str, list[Path]]:
        """Return reason -> files left out."""
        found: dict[str, list[Path]] = {}
        for key, reason in self._left_out.items():
            if key not in self._used:
                found.setdefault(reason, []).append(self._paths[key])
        return found

    def table(self) -> str:
        """Return a line with the number of files by use, which adds up to the total."""
        used = Counter(self._used.values())
        parts = [f"{used[kind]} {kind}" for kind in (IMAGES, LABELS, COMPANIONS)]
        left_out = sum(map(len, self.left_out().values()))
        return f"{len(self._paths)} files seen = {' + '.join(parts)} + {left_out} left out"

    def name(self, path: Path) -> str:
        """Return a path for a message, relative to the scanned folder that contains it."""
        for root in self._roots:
            if path.is_relative_to(root):
                return printable(path.relative_to(root).as_posix())
        return printable(str(path))

    def _key(self, path: Path) -> str:
        """Return a key that identifies a file regardless of links to folders."""
        folder, name = os.path.split(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name)


def fold(name: str) -> str:
    """Normalise a name for case-insensitive comparison, including its Unicode form (macOS decomposes accents)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def suffix_of(path: str | Path) -> str:
    """Return the suffix in lower case: ``.jpg`` for ``a.b.JPG``."""
    return os.path.splitext(path)[1].lower()


def stem_of(name: str) -> str:
    """Return the name without its last suffix: ``a.b`` for ``a.b.JPG``."""
    return os.path.splitext(name)[0]


def is_companion(path: Path) -> bool:
    """Return whether a file is one that tools write next to labels: README.roboflow.txt, classes.txt, notes.json, …"""
    suffix, stem = suffix_of(path), path.name.lower().partition(".")[0]
    return suffix in _MACHINE_SUFFIXES or (stem in _COMPANION_STEMS and suffix in _COMPANION_SUFFIXES)


def printable(text: str) -> str:
    """Escape the characters of a file name that a terminal cannot show."""
    return text.encode("utf-8", "backslashreplace").decode()


def _kind_of(path: Path) -> str:
    return COMPANION if is_companion(path) else OTHER_KIND


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _test(predicate: Callable[[], bool]) -> bool:
    """Call ``DirEntry.is_dir`` or ``DirEntry.is_file``; False for a link to itself, which raises."""
    try:
        return predicate()
    except OSError:
        return False


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot read this folder: {error.strerror or error}") from None
