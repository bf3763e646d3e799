"""Lists and labels in the encodings, line ends and paths of other machines."""

import pytest

from detdiffusion.datasets.formats.text_files import read_lines, read_text, tails
from detdiffusion.utils.errors import UserError

LINES = ["é 1", "名 2"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_lines_are_the_same_in_every_encoding(encoding, end, tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(f"{LINES[0]}{end}{end}  {LINES[1]} {end}".encode(encoding))
    assert read_lines(path) == [(1, LINES[0]), (3, LINES[1])]


def test_big_endian_with_its_mark(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xfe\xff" + "a\nb".encode("utf-16-be"))
    assert read_text(tmp_path / "list.txt") == "a\nb"


def test_only_line_ends_part_lines(tmp_path):
    """Names may hold what Unicode calls a line separator."""
    (tmp_path / "list.txt").write_text("a\u2028b\x0cc\x85d\n", encoding="utf-8")
    assert read_lines(tmp_path / "list.txt") == [(1, "a\u2028b\x0cc\x85d")]


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ("a\nb".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("é".encode("latin-1"), "is not UTF-8 text: byte 0xe9 at 0"),
        (b"\xff\xfea", "is not UTF-16 text"),
    ],
)
def test_other_encodings_are_one_clear_error(data, part, tmp_path):
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(UserError, match="list.txt: ") as caught:
        read_text(tmp_path / "list.txt")
    assert part in str(caught.value) and "save it as UTF-8" in str(caught.value)
    with pytest.raises(UserError, match="none.txt: cannot be read: No such file"):
        read_text(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ["a.jpg"]),
        ("./a.jpg", ["a.jpg"]),
        ("x/a.jpg", ["x/a.jpg"]),  # the bare name may be that of another image
        ("images/a.jpg", ["images/a.jpg", "a.jpg"]),
        ("IMAGES\\a.jpg", ["IMAGES/a.jpg", "a.jpg"]),
        ("C:\\x\\y\\a b.jpg", ["x/y/a b.jpg", "y/a b.jpg", "a b.jpg"]),
        ("/x/a.jpg", ["x/a.jpg", "a.jpg"]),
        ("../x/a.jpg", ["x/a.jpg"]),
        ("x/../../y/a.jpg", ["y/a.jpg"]),
        ("..\\a.jpg", ["a.jpg"]),
        ("", []),
        ("..", []),
        ("/", []),
    ],
)
def test_tails_of_a_path(name, expected):
    assert list(tails(name, "images")) == expected
