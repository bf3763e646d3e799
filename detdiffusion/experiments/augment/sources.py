"""The labelled data of a run: the conversion of each source, and the splits that come out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.formats.any_form import read_set, reading_findings
from detdiffusion.datasets.formats.recognise import recognise
from detdiffusion.datasets.image_files import image_folder
from detdiffusion.experiments.common_steps import Split, texts
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import list_files, sha256_of, write_atomic
from detdiffusion.utils.findings import Finding, raise_errors
from detdiffusion.utils.steps import Step

from .settings import AugmentOptions

ROLES = ("train", "val", "test")


class Sources:
    """The sources of a run and the folders that they are converted into.

    A COCO json is used where it is; everything else is converted first. A source that has several splits gives its own
    train, val and test; a source that has one gives it for the role that it was named for.

    Args:
        options: the options of the run.
        folder: parent folder of the converted sets.
        dry: only the commands are wanted: nothing is written.
    """

    def __init__(self, options: AugmentOptions, folder: Path, dry: bool = False) -> None:
        self.options, self.folder, self.dry, self.checked = options, folder, dry, folder / "check"
        given = dict(train=options.train, val=options.val, test=options.test)
        self.paths = {role: Path(source) for role, source in given.items() if source is not None}

    def is_json(self, role: str) -> bool:
        """Return whether a source is a COCO json, which needs no conversion."""
        return self.paths[role].suffix.lower() == ".json"

    def all_jsons(self) -> bool:
        """Return whether no source needs a conversion."""
        return all(map(self.is_json, self.paths))

    def is_converted(self) -> bool:
        """Return whether all sources that need a conversion have been converted as they are now."""
        roles = self._to_convert()
        return bool(roles) and all(map(self._is_converted, roles))

    def _is_converted(self, role: str) -> bool:
        listed = self._listing(role)
        same = listed.is_file() and listed.read_bytes() == self._files(role)
        return same and bool(self._made(role)) and all(path.is_file() for path in self._made(role))

    def name(self, role: str) -> Path:
        """Return the source that a role's images come from."""
        return self.paths.get(role, self.paths["train"])

    def steps(self) -> Iterator[Step]:
        """Yield the conversions; each is made again when a file of its source has changed."""
        for role in self._to_convert():  # one by one: the later ones read what train became
            if not self.dry:
                write_atomic(self._listing(role), self._files(role))
            yield self._convert(role)

    def read_early(self, folder: Path) -> tuple[dict[str, Split], bool]:
        """Return what :meth:`splits` will return, with the labels of all sources that need a conversion read into a
        folder; images are not decoded. Prints what the conversion will leave out.

        Raises:
            UserError: a source cannot be read, has no objects, or has images that cannot be used.
        """
        early = Sources(self.options, folder)
        for role in self._to_convert():
            source = self.paths[role]
            converted = read_set(recognise(source), decode=False, without=self.folder.parent)
            findings = reading_findings(converted, str(source))
            raise_errors(findings)
            for finding in findings:
                print(f"{finding.severity}: {finding}")
            if not converted.images:
                raise UserError(f"`{role}` {source}: none of its images is there; {converted.looked}")
            if not converted.annotations:
                count = len(converted.images)
                raise UserError(
                    f"`{role}` {source}: no labels: its {count} images have no objects; {converted.looked}"
                )
            if role != "train":
                train = read_coco(early._of_role("train", early._found("train", False)).annotations[0])
                converted.put_classes_first([category["name"] for category in train.categories])
            converted.write(early._converted(role))
        return early.splits()

    def _to_convert(self) -> list[str]:
        return [role for role in self.paths if not self.is_json(role)]

    def check(self, splits: Mapping[str, Split], classes: Sequence[str]) -> Step:
        """Return the check of the final splits together: the images that they share, from whatever sources."""
        files = {role: split.annotations[0] for role, split in splits.items()}
        command = ["tools/check_dataset.py", *(f"{role}={path}" for role, path in files.items())]
        command += ["--img-dir", *(split.images for split in splits.values())]
        command += ["--classes", *classes, "--out", self.checked]
        outputs = (self.checked / "check.json", self.checked / "check.html")
        listings = map(self._listing, self._to_convert())  # images may be mended where labels are not
        inputs = tuple(path for path in (*files.values(), *listings) if path.is_file())
        title = f"check the images and labels of {', '.join(files)} together"
        return Step("check", title, texts(command), inputs=inputs, outputs=outputs, remove=(self.checked,))

    def warnings(self) -> list[str]:
        """Return the warnings of :meth:`check`."""
        findings = json.loads((self.checked / "check.json").read_text())["findings"]
        return [str(Finding(**row)) for row in findings if row["severity"] == "warning"]

    def splits(self, expected: bool = False) -> tuple[dict[str, Split], bool]:
        """Return the splits by role, and whether val has yet to be cut from train.

        Args:
            expected: sources may not be converted yet.

        Raises:
            UserError: a source has no split for its role, or several that fit none.
        """
        found = {role: self._found(role, expected) for role in self.paths}
        train = found["train"]
        splits = {role: self._of_role(role, splits) for role, splits in found.items()}
        if "train" in train:  # a set of several splits gives those that were not named otherwise
            splits = {**train, **splits}
        if "test" in splits:
            splits.setdefault("val", splits["test"])
        return {role: splits[role] for role in ROLES if role in splits}, "val" not in splits

    def expected(self) -> tuple[dict[str, Split], bool]:
        """Return what :meth:`splits` will return, as far as the files tell before the conversion."""
        return self.splits(expected=True)

    def _converted(self, role: str) -> Path:
        return self.folder / role

    def _listing(self, role: str) -> Path:
        return self.folder / f"{role}_files.txt"

    def _files(self, role: str) -> bytes:
        """Return the names, sizes and times of all files of a source, without those of the run, a line each."""
        source = self.paths[role]
        return list_files(source if source.is_dir() else source.parent, self.folder.parent)

    def _record(self, role: str) -> Path:
        return self.folder / f"{role}_annotations.json"

    def _made(self, role: str) -> list[Path]:
        """Return the annotations that the conversion of a source as it is listed wrote, which it would write again."""
        record = self._record(role)
        found = json.loads(record.read_text()) if record.is_file() else {}
        same = found and found["of"] == sha256_of(self._listing(role))
        return [self._converted(role) / name for name in found["annotations"]] if same else []

    def _store_made(self, role: str) -> None:
        made = sorted(self._converted(role).glob("annotations/*.json"))
        names = [str(path.relative_to(self._converted(role))) for path in made]
        found = dict(of=sha256_of(self._listing(role)), annotations=names)
        write_atomic(self._record(role), json.dumps(found).encode())

    def _images(self, role: str) -> Path:
        return self._converted(role) / "images"

    def _convert(self, role: str) -> Step:
        source, out = self.paths[role], self._converted(role)
        command = ["tools/dataset_converters/to_coco.py", source, "--out", out]
        inputs = [self._listing(role)]
        if role != "train":
            inputs.append(self.paths["train"] if self.is_json("train") else self._listing("train"))
            train = self._of_role("train", self._found("train", expected=True))
            command += ["--classes-like", train.annotations[0]]
        return Step(
            f"convert-{role}",
            f"convert {source} to COCO",
            texts(command),
            inputs=() if self.dry else tuple(inputs),
            outputs=tuple(self._made(role)),
            remove=(out, self._record(role)),
            after=partial(self._store_made, role),
        )

    def _found(self, role: str, expected: bool) -> Mapping[str, Split]:
        """Return the splits of a source by name."""
        if self.is_json(role):
            path = self.paths[role]
            (part,) = recognise(path, self.options.img_dir).parts
            folder = next((place for place in part.folders if place.is_dir()), None)
            return {role: Split((path,), folder or image_folder(None, path))}
        folder = self._converted(role) / "annotations"
        files = sorted(folder.glob("*.json"))
        if expected and not files:
            parts = recognise(self.paths[role]).parts
            several = [name for name in ROLES if name == role or (role == "train" and name not in self.paths)]
            files = [folder / f"{name}.json" for name in [part.split for part in parts] or several]
        if not files:
            raise UserError(
                f"{self._converted(role)}: the conversion of {self.paths[role]} left no annotations"
            )
        return {path.stem: Split((path,), self._images(role)) for path in files}

    def _of_role(self, role: str, splits: Mapping[str, Split]) -> Split:
        if role in splits:
            return splits[role]
        if len(splits) == 1:
            return next(iter(splits.values()))
        raise UserError(
            f"`{role}` {self.paths[role]}: none of its splits {', '.join(splits)} is named {role}; give the json of one"
        )
