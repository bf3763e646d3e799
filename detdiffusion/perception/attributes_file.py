"""The file of attributes: ``{"info": {...}, "attributes": {"<annotation id>": "easy|hard|background"}}``.

``info.words`` names the attributes where they are others than the paper's, the easiest first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.datasets.coco_json import load_json
from detdiffusion.structures.layout import ATTRIBUTES, check_attribute_words
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.files import sha256_of, write_atomic


@dataclass
class AttributesFile:
    """Attributes of one data set, as :mod:`tools/extract_attributes.py` writes them.

    Attributes:
        path: the file.
        attributes: annotation id -> attribute.
        info: how they were made: detector or predictions, thresholds, annotation files, counts.
        scores: annotation id -> continuous score (highest IoU * score); empty where the file has none.
    """

    path: Path
    attributes: dict[int, str]
    info: dict = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> AttributesFile:
        """Reads and validates the file.

        Raises:
            UserError: no such file, broken json, or not an attributes file.
        """
        path = Path(path)
        if not path.exists():
            raise UserError(f"{path}: no such attributes file; tools/extract_attributes.py writes it")
        data = load_json(path, "attributes file")
        if not isinstance(data, dict) or not isinstance(data.get("attributes"), dict):
            raise UserError(
                f"{path}: not an attributes file: it lacks the object 'attributes'; "
                "make one by tools/extract_attributes.py"
            )
        info = data.get("info") if isinstance(data.get("info"), dict) else {}
        vocabulary = ATTRIBUTES
        if "words" in info:
            listed = info["words"] if isinstance(info["words"], list) else []
            vocabulary = check_attribute_words(listed, f"{path}: info.words")
        nameable = info.get("nameable") or []
        if not isinstance(nameable, list) or not all(isinstance(name, str) for name in nameable):
            raise UserError(
                f"{path}: info.nameable must be a list of class names, it is {str(nameable)[:60]}; correct it, or make "
                "the file anew by tools/extract_attributes.py"
            )
        words = {
            word: word for word in vocabulary
        }  # one string object for each word, however many annotations
        attributes = {}
        for key, value in data["attributes"].items():
            if not isinstance(value, str) or value not in words:
                raise UserError(
                    f"{path}: annotation id {key} has the attribute {value!r}; known are {', '.join(words)}"
                )
            attributes[_annotation_id(key, path)] = words[value]
        scores = data.get("scores") if isinstance(data.get("scores"), dict) else {}
        return cls(path, attributes, info, {_annotation_id(k, path): v for k, v in scores.items()})

    @property
    def words(self) -> tuple[str, ...]:
        """The attributes that the file may hold, the easiest first, 'background' last."""
        return tuple(self.info.get("words", ATTRIBUTES))

    def write(self) -> None:
        """Writes the file atomically.

        Raises:
            UserError: the place cannot be written.
        """
        data = {"info": self.info, "attributes": self.attributes}
        if self.scores:
            data["scores"] = {key: round(value, 4) for key, value in self.scores.items()}
        write_atomic(self.path, json.dumps(data, indent=1).encode())

    def lookup(self, ids: Sequence[int], where: str, missing: str = "error") -> list[str]:
        """Attributes of annotations, in order.

        Args:
            ids: annotation ids.
            where: what they belong to, for the error ('image 17', 'data/instances.json').
            missing: 'error', or the attribute that an id gets which the file lacks.

        Raises:
            UserError: ids that the file lacks, with their number.
        """
        if missing == "error":
            self.check(ids, where)
        return [self.attributes.get(i, missing) for i in ids]

    def made_from(self, ann_files: Sequence[str | Path]) -> bool:
        """Whether one of the annotation files is among those the attributes were made from, byte for byte.

        Ids alone do not tell: two data sets may both count from 1. True where no checksum is recorded.
        """
        known = {entry.get("sha256") for entry in self._sources()} - {None}
        return not known or any(sha256_of(path) in known for path in ann_files)

    def check_files(self, ann_files: Sequence[str | Path]) -> None:
        """Raises UserError if the attributes were made from other annotation files, see :meth:`made_from`."""
        if not self.made_from(ann_files):
            sources = ", ".join(str(entry.get("path")) for entry in self._sources())
            raise UserError(
                f"{self.path}: made from {sources}, whose content is not that of "
                f"{', '.join(map(str, ann_files))}, so equal annotation ids may be other objects; make it anew "
                "by tools/extract_attributes.py from the files in use"
            )

    def _sources(self) -> list[dict]:
        entries = self.info.get("annotation_files")
        return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []

    def check(self, ids: Iterable[int], where: str) -> None:
        """Raises UserError, with their number, if there are ids without an attribute."""
        ids = list(ids)
        absent = [i for i in ids if i not in self.attributes]
        if not absent:
            return
        sources = [entry.get("path") for entry in self._sources()]
        made_from = f", made from {', '.join(map(str, sources))}" if sources else ""
        raise UserError(
            f"{self.path}: no attribute for {len(absent)} of the {len(ids)} annotations of {where} "
            f"(ids {some(absent, 5)}); the file has {len(self.attributes)} attributes{made_from}. It belongs to "
            "another data set or version: make it anew by tools/extract_attributes.py from the files in use"
        )


def _annotation_id(key: str, path: Path) -> int:
    try:
        return int(key)
    except ValueError:
        raise UserError(f"{path}: {key!r} is no annotation id; keys must be whole numbers") from None
