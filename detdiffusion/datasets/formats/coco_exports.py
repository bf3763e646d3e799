"""Reading of COCO sets in the layouts of Roboflow, CVAT, Label Studio and COCO itself, with their images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from detdiffusion.datasets.boxes import SKIPPED
from detdiffusion.datasets.coco_json import CocoFile, read_coco
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.progress import Progress

from .class_lists import common_classes
from .conversion import UNREADABLE, Conversion, by_image, image_size
from .input_files import IMAGE_SUFFIXES, LABELS, InputFiles, suffix_of
from .recognise import ROBOFLOW_FILE, CocoPart, LabelledSource
from .text_files import BY_END, tails

MISSING = "image of the json that does not exist: left out, with its objects"
ROOT_CATEGORY = "Roboflow's root category, which has no objects: left out"
OTHER_SIZE = "image of another size than the json states: left out, its boxes would be misplaced"
_TWICE = "image in two splits with different objects: those of the first are used"
_UNLISTED = "image that no json lists: left out"
_STANDARD = {"id", "image_id", "category_id", "bbox", "span"}
_PROBES = 50
_UNKNOWN_SIDE = 10**6  # of an image that does not exist, so that none of its boxes is reported
_HASH = re.compile(r"^[0-9a-f]{8}-(?=.)")


def read_coco_export(
    source: LabelledSource,
    *,
    classes: Sequence[str] | None = None,
    decode: bool = True,
    without: str | Path | None = None,
    progress: bool = True,
    segmentations: bool = True,
) -> Conversion:
    """Read the COCO jsons of a data set and find their images.

    Images are searched for by their ``file_name``, then by the ends of paths of another machine, then without the
    prefix of eight hexadecimal digits that Label Studio adds. Sides that a json lacks are read from the image.

    Args:
        source: a set with jsons, see :func:`~detdiffusion.datasets.formats.recognise.recognise`.
        classes: classes to keep, in this order; default: all, which must then be the same in every split.
        decode: decode every image completely.
        without: a folder inside the set to skip, e.g. the output of an earlier run.
        progress: show progress on stderr.
        segmentations: False leaves them out (but counts them), for files too large for memory.

    Raises:
        UserError: if a json is missing or broken, the splits differ in their classes, none of a json's images exists,
            or no category has a name of ``classes``.
    """
    set_of = Conversion([], InputFiles(without))
    parts = [_Part(part, set_of) for part in source.parts]
    files = [part.read(spans=not segmentations) for part in parts]
    names: dict[str, list[str]] = {}
    for part, file in zip(source.parts, files):  # a split may have several jsons, such as things and stuff
        names[part.split] = names.get(part.split, []) + [category["name"] for category in file.categories]
    root_names = {name for part in parts for name in part.roots}
    set_of.classes = common_classes(names, str(source.root), classes, ignored=root_names)
    owner: dict[Path, tuple[int, str, list]] = {}
    for part, file in zip(parts, files):
        part.add(file, owner, decode, progress)
        if not segmentations:
            set_of.masks += file.masks
    set_of.looked = f"objects were looked for in {some((p.ann_file for p in source.parts), 5)}"
    roots = [source.root] if source.root.is_dir() else []
    for folder in dict.fromkeys((*roots, *(part.folder for part in parts))):
        if not set_of.files.covers(folder):
            set_of.files.scan(folder)
    set_of.close(lambda path: _UNLISTED if suffix_of(path) in IMAGE_SUFFIXES else None)
    return set_of


class _Part:
    """One json of a set while it is read.

    Attributes:
        folder: folder of its images.
        roots: names of the root categories that were left out.
    """

    def __init__(self, part: CocoPart, set_of: Conversion):
        self.part, self._set_of = part, set_of
        self.folder, self.roots = part.folders[0], []
        self._found: dict[str, Path] = {}  # file name in the checked json -> image
        self._alone = len(part.folders) == 1 and part.ann_file.name == ROBOFLOW_FILE

    def read(self, spans: bool) -> CocoFile:
        file = read_coco(self.part.ann_file, spans=spans, prepare=self._prepare)
        self._set_of.files.use(self.part.ann_file, LABELS)
        for finding in file.findings:
            if finding.severity == "warning":
                done = "left out" if finding.remedy == SKIPPED else finding.remedy
                self._count(f"{finding.problem}: {done}", finding.item, finding.count)
        return file

    def _count(self, reason: str, where: str, count: int) -> None:
        self._set_of.count(
            reason, f"{self.part.ann_file.name}: {where}" if where else self.part.ann_file.name
        )
        self._set_of.report[reason] += count - 1

    def _prepare(self, data: dict) -> None:
        """Drop Roboflow's root category, and rewrite file names relative to the image folder."""
        if self.part.ann_file.name == ROBOFLOW_FILE:
            self._drop_roots(data)
        images = [image for image in data["images"] if isinstance(image.get("file_name"), str)]
        self.folder = self._folder_of([image["file_name"] for image in images])
        missing = []
        for image in images:
            name, remark = image["file_name"], None
            path = self.folder / name
            if _leaves(name) or not path.is_file():
                path, remark = self._search(name)
            if remark:
                self._set_of.count(remark, f"{self.part.ann_file.name}: {name}")
            if path is None:
                missing.append(name)
                image["file_name"] = _inside(name)
                image.update({side: image.get(side) or _UNKNOWN_SIDE for side in ("width", "height")})
                continue
            if path.is_relative_to(self.folder):
                image["file_name"] = path.relative_to(self.folder).as_posix()
            else:
                image["file_name"] = path.name
            self._found[image["file_name"]] = path
            if not image.get("width") or not image.get("height"):
                size = image_size(path, decode=False)  # an unreadable image is counted later
                size = (_UNKNOWN_SIDE, _UNKNOWN_SIDE) if isinstance(size, str) else size
                image.update(width=size[0], height=size[1])
        if images and len(missing) == len(images):
            places = some((p for p in self.part.folders if p.is_dir()), 5) or self.part.folders[0]
            raise UserError(
                f"{self.part.ann_file}: none of its {len(images)} images exists ({some(missing, 2)}); searched "
                f"in {places}; give the folder of the images by `img_dir`"
            )
        for name in missing:
            self._set_of.count(MISSING, f"{self.part.ann_file.name}: {name}")

    def _drop_roots(self, data: dict) -> None:
        used = {annotation.get("category_id") for annotation in data.get("annotations", [])}
        parents = {category.get("supercategory") for category in data["categories"]}
        roots = [c for c in data["categories"] if c.get("id") not in used and c.get("name") in parents]
        if not roots or len(roots) == len(data["categories"]):
            return
        self.roots = [category["name"] for category in roots]
        data["categories"] = [category for category in data["categories"] if category not in roots]
        self._set_of.count(ROOT_CATEGORY, f"{self.part.split}: {', '.join(self.roots)}")

    def _folder_of(self, names: Sequence[str]) -> Path:
        """Return the candidate folder in which most of a sample of the images are."""
        probes = names[:: max(1, len(names) // _PROBES)]
        folders = [folder for folder in self.part.folders if folder.is_dir()] or [self.part.folders[0]]

        def hits(folder: Path) -> int:
            return sum(not _leaves(name) and (folder / name).is_file() for name in probes)

        best = max(folders, key=hits)
        if hits(best):
            return best
        return max(
            folders, key=lambda f: sum(_look_up(self._set_of.files, f, name) is not None for name in probes)
        )

    def _search(self, name: str) -> tuple[Path | None, str | None]:
        found = _look_up(self._set_of.files, self.folder, name)
        return (found, BY_END) if found else (None, None)

    def add(
        self, file: CocoFile, owner: dict[Path, tuple[int, str, list]], decode: bool, progress: bool
    ) -> None:
        """Add the images and objects to the conversion.

        Args:
            file: the checked json.
            owner: file -> image id, split and objects of the images of earlier jsons; updated.
            decode: decode every image completely.
            progress: show progress.
        """
        set_of = self._set_of
        label_of = {name: label for label, name in enumerate(set_of.classes)}
        names = {category["id"]: category["name"] for category in file.categories}
        objects = by_image(file.annotations)
        ids = set_of.splits.setdefault(self.part.split, [])
        with Progress(f"reading {self.part.split}", total=len(file.images), enabled=progress) as bar:
            for image in bar.track(file.images):
                path = self._found.get(image["file_name"])
                if path is None:
                    continue
                own = objects.pop(image["id"], [])
                content = sorted((names[a["category_id"]], *a["bbox"]) for a in own)
                if path in owner:
                    image_id, split, known = owner[path]
                    if split == self.part.split:
                        self._add_objects(image_id, own, names, label_of)
                        continue
                    ids.append(image_id)
                    if known != content:
                        set_of.count(_TWICE, set_of.files.name(path))
                    continue
                size = image_size(path, decode)
                if isinstance(size, str):
                    set_of.leave_out(path, UNREADABLE, size)
                    continue
                stated = (image["width"], image["height"])
                if stated != size:
                    detail = f"{stated[0]} x {stated[1]}, the file has {size[0]} x {size[1]}"
                    set_of.leave_out(path, OTHER_SIZE, detail)
                    continue
                image_id = set_of.add_image(path, self._name_of(image["file_name"]), size)
                ids.append(image_id)
                owner[path] = (image_id, self.part.split, content)
                self._add_objects(image_id, own, names, label_of)

    def _add_objects(
        self, image_id: int, own: list[dict], names: dict[int, str], label_of: dict[str, int]
    ) -> None:
        for annotation in own:
            name = names[annotation["category_id"]]
            where = f"{self.part.ann_file.name}, annotation id {annotation['id']}"
            if name not in label_of:
                reason = "object of a class that was not requested: left out"
                self._set_of.count(reason, f"{where}, {name}")
                continue
            extra = {key: value for key, value in annotation.items() if key not in _STANDARD}
            self._set_of.add_object(image_id, label_of[name], annotation["bbox"], where, **extra)

    def _name_of(self, file_name: str) -> str:
        """Return the name in the converted set; splits whose images have folders of their own keep them apart."""
        return f"{self.part.split}/{file_name}" if self._alone else file_name


def _look_up(files: InputFiles, folder: Path, name: str) -> Path | None:
    """Find an image under a spelling of its name that other programs and machines use."""
    plain = unquote(name.rpartition("?d=")[2])  # Label Studio: /data/local-files/?d=photos/0.jpg
    for tail in (*tails(plain, folder.name), Path(plain.replace("\\", "/")).name):
        for spelling in (tail, _HASH.sub("", Path(tail).name)):
            path = files.find(folder / spelling)
            if path is not None and path.is_file():
                return path
    return None


def _leaves(name: str) -> bool:
    return name.startswith("/") or "\\" in name or ".." in name.split("/") or not name


def _inside(name: str) -> str:
    """Return a name of a missing image that stays inside its folder."""
    return next(tails(name), "") or "missing"
