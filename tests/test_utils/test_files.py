"""Atomic writes: the user's permissions, all or nothing, from several threads too."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_threads_write_with_the_users_permissions(umask, tmp_path):
    before = os.umask(umask)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda k: write_atomic(tmp_path / f"{k % 4}.json", b"%d" % (k % 4)), range(64)))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        f"{k}.json": b"%d" % k for k in range(4)
    }
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_a_file_that_cannot_be_replaced_stays_and_nothing_is_left(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="a: cannot write: Is a directory"):
        write_atomic(tmp_path / "a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
