"""The attributes file: ``{"info": {...}, "attributes": {"<annotation id>": "easy|hard|background"}}``.

``info.words`` lists the attributes, the easiest first, if they differ from the paper's. ``objects`` holds a digest of
each object, which tells whether an annotation with the same id in another file is the same object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.logging import print_log

from detdiffusion.datasets.coco_json import load_json
from detdiffusion.datasets.object_digests import digests_of_files
from detdiffusion.structures.layout import ATTRIBUTES, check_attribute_words
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.files import sha256_of, write_atomic


@dataclass
class AttributesFile:
    """Attributes of one data set, as :mod:`tools/extract_attributes.py` writes them.

    Attributes:
        path: the file.
        attributes: annotation id -> attribute.
        info: how they were computed: detector or predictions, thresholds, annotation files, counts.
        scores: annotation id -> continuous score (highest IoU * score); empty if the file has none.
        digests: annotation id -> :func:`~detdiffusion.datasets.object_digests.object_digests`; empty if the file has
            none, as files of earlier versions.
    """

    path: Path
    attributes: dict[int, str]
    info: dict = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    digests: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> AttributesFile:
        """Reads and validates the file.

        Raises:
            UserError: if the file does not exist, is broken json, or is not an attributes file.
        """
        path = Path(path)
        if not path.exists():
            raise UserError(f"{path}: no such attributes file; tools/extract_attributes.py writes it")
        data = load_json(path, "attributes file")
        if not isinstance(data, dict) or not isinstance(data.get("attributes"), dict):
            raise UserError(
                f"{path}: not an attributes file: it lacks the object 'attributes'; "
                "create one with tools/extract_attributes.py"
            )
        info = data.get("info") if isinstance(data.get("info"), dict) else {}
        vocabulary = ATTRIBUTES
        if "words" in info:
            listed = info["words"] if isinstance(info["words"], list) else []
            vocabulary = check_attribute_words(listed, f"{path}: info.words")
        nameable = info.get("nameable") or []
        if not isinstance(nameable, list) or not all(isinstance(name, str) for name in nameable):
            raise UserError(
                f"{path}: info.nameable must be a list of class names, it is {str(nameable)[:60]}; correct it, or "
                "create the file again with tools/extract_attributes.py"
            )
        words = {word: word for word in vocabulary}  # annotations share one string object per word
        attributes = {}
        for key, value in data["attributes"].items():
            if not isinstance(value, str) or value not in words:
                raise UserError(
                    f"{path}: annotation id {key} has the unknown attribute {value!r}; known are {', '.join(words)}"
                )
            attributes[_annotation_id(key, path)] = words[value]
        scores = data.get("scores") if isinstance(data.get("scores"), dict) else {}
        digests = data.get("objects", {})
        if not isinstance(digests, dict) or not all(type(value) is int for value in digests.values()):
            raise UserError(
                f"{path}: 'objects' must map each annotation id to a whole number; create the file again with "
                "tools/extract_attributes.py"
            )
        return cls(path, attributes, info, _by_id(scores, path), _by_id(digests, path))

    @property
    def words(self) -> tuple[str, ...]:
        """The file's vocabulary of attributes, the easiest first, 'background' last."""
        return tuple(self.info.get("words", ATTRIBUTES))

    def write(self) -> None:
        """Writes the file atomically.

        Raises:
            UserError: if the file cannot be written.
        """
        data = {"info": self.info, "attributes": self.attributes}
        if self.scores:
            data["scores"] = {key: round(value, 4) for key, value in self.scores.items()}
        if self.digests:
            data["objects"] = self.digests
        write_atomic(self.path, json.dumps(data, indent=1).encode())

    def lookup(self, ids: Sequence[int], where: str, missing: str = "error") -> list[str]:
        """Return the attributes of annotations, in order.

        Args:
            ids: annotation ids.
            where: what they belong to, used in the error message ('image 17', 'data/instances.json').
            missing: 'error', or the attribute for ids that the file lacks.

        Raises:
            UserError: if ``missing`` is 'error' and the file lacks ids; gives their number.
        """
        if missing == "error":
            self.check(ids, where)
        return [self.attributes.get(i, missing) for i in ids]

    def misfit(
        self, ids: Sequence[int], ann_files: Sequence[str | Path], digests: Sequence[int] | None = None
    ) -> str:
        """Explain why objects are not those that the attributes were computed for; empty if they are.

        Equal ids are not enough: two data sets may both count from 1, and a set that is exported again may be numbered
        differently. Objects without an attribute are ignored. Files of earlier versions, which record no objects, are
        compared by the checksum of each annotation file, or with their own annotation files if those still exist.

        Args:
            ids: annotation ids.
            ann_files: the COCO jsons that they come from.
            digests: digests of the objects; None computes them from ``ann_files``.
        """
        recorded = self.digests
        if not recorded:
            unknown = self._unknown_files(ann_files)
            if not unknown:
                print_log(
                    f"{self.path}: records no objects; it was compared with the annotation files by their checksums "
                    "only (tools/extract_attributes.py now writes files that record each object)",
                    logger="current",
                )
                return ""
            recorded = self._digests_of_sources()
            if not recorded:
                return (
                    f"{self._origin()}, whose content differs from {', '.join(map(str, unknown))}, so equal annotation "
                    "ids may be different objects"
                )
        if digests is None:
            if not ann_files:
                return ""
            known = digests_of_files(ann_files)
            digests = [known.get(i) for i in ids]
        pairs = zip(map(int, ids), digests)
        others = [i for i, digest in pairs if i in self.attributes and recorded.get(i) != digest]
        if not others:
            return ""
        return (
            f"{self._origin()}; {len(others)} of the {len(ids)} annotations of {', '.join(map(str, ann_files))} are "
            f"other objects than those with the same ids there: image, class or box differ (ids {some(others, 5)})"
        )

    def check_objects(
        self, ids: Sequence[int], ann_files: Sequence[str | Path], digests: Sequence[int] | None = None
    ) -> None:
        """Raise a UserError if objects are not those that the attributes were computed for, see :meth:`misfit`."""
        if reason := self.misfit(ids, ann_files, digests):
            raise UserError(
                f"{self.path}: {reason}; create it again with tools/extract_attributes.py from the files in use"
            )

    def _unknown_files(self, ann_files: Sequence[str | Path]) -> list[str | Path]:
        """Return the annotation files whose bytes differ from all those that the attributes were computed from."""
        known = {entry.get("sha256") for entry in self._sources()} - {None}
        return [path for path in ann_files if sha256_of(path) not in known] if known else []

    def _digests_of_sources(self) -> dict[int, int]:
        """Return digests of the objects in the files that the attributes were computed from; empty if any of these
        files was moved or changed."""
        paths = []
        for source in self._sources():
            path = Path(str(source.get("path")))
            path = path if path.is_absolute() or path.is_file() else self.path.parent / path
            if not path.is_file() or sha256_of(path) != source.get("sha256"):
                return {}
            paths.append(path)
        return digests_of_files(paths) if paths else {}

    def _origin(self) -> str:
        paths = ", ".join(str(entry.get("path")) for entry in self._sources())
        return f"made from {paths or 'unknown files'}"

    def _sources(self) -> list[dict]:
        entries = self.info.get("annotation_files")
        return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []

    def check(self, ids: Iterable[int], where: str) -> None:
        """Raise a UserError that gives the number of ids without an attribute, if there are any."""
        ids = list(ids)
        absent = [i for i in ids if i not in self.attributes]
        if not absent:
            return
        made_from = f", {self._origin()}" if self._sources() else ""
        raise UserError(
            f"{self.path}: no attribute for {len(absent)} of the {len(ids)} annotations of {where} "
            f"(ids {some(absent, 5)}); the file has {len(self.attributes)} attributes{made_from}. It belongs to "
            "another data set or version: create it again with tools/extract_attributes.py from the files in use"
        )


def _by_id(values: dict, path: Path) -> dict:
    return {_annotation_id(key, path): value for key, value in values.items()}


def _annotation_id(key: str, path: Path) -> int:
    """Parse a key as an annotation id; only the canonical spelling is accepted, so that no two keys are equal."""
    try:
        number = int(key)
    except ValueError:
        number = None
    if number is None or str(number) != key:
        raise UserError(f"{path}: {key!r} is not an annotation id; keys must be whole numbers")
    return number
