"""Entries come back as they were stored, damaged ones are absent, and keys are those of earlier versions."""

import hashlib
import json

import numpy as np
import pytest

from detdiffusion.utils.array_cache import ArrayCache, digest_of
from detdiffusion.utils.errors import UserError

ARRAYS = dict(
    a=np.arange(500, dtype=np.float32).reshape(5, 100), b=np.array([True, False]), empty=np.zeros((0, 4))
)


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_come_back(tmp_path, compress):
    cache = ArrayCache(tmp_path / "new" / "folder")
    cache.store("x.1", ARRAYS, compress=compress)
    found = cache.load("x.1")
    assert found.keys() == ARRAYS.keys()
    assert all(np.array_equal(found[k], v) and found[k].dtype == v.dtype for k, v in ARRAYS.items())
    cache.store_mapped("x.1", ARRAYS["a"])
    mapped = cache.load_mapped("x.1")
    assert isinstance(mapped, np.memmap) and np.array_equal(mapped, ARRAYS["a"])
    assert sorted(p.name for p in cache.folder.iterdir()) == ["x.1.npy", "x.1.npz"]


@pytest.mark.parametrize("compress", [False, True])
def test_damaged_entries_are_absent(tmp_path, compress):
    cache = ArrayCache(tmp_path)
    assert cache.load("x") is None and cache.load_mapped("x") is None
    cache.store("x", ARRAYS, compress=compress)
    cache.store_mapped("x", ARRAYS["a"])
    whole = {path: path.read_bytes() for path in (tmp_path / "x.npz", tmp_path / "x.npy")}
    damages = [
        b"",
        b"no archive",
        *(data[:cut] for data in whole.values() for cut in (1, 60, len(data) // 2)),
    ]
    for data in damages:
        for path in whole:
            path.write_bytes(data)
        assert cache.load("x") is None and cache.load_mapped("x") is None
    data = bytearray(whole[tmp_path / "x.npz"])
    middle = 200 if compress else len(data) // 2  # inside the first array
    data[middle : middle + 20] = bytes(b ^ 255 for b in data[middle : middle + 20])
    (tmp_path / "x.npz").write_bytes(data)
    assert cache.load("x") is None


def test_pickles_are_not_read(tmp_path):
    np.save(tmp_path / "x.npy", np.array([dict(a=1)], dtype=object))
    np.savez(tmp_path / "x.npz", a=np.array([dict(a=1)], dtype=object))
    cache = ArrayCache(tmp_path)
    assert cache.load("x") is None and cache.load_mapped("x") is None


def test_without_a_folder_nothing_is_kept():
    cache = ArrayCache(None)
    cache.store("x", ARRAYS)
    cache.store_mapped("x", ARRAYS["a"])
    assert cache.load("x") is None and cache.load_mapped("x") is None


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        ArrayCache(tmp_path / "file").store("x", ARRAYS)


def test_keys_are_digests_of_json_and_bytes():
    parts = dict(b=[1, 2.5, None], a=dict(d="ü", c=(1, 2)))
    text = json.dumps(parts, sort_keys=True).encode()
    assert digest_of(parts) == hashlib.sha256(text).hexdigest()
    assert digest_of(parts, [b"weights", b"", b"more"]) == hashlib.sha256(text + b"weightsmore").hexdigest()
    assert digest_of(dict(reversed(parts.items()))) == digest_of(parts)
