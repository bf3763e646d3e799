"""Which checkpoint a run goes on from, and what mmengine itself loads."""

import pytest
import torch

from detdiffusion.engine import latest_checkpoint, use_safe_loader
from detdiffusion.utils.errors import UserError


class OpensAFile:
    """Unpickling it in the usual way makes the file ``path``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_code_in_a_checkpoint_does_not_run_by_any_load_of_mmengine(tmp_path):
    from mmengine.runner import CheckpointLoader

    marker, path = tmp_path / "ran", tmp_path / "bad.pth"
    torch.save(dict(meta=OpensAFile(str(marker))), path)
    use_safe_loader()
    with pytest.raises(UserError, match="may run code"):
        CheckpointLoader.load_checkpoint(str(path))
    assert not marker.exists()


def test_the_latest_checkpoint_is_one_that_exists(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    last = tmp_path / "last_checkpoint"
    last.write_text("")
    (tmp_path / "iter_x.pth").touch()
    assert latest_checkpoint(tmp_path) is None
    for name in ("iter_20.pth", "iter_100.pth"):
        (tmp_path / name).touch()
    assert latest_checkpoint(tmp_path).name == "iter_100.pth"
    last.write_text(str(tmp_path / "iter_40.pth"))  # deleted before the next one was written
    assert latest_checkpoint(tmp_path).name == "iter_100.pth"
    last.write_text(str(tmp_path / "iter_20.pth"))
    assert latest_checkpoint(tmp_path).name == "iter_20.pth"
