"""A config of mmagic's scope builds our editor with mmagic's components and trains it with mmengine's runner."""

import importlib.util
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mmagic") is None,
    reason="mmagic is not installed (pip install --no-deps -r requirements/mmagic.txt)",
)

SCRIPT = """
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

sys.path.insert(0, {tests!r})
import tiny_editor

folder = Path({folder!r})
editor = tiny_editor.editor_config(folder)


@DATASETS.register_module()
class Layouts(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        sample = BaseDataElement(metainfo=dict(image_id=i))
        sample.set_data(dict(layout=tiny_editor.layouts()[i % 2]))
        image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
        return dict(inputs=image, data_samples=sample)


config = Config(dict(
    default_scope="mmagic",
    custom_imports=dict(imports=["detdiffusion.integrations.mmagic"]),
    work_dir=str(folder / "work"),
    model=dict(
        editor,
        test_scheduler=dict(type="DPMSolverMultistepScheduler"),
        data_preprocessor=dict(type="DataPreprocessor", mean=[127.5] * 3, std=[127.5] * 3),
    ),
    train_dataloader=dict(batch_size=2, num_workers=0, sampler=dict(type="InfiniteSampler", shuffle=False),
                          dataset=dict(type="Layouts")),
    train_cfg=dict(by_epoch=False, max_iters=2),
    optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3)),
    visualizer=dict(type="Visualizer", vis_backends=[dict(type="VisBackend")]),
    custom_hooks=[dict(type="VisualizationHook", interval=2, n_samples=2, fixed_input=False,
                       vis_kwargs_list=dict(type="Data", name="layouts", target_keys="fake_img"))],
    default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=2, by_epoch=False)),
    randomness=dict(seed=0),
))
from mmengine.utils import import_modules_from_strings
import_modules_from_strings(**config.custom_imports)
runner = Runner.from_cfg(config)
before = {{name: p.detach().clone() for name, p in runner.model.named_parameters()}}
runner.train()
from mmagic.models import DataPreprocessor
from mmagic.models.archs.wrapper import DiffusersWrapper
from mmagic.registry import MODELS
assert type(runner.model) is MODELS.get("DetDiffusion")
assert isinstance(runner.model.data_preprocessor, DataPreprocessor)
assert isinstance(runner.model.unet, DiffusersWrapper) and isinstance(runner.model.vae, DiffusersWrapper)
changed = {{name.split(".")[0] for name, p in runner.model.named_parameters() if not torch.equal(p, before[name])}}
assert changed == {{"unet", "text_encoder", "mask_head"}}, changed
images = list((folder / "work").rglob("*.png"))
assert images, "the visualization hook wrote no image"
import mmcv, numpy
assert mmcv.__version__ != "2.1.0" and "bool8" not in vars(numpy)
print("trained")
"""


def test_mmagic_scope_trains_and_its_checkpoint_loads_in_ours(tmp_path, repo_root):
    script = SCRIPT.format(tests=str(repo_root / "tests"), folder=str(tmp_path))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0 and "trained" in result.stdout, result.stdout + result.stderr

    from tiny_editor import build_editor

    from detdiffusion.utils.checkpoint import load_checkpoint

    state = load_checkpoint(tmp_path / "work" / "iter_2.pth")["state_dict"]
    editor = build_editor(tmp_path)
    fresh = editor.unet.conv_in.weight.clone()
    editor.load_state_dict(state)  # strict: the same names in both scopes
    assert not torch.equal(fresh, editor.unet.conv_in.weight)


def test_core_does_not_import_mmagic():
    code = "import sys, detdiffusion.models, detdiffusion.registry; print('mmagic' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
