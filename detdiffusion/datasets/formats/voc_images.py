"""Matching Pascal VOC annotation files to images."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element

from .input_files import IMAGE_SUFFIXES, InputFiles, fold, stem_of
from .text_files import tails
from .voc_xml import text_of

BY_END = "path in an XML that does not exist here: matched by its end"
OWN_NAME = "no image with the name in the XML: the XML's own name is used"


class VocImages:
    """The images of a data set.

    Args:
        files: the files of the data set.
        folder: folder of the images.
        images: all images below it.
        names: annotation files, relative to their folder and without suffix.
    """

    def __init__(self, files: InputFiles, folder: Path, images: Iterable[Path], names: Collection[str]):
        self._files, self._folder, self._names = files, folder, names
        self._by_stem: dict[str, list[Path]] = {}
        for path in images:
            self._by_stem.setdefault(fold(stem_of(path.name)), []).append(path)

    def of(self, name: str, tree: Element) -> tuple[list[Path], str | None]:
        """Find the images that an annotation file may belong to: none, one, or several if ambiguous.

        The search looks for the file name in the XML, then for the XML's own name; in the sub-folder of the XML, in
        the folder that it gives, in the top folder, and finally, for an XML that is not in a sub-folder, in all
        sub-folders.

        Args:
            name: name of the annotation file, one of ``names``.
            tree: root of its XML.

        Returns:
            ``(images, remark)``; the remark is BY_END, OWN_NAME or None.
        """
        xml, named = PurePosixPath(name), text_of(tree, "filename").replace("\\", "/")
        places = [self._folder / xml.parent, self._folder]
        places[1:1] = [self._folder / tail for tail in tails(text_of(tree, "folder"))][-1:]
        for tail in tails(named, self._folder.name):
            for place in places:
                found = self._free(self._files.find_images(place / tail), name, place)
                if len(found) == 1:
                    return found, BY_END if tail != named else None
        for place in places:
            found = self._files.with_stem(place / xml.name, IMAGE_SUFFIXES)
            if found := self._free(found, name, place):
                return found, OWN_NAME if named else None
        return (self._anywhere(xml.name, named) if xml.parent == PurePosixPath() else []), None

    def _free(self, found: list[Path], name: str, place: Path) -> list[Path]:
        """Exclude images that belong to another annotation file by their location and name."""
        if place == self._folder / PurePosixPath(name).parent:
            return found
        return [p for p in found if stem_of(p.relative_to(self._folder).as_posix()) not in self._names]

    def _anywhere(self, name: str, named: str) -> list[Path]:
        bare = named.rpartition("/")[2]
        same = [p for p in self._by_stem.get(fold(stem_of(bare)), []) if fold(p.name) == fold(bare)]
        found = same or self._by_stem.get(fold(name), [])
        return self._free(found, name, self._folder / "*")
