"""The labelled data of a run: the conversion of each source, and the splits that come out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from detdiffusion.datasets.image_files import image_folder
from detdiffusion.experiments.common_steps import Split, texts
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import Step

from .settings import AugmentOptions

ROLES = ("train", "val", "test")
NAMES = dict(train=("train", "training"), val=("val", "valid", "validation", "dev"), test=("test", "testing"))
"""Names of splits in the forms that exist, by role."""


class Sources:
    """The sources of a run and the folders that they are converted into.

    A COCO json is used where it is; everything else is converted first. A source that has several splits gives its own
    train, val and test; a source that has one gives it for the role that it was named for.

    Args:
        options: the options of the run.
        folder: parent folder of the converted sets.
    """

    def __init__(self, options: AugmentOptions, folder: Path) -> None:
        self.options, self.folder = options, folder
        given = dict(train=options.train, val=options.val, test=options.test)
        self.paths = {role: Path(source) for role, source in given.items() if source is not None}

    def is_json(self, role: str) -> bool:
        """Return whether a source is a COCO json, which needs no conversion."""
        return self.paths[role].suffix.lower() == ".json"

    def steps(self) -> list[Step]:
        """Return the conversions."""
        return [self._convert(role) for role in self.paths if not self.is_json(role)]

    def splits(self) -> tuple[dict[str, Split], bool]:
        """Return the splits by role, and whether val has yet to be cut from train.

        Raises:
            UserError: a source has no split for its role, or several that fit none.
        """
        found = {role: self._found(role) for role in self.paths}
        train = found["train"]
        splits = {role: self._of_role(role, splits) for role, splits in found.items()}
        for role in ("val", "test"):
            if role not in splits and len(train) > 1:
                own = next((train[name] for name in NAMES[role] if name in train), None)
                if own is not None and (role == "val" or "val" not in self.paths):
                    splits[role] = own
        if "val" in splits or "test" in splits:
            splits.setdefault("val", splits.get("test"))
            return splits, False
        return splits, True

    def expected(self) -> tuple[dict[str, Split], bool]:
        """Return what :meth:`splits` will return, as far as it is known before the conversion."""
        try:
            return self.splits()
        except UserError:
            splits = {
                role: Split((self._converted(role) / f"annotations/{role}.json",), self._images(role))
                for role in self.paths
            }
            return splits, "val" not in splits

    def _converted(self, role: str) -> Path:
        return self.folder / role

    def _images(self, role: str) -> Path:
        return self._converted(role) / "images"

    def _convert(self, role: str) -> Step:
        source, out = self.paths[role], self._converted(role)
        return Step(
            f"convert-{role}",
            f"convert {source} to COCO",
            texts(["tools/dataset_converters/to_coco.py", source, "--out", out]),
            inputs=(source,) if source.is_file() else (),
            remove=(out,),
        )

    def _found(self, role: str) -> Mapping[str, Split]:
        """Return the splits of a source by name."""
        if self.is_json(role):
            path = self.paths[role]
            return {role: Split((path,), image_folder(self.options.img_dir, path))}
        files = sorted((self._converted(role) / "annotations").glob("*.json"))
        if not files:
            raise UserError(
                f"{self._converted(role)}: the conversion of {self.paths[role]} left no annotations"
            )
        return {path.stem: Split((path,), self._images(role)) for path in files}

    def _of_role(self, role: str, splits: Mapping[str, Split]) -> Split:
        for name in NAMES[role]:
            if name in splits:
                return splits[name]
        if len(splits) == 1:
            return next(iter(splits.values()))
        raise UserError(
            f"`{role}` {self.paths[role]}: none of its splits {', '.join(splits)} is named {' or '.join(NAMES[role])}; "
            "name the json of one of them"
        )
