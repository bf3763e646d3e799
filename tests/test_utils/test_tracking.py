"""Trackers of a training: their backends in the config, and what is missing."""

import importlib.util
import re
import subprocess
import sys

import pytest
from mmengine.config import Config

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.tracking import TRACKERS, TrackOptions


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder on the path with a package of every tracker's name; the backends import them on first use only."""
    for name in TRACKERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))


def kinds(cfg):
    return [backend["type"] for backend in cfg.visualizer.vis_backends]


def test_backends_are_added_once_and_written_to_the_config(installed):
    import mmengine.visualization  # noqa: F401  registers the backends
    from mmengine.registry import VISBACKENDS

    assert all(VISBACKENDS.get(kind) for kind in TRACKERS.values())
    own = dict(type="WandbVisBackend", init_kwargs=dict(project="mine"))
    cfg = Config(dict(work_dir="a/run-3", visualizer=dict(type="Visualizer", vis_backends=[own])))
    TrackOptions(track=["mlflow", "wandb", "tensorboard", "mlflow"]).apply(cfg)
    assert kinds(cfg) == ["WandbVisBackend", "MLflowVisBackend", "TensorboardVisBackend"]
    assert cfg.visualizer.vis_backends[0].init_kwargs.project == "mine"
    dumped = Config.fromstring(cfg.pretty_text, ".py")
    assert dumped.visualizer == cfg.visualizer
    assert cfg.visualizer.vis_backends[1].run_name == "run-3"


@pytest.mark.parametrize(
    "visualizer", [None, {}, dict(type="Visualizer", vis_backends=dict(type="LocalVisBackend"))]
)
def test_what_mmengine_writes_itself_stays(installed, visualizer):
    cfg = Config(dict(work_dir="run", visualizer=visualizer))
    TrackOptions(track=["tensorboard"]).apply(cfg)
    assert kinds(cfg) == ["LocalVisBackend", "TensorboardVisBackend"]


def test_nothing_asked_changes_nothing():
    cfg = Config(dict(work_dir="run"))
    TrackOptions().apply(cfg)
    assert cfg.to_dict() == dict(work_dir="run")


def test_an_unknown_or_missing_tracker_is_named(monkeypatch):
    with pytest.raises(UserError, match="`track` must be one of tensorboard, wandb, mlflow, it is 'wandbd'"):
        TrackOptions(track=["wandbd"])
    missing = [name for name in TRACKERS if importlib.util.find_spec(name) is None]
    for name in missing:
        with pytest.raises(UserError, match=f"`track` {name}: .* pip install {name}"):
            TrackOptions(track=[name])


def test_a_missing_tracker_is_found_before_torch_is_imported(repo_root):
    missing = [name for name in TRACKERS if importlib.util.find_spec(name) is None]
    if not missing:
        pytest.skip("all trackers are installed")
    command = [sys.executable, "-X", "importtime", "tools/train.py", "none.py", "--track", missing[0]]
    run = subprocess.run(command, cwd=repo_root, capture_output=True, text=True)
    assert run.returncode == 2 and f"error: --track {missing[0]}: the package is not installed" in run.stderr
    assert not re.search(r"\| +(torch|mmengine)$", run.stderr, re.MULTILINE)
