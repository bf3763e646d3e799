"""Reading the lists of a Pascal VOC data set, ``ImageSets/Main/*.txt``, whose lines refer to annotation files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.file_names import check_file_name

from .conversion import Conversion
from .input_files import COMPANIONS, IMAGE_SUFFIXES, fold, stem_of, suffix_of
from .text_files import BY_END, read_lines, tails

SPLITS = ("train", "val", "trainval", "test")
_FLAGS = ("-1", "0", "1")  # in lists for a single class: absent, difficult, present


def read_lists(
    set_of: Conversion, root: Path, splits: Sequence[str] | None, names: Sequence[str], bases: tuple[str, ...]
) -> dict[str, list[str]]:
    """Read the names of every split.

    Args:
        set_of: counts what is left out.
        root: folder of the data set.
        splits: names of lists; None reads those of :data:`SPLITS` that exist, or returns all names as ``all`` if there
            are none.
        names: annotation files, relative to their folder and without suffix.
        bases: names of the folders of annotation files and images, which may occur in lists.

    Returns:
        Split -> names.

    Raises:
        UserError: if a list does not exist, or a line matches several files.
    """
    lists = {stem_of(path.name): path for path in _lists_of(set_of, root)}
    if splits is None:
        splits = [name for split in SPLITS for name in lists if fold(name) == split]
        if not splits:
            return {"all": list(names)}
    index, wanted = _Names(names, bases), {}
    for split in splits:
        path = lists.get(check_file_name(split, "`splits`"))
        if path is None:
            raise UserError(
                f"{root / 'ImageSets' / 'Main' / split}.txt: cannot read this list of names: no such file; "
                f"available lists: {some(lists, 10) or 'none'}"
            )
        set_of.files.use(path, COMPANIONS)
        plain = split.lower()
        wanted[plain if plain in SPLITS and plain not in wanted else split] = _read_list(set_of, path, index)
    return wanted


def _lists_of(set_of: Conversion, root: Path) -> list[Path]:
    for place in ("ImageSets/Main", "ImageSets"):
        folder = set_of.files.find_folder(root / place)
        found = sorted(p for p in folder.iterdir() if suffix_of(p) == ".txt") if folder else []
        if found:
            return [path for path in found if path.is_file() and not path.name.startswith(".")]
    return []


def _read_list(set_of: Conversion, path: Path, index: _Names) -> list[str]:
    found: dict[str, None] = {}
    for number, line in read_lines(path):
        where = f"{path.name}, line {number}: {line}"
        fitting, by_end = index.fitting(line)
        if len(fitting) > 1:
            raise UserError(
                f"{path}, line {number}: {line!r} matches several annotation files: {some(fitting)}; write the name "
                "with its folder, or without a flag"
            )
        if not fitting:
            set_of.count("name in a list without an annotation file: left out", where)
            continue
        if by_end:
            set_of.count(BY_END, where)
        if fitting[0] in found:
            set_of.count("duplicate name in a list: used once", where)
        found[fitting[0]] = None
    return list(found)


class _Names:
    """An index of annotation files by all spellings that lists may use."""

    def __init__(self, names: Sequence[str], bases: tuple[str, ...]):
        self._bases = bases
        self._exact = {name: [name] for name in names}
        self._folded: dict[str, list[str]] = {}
        self._bare: dict[str, list[str]] = {}
        for name in names:
            self._folded.setdefault(fold(name), []).append(name)
            self._bare.setdefault(fold(name.rpartition("/")[2]), []).append(name)

    def fitting(self, line: str) -> tuple[list[str], bool]:
        """Return the names that a line may refer to (none, one, or several if ambiguous), and whether only the end of
        its path matches."""
        fields = line.split()
        found, by_end = self._fitting(line)
        if fields[-1] in _FLAGS and fields[1:]:
            flagged, flagged_by_end = self._fitting(line[: line.rindex(fields[-1])])
            found, by_end = list(dict.fromkeys(found + flagged)), by_end or flagged_by_end
        # Lines of some lists are pairs of an image and its annotation file.
        return (found, by_end) if found else self._fitting(fields[0])

    def _fitting(self, text: str) -> tuple[list[str], bool]:
        for index, tail in enumerate(tails(text, *self._bases)):
            spellings = [tail, stem_of(tail)] if suffix_of(tail) in (*IMAGE_SUFFIXES, ".xml") else [tail]
            for known, key in ((self._exact, str), (self._folded, fold), (self._bare, fold)):
                if known is self._bare and (index or "/" in tail):
                    continue
                for spelling in spellings:
                    if key(spelling) in known:
                        return known[key(spelling)], index > 0
        return [], False
