import os

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def make_set(tmp_path):
    """Builder of a folder ``set``: file -> text, bytes, or the size of an image of noise."""

    def build(files):
        for name, content in files.items():
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, tuple):
                pixels = np.random.default_rng(0).integers(0, 255, (*content[::-1], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "set"

    return build


@pytest.fixture
def check_account(tmp_path):
    """Checks that every file of ``set`` on the disk is in the sum of a conversion, and the sum right."""

    def check(converted, root=None):
        on_disk = sum(len(names) for _, _, names in os.walk(root or tmp_path / "set"))
        line = converted.files.table()
        seen, sum_of = line.split(" files seen = ")
        assert int(seen) == on_disk == sum(int(part.split()[0]) for part in sum_of.split(" + ")), line
        assert f"{len(converted.images)} images" in sum_of
        assert line in converted.summary()

    return check
