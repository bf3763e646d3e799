"""The lists of a Pascal VOC set, ``ImageSets/Main/*.txt``: which annotation file every line means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.file_names import check_file_name

from .conversion import Conversion
from .input_files import COMPANIONS, IMAGE_SUFFIXES, fold, stem_of, suffix_of
from .text_files import read_lines, tails

SPLITS = ("train", "val", "trainval", "test")
_FLAGS = ("-1", "0", "1")  # of lists of one class: absent, difficult, present


def read_lists(
    set_of: Conversion, root: Path, splits: Sequence[str] | None, names: Sequence[str], base: str
) -> dict[str, list[str]]:
    """The names of every split.

    Args:
        set_of: counts what is left out.
        root: of the set.
        splits: names of lists; None: those of :data:`SPLITS` that are there, without any all names as ``all``.
        names: annotation files below their folder, without suffix.
        base: name of the folder of the annotation files.

    Raises:
        UserError: no such list, or a line that fits several files.
    """
    lists = {stem_of(path.name): path for path in _lists_of(set_of, root)}
    if splits is None:
        splits = [name for split in SPLITS for name in lists if fold(name) == split]
        if not splits:
            return {"all": list(names)}
    index, wanted = _Names(names, base), {}
    for split in splits:
        path = lists.get(check_file_name(split, "--splits"))
        if path is None:
            raise UserError(
                f"{root / 'ImageSets' / 'Main' / split}.txt: cannot read this list of names: no such file; "
                f"lists that are there: {some(lists, 10) or 'none'}"
            )
        set_of.files.use(path, COMPANIONS)
        wanted[split.lower() if fold(split) in SPLITS else split] = _read_list(set_of, path, index)
    return wanted


def _lists_of(set_of: Conversion, root: Path) -> list[Path]:
    for place in ("ImageSets/Main", "ImageSets"):
        folder = set_of.files.find(root / place)
        found = (
            sorted(p for p in folder.iterdir() if suffix_of(p) == ".txt")
            if folder and folder.is_dir()
            else []
        )
        if found:
            return [path for path in found if path.is_file() and not path.name.startswith(".")]
    return []


def _read_list(set_of: Conversion, path: Path, index: _Names) -> list[str]:
    found: dict[str, None] = {}
    for number, line in read_lines(path):
        where = f"{path.name}, line {number}: {line}"
        fitting = index.fitting(line)
        if len(fitting) > 1:
            raise UserError(
                f"{path}, line {number}: {line!r} fits several annotation files: {some(fitting)}; write the name with "
                "its folder, or without a flag"
            )
        if not fitting:
            set_of.count("name in a list without an annotation file: left out", where)
        elif fitting[0] in found:
            set_of.count("name twice in a list: taken once", where)
        else:
            found[fitting[0]] = None
    return list(found)


class _Names:
    """Names of annotation files by all the ways that lists write them."""

    def __init__(self, names: Sequence[str], base: str):
        self._exact = set(names)
        self._base = base
        self._folded: dict[str, list[str]] = {}
        self._bare: dict[str, list[str]] = {}
        for name in names:
            self._folded.setdefault(fold(name), []).append(name)
            self._bare.setdefault(fold(name.rpartition("/")[2]), []).append(name)

    def fitting(self, line: str) -> list[str]:
        """The names that a line may mean: none, one, or several that it does not tell apart."""
        fields = line.split()
        whole = self._fitting(line)
        flagged = (
            self._fitting(line[: line.rindex(fields[-1])]) if fields[-1] in _FLAGS and fields[1:] else []
        )
        # Lists of pairs name the image, then the annotation file.
        return list(dict.fromkeys(whole + flagged)) or self._fitting(fields[0])

    def _fitting(self, text: str) -> list[str]:
        for name in _spellings(text, self._base):
            if name in self._exact:
                return [name]
        for name in _spellings(text, self._base):
            if fold(name) in self._folded:
                return self._folded[fold(name)]
        bare = [name for name in _spellings(text, self._base) if "/" not in name]
        return next((self._bare[fold(name)] for name in bare if fold(name) in self._bare), [])


def _spellings(text: str, base: str) -> Iterator[str]:
    for tail in tails(text, base):
        yield tail
        if suffix_of(tail) in (*IMAGE_SUFFIXES, ".xml"):
            yield stem_of(tail)
