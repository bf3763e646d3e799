"""Conversion of YOLO (one text file per image, with classes and normalised boxes) to COCO."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.progress import Progress

from .conversion import UNREADABLE, Conversion, image_size
from .input_files import IMAGE_SUFFIXES, LABELS, InputFiles, fold, is_companion, stem_of, suffix_of
from .text_files import read_lines
from .yolo_data import YoloData, label_places, read_folder, read_yaml
from .yolo_rows import FOUR_POINTS, TASKS, Survey, numbers, read_row

NO_LABELS = "image without a label file: used as an image without objects"
_SHARED = "label file that matches several images: left out, with its images"


def read_yolo(
    data: str | Path | None = None,
    *,
    images: str | Path | None = None,
    labels: str | Path | None = None,
    names: str | Path | Sequence[str] | None = None,
    task: str = "auto",
    decode: bool = True,
    without: str | Path | None = None,
    progress: bool = True,
) -> Conversion:
    """Read a YOLO data set from its ``data.yaml``, or from folders, with all sub-folders; names are matched
    case-insensitively.

    Args:
        data: yaml with ``names``, ``path``, ``kpt_shape`` if there are key points, and ``train``, ``val``, ``test``:
            folders or lists of image files. Label files are looked up at
            :func:`~detdiffusion.datasets.formats.yolo_data.label_places`.
        images, labels, names: instead of ``data``: the two folders, and the class names or a text file with one per
            line. All images form one split, ``all``, and labels have the same relative paths as their images.
        task: the meaning of rows with more than five columns, see
            :mod:`~detdiffusion.datasets.formats.yolo_rows`; 'auto' reads key points if ``data`` has ``kpt_shape``, else
            polygons.
        decode: decode every image completely.
        without: a folder inside the data set to skip, e.g. the output of an earlier run.
        progress: show progress on stderr.

    Raises:
        UserError: if a file or folder does not exist, the yaml is broken, there are no images, a class number has no
            name, rows are ambiguous, or most rows cannot be read.
    """
    if task not in TASKS:
        raise UserError(f"`task` must be one of {', '.join(TASKS)}, it is {task!r}")
    set_of = Conversion([], InputFiles(without))
    if data is not None:
        found = read_yaml(Path(data), set_of)
        places_of = label_places
    else:
        if images is None or labels is None or names is None:
            raise UserError("give either data.yaml of a YOLO data set, or images, labels and names together")
        images, labels = (set_of.files.find(folder) or Path(folder) for folder in (images, labels))
        found = read_folder(images, labels, names, set_of)

        def places_of(image: Path) -> list[Path]:
            below = image.relative_to(images)
            return [labels / below.with_name(below.stem)]

    set_of.classes = found.classes
    label_of, folders = _label_files(set_of, found, places_of)
    rows = _Rows(set_of, found, task, filter(None, label_of.values()))
    taken: set[str] = set()
    for split, pictures in found.splits.items():
        set_of.splits[split] = ids = []
        with Progress(f"reading {split}", total=len(pictures), enabled=progress) as bar:
            for path, file_name in bar.track(pictures):
                if path not in label_of or (lines := rows.lines_of(path, label_of[path])) is None:
                    continue
                number = len(taken)
                while file_name in taken:  # lists may name files of several folders
                    file_name, number = f"{split}/{number}_{path.name}", number + 1
                taken.add(file_name)
                size = image_size(path, decode)
                if isinstance(size, str):
                    set_of.leave_out(path, UNREADABLE, size)
                    continue
                ids.append(set_of.add_image(path, file_name, size))
                if label_of[path] is not None:
                    rows.add(ids[-1], label_of[path], lines)
    set_of.looked = f"label files were searched for as {some((f / '*.txt' for f in folders), 5)}{rows.advice}"
    labelled = {path for path in label_of.values() if path is not None}
    set_of.close(lambda path: _reason(path, labelled, folders))
    rows.check()
    return set_of


def _label_files(
    set_of: Conversion, found: YoloData, places_of: Callable[[Path], list[Path]]
) -> tuple[dict[Path, Path | None], dict[Path, None]]:
    """Find the label file, or None, of every usable image; also return the folders that were searched."""
    files = set_of.files
    label_of: dict[Path, Path | None] = {}
    folders: dict[Path, None] = {}
    images_of: dict[Path, list[Path]] = {}
    for image in found.images():
        places = places_of(image)
        folders.update(dict.fromkeys(files.find_folder(place.parent) or place.parent for place in places))
        hits = next(filter(None, (files.with_stem(place, (".txt",)) for place in places)), [])
        if len(hits) > 1:
            for path in (image, *hits):
                set_of.leave_out(
                    path, "image with several label files: left out, with them", some(map(files.name, hits))
                )
            continue
        label_of[image] = hits[0] if hits else None
        if hits:
            images_of.setdefault(hits[0], []).append(image)
    for label, images in images_of.items():
        exact = [image for image in images if stem_of(image.name) == stem_of(label.name)]
        if len(exact) == 1:  # the names of the other images differ in case
            label_of.update({image: None for image in images if image != exact[0]})
        elif len(images) > 1:
            for path in (label, *images):
                set_of.leave_out(path, _SHARED, some(map(files.name, (label, *images))))
                label_of.pop(path, None)
    for folder in folders:
        if folder.is_dir() and not files.covers(folder):
            files.scan(folder)
    return label_of, folders


class _Rows:
    """Interprets the rows of a data set's label files and counts those that cannot be read."""

    def __init__(self, set_of: Conversion, found: YoloData, task: str, labels: Iterable[Path]):
        self._set_of = set_of
        self._key_points = found.key_points
        self._read = self._unread = 0
        self._four_points = False
        self.advice = ""
        if task == "auto" and found.key_points is not None:
            task = "pose"
        if task == "auto":
            survey = Survey()
            for path in labels:
                for number, values in self._numbers(path):
                    if not isinstance(values, str):
                        survey.add(values, f"{path}, line {number}")
            task, self.advice, self._four_points = survey.task(), survey.advice(), survey.four_points
        self._task = task

    @staticmethod
    def _numbers(path: Path) -> Iterator[tuple[int, list[float] | str]]:
        with contextlib.suppress(UserError):  # reported when the file's image is read
            yield from ((number, numbers(line)) for number, line in read_lines(path))

    def lines_of(self, image: Path, label: Path | None) -> list[tuple[int, str]] | None:
        """Return the lines of an image's label file; if it is not a text file, leave out both and return None."""
        files = self._set_of.files
        if label is None:
            self._set_of.count(NO_LABELS, files.name(image))
            return []
        try:
            return read_lines(label)
        except UserError as error:
            for path in (label, image):
                self._set_of.leave_out(
                    path, "label file that is not text: left out, with its image", str(error)
                )
            return None

    def add(self, image_id: int, path: Path, lines: list[tuple[int, str]]) -> None:
        """Add the objects of an image.

        Raises:
            UserError: if a class number has no name.
        """
        set_of, name = self._set_of, self._set_of.files.name(path)
        set_of.files.use(path, LABELS)
        size = [set_of.images[image_id - 1][side] for side in ("width", "height")]
        seen: set[tuple] = set()
        for number, line in lines:
            where = f"{name}, line {number}"
            values = numbers(line)
            row = values if isinstance(values, str) else self._row(values, f"{path}, line {number}")
            if isinstance(row, str):
                self._unread += 1
                set_of.count(row, f"{where}: {line[:40]}")
                continue
            self._read += 1
            if tuple(values) in seen:
                set_of.count("duplicate line: used once", where)
                continue
            seen.add(tuple(values))
            shares, remark = row
            if self._four_points and len(shares) == 8:
                remark = FOUR_POINTS
            if remark:
                set_of.count(remark, where)
            box, extra = _in_pixels(shares, *size)
            set_of.add_object(image_id, int(values[0]), box, where, **extra)

    def _row(self, values: list[float], where: str) -> tuple[list[float], str | None] | str:
        label, count = values[0], len(self._set_of.classes)
        if label != int(label) or not 0 <= label < count:
            raise UserError(
                f"{where}: class {label:g}, but there are {count} names (0 to {count - 1}); correct the names "
                "or the file"
            )
        return read_row(values, self._task, self._key_points)

    def check(self) -> None:
        """Raise a UserError if most rows could not be read."""
        if self._unread > self._read:
            raise UserError(
                f"{self._unread} of {self._read + self._unread} lines of the label files cannot be read{self.advice}\n"
                f"{self._set_of.summary()}"
            )


def _in_pixels(shares: list[float], width: int, height: int) -> tuple[tuple[float, ...], dict]:
    """Return x, y, w, h of a box or of a polygon's bounding box, and the polygon as extra fields."""
    if len(shares) == 4:
        cx, cy, w, h = shares
        return ((cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height), {}
    xs, ys = [v * width for v in shares[::2]], [v * height for v in shares[1::2]]
    polygon = [round(v, 2) for point in zip(xs, ys) for v in point]
    return (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)), dict(segmentation=[polygon])


def _reason(path: Path, labelled: set[Path], folders: Iterable[Path]) -> str | None:
    """Return why a file of the data set is not used."""
    if suffix_of(path) in IMAGE_SUFFIXES:
        return "image in none of the splits: left out"
    if path in labelled:
        return "label file of an image that is left out: left out"
    if suffix_of(path) != ".txt" or is_companion(path):
        return None
    if "labels" in map(fold, path.parts) or any(path.is_relative_to(folder) for folder in folders):
        return "label file without an image in a split: left out"
    return "text file that is neither a label file nor the list of a split: not read"
