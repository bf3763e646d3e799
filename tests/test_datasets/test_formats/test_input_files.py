"""The files of an input set: none is missed, whatever its case, and each has one place in the sum."""

import os
from pathlib import Path

import pytest

from detdiffusion.datasets.formats.input_files import (
    COMPANION,
    HIDDEN,
    IMAGES,
    LABELS,
    LOOP,
    NO_FILE,
    NO_UTF8,
    OTHER_KIND,
    InputFiles,
)
from detdiffusion.utils.errors import UserError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_every_file_is_seen_once_in_a_fixed_order(tmp_path):
    touch(tmp_path, "b.JPG", "a/x.jpg", "a/deep/er/y.txt", "a.jpg", "Z.xml")
    found = InputFiles().scan(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [
        "Z.xml",
        "a/deep/er/y.txt",
        "a/x.jpg",
        "a.jpg",
        "b.JPG",
    ]
    on_disk = [os.path.join(folder, name) for folder, _, names in os.walk(tmp_path) for name in names]
    assert sorted(map(str, found)) == sorted(on_disk)


def test_the_sum_holds_whatever_becomes_of_files(tmp_path):
    touch(
        tmp_path, "a.jpg", "a.txt", "b.jpg", "README.roboflow.txt", "notes.json", "movie.mp4", "labels.cache"
    )
    files = InputFiles()
    files.scan(tmp_path)
    files.scan(tmp_path / ".")  # again, by another spelling
    files.leave_out(tmp_path / "b.jpg", "first")
    files.leave_out(tmp_path / "b.jpg", "second")
    files.use(tmp_path / "a.jpg", IMAGES)
    files.leave_out(tmp_path / "a.jpg", "used elsewhere")
    files.use(tmp_path / "a.txt", LABELS)
    files.leave_out_rest(lambda path: "a movie" if path.suffix == ".mp4" else None)
    assert (
        files.table() == "7 files seen = 1 images + 1 label files + 0 companions that were read + 5 left out"
    )
    counts = {reason: len(paths) for reason, paths in files.left_out().items()}
    assert counts == {"first": 1, "a movie": 1, COMPANION: 3} and not files.undecided()


def test_what_is_no_input_is_counted_at_once(tmp_path):
    touch(tmp_path, "a.jpg", "._a.jpg", ".DS_Store", "__MACOSX/b.jpg", ".git/c.jpg", "Thumbs.db", "out/d.jpg")
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "round").symlink_to(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).write_text("")
    files = InputFiles(without=tmp_path / "out")
    assert [path.name for path in files.scan(tmp_path)] == ["a.jpg"]
    counts = {reason: len(paths) for reason, paths in files.left_out().items()}
    assert counts == {HIDDEN: 5, NO_FILE: 3, LOOP: 1, NO_UTF8: 1}
    names = [files.name(path) for paths in files.left_out().values() for path in paths]
    assert all(name.encode() for name in names)  # can be printed


def test_a_folder_that_two_links_name_is_seen_once(tmp_path):
    touch(tmp_path, "elsewhere/a.jpg")
    for name in ("set/train", "set/val"):
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    files = InputFiles()
    found = files.scan(tmp_path / "set")
    assert len(found) == 2 and files.first(found[1]) == found[0]
    assert files.table().startswith("1 files seen")


@pytest.mark.parametrize("asked", ["Sub/A.jpg", "sub/a.JPG", "SUB/A.JPG", "sub/../Sub/./A.jpg"])
def test_names_are_found_in_any_case(asked, tmp_path):
    touch(tmp_path, "Sub/A.jpg")
    assert InputFiles().find(tmp_path / asked) == tmp_path / "Sub/A.jpg"


def test_accents_written_in_two_ways_are_one_name(tmp_path):
    touch(tmp_path, "cafe\u0301.jpg")
    assert InputFiles().find(tmp_path / "caf\u00e9.jpg").name == "cafe\u0301.jpg"


def test_a_name_that_fits_two_files_by_case_alone_is_none_of_them(tmp_path):
    touch(tmp_path, "a.jpg", "A.jpg")
    files = InputFiles()
    assert files.find(tmp_path / "a.jpg").name == "a.jpg" and files.find(tmp_path / "a.JPG") is None
    assert [p.name for p in files.with_stem(tmp_path / "A", (".jpg",))] == ["A.jpg"]


def test_dots_belong_to_the_stem(tmp_path):
    touch(tmp_path, "a.rf.12.TXT", "a.txt", "a.rf.12.jpg")
    assert [p.name for p in InputFiles().with_stem(tmp_path / "a.rf.12", (".txt",))] == ["a.rf.12.TXT"]
    assert InputFiles().with_stem(tmp_path / "none/a", (".txt",)) == []


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", ""])
def test_impossible_names_are_not_found(name, tmp_path):
    assert InputFiles().find(tmp_path / name / "y") is None


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"none: cannot read this folder"):
        InputFiles().scan(tmp_path / "none")


def test_other_kinds(tmp_path):
    touch(tmp_path, "a.heic")
    files = InputFiles()
    files.scan(tmp_path)
    files.leave_out_rest(lambda path: None)
    assert list(files.left_out()) == [OTHER_KIND]
