"""Keys and names that nothing reads are said, with what was probably meant."""

import inspect

import pytest

from detdiffusion.utils.config import load_config
from detdiffusion.utils.config_keys import RUNNER
from detdiffusion.utils.errors import UserError

OWN = """
default_scope = 'mmengine'
image_scale = (96, 64)
model = dict(type='ToyNet', test_cfg=dict(score_thr=0.1), heads=[dict(num_classes=2)], scale=image_scale)
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(pipeline=[dict(scale=image_scale)]))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
randomness = dict(seed=0)
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


def test_the_runner_reads_what_mmengine_has_arguments_for():
    from mmengine.runner import Runner

    assert set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"} == RUNNER


@pytest.mark.parametrize(
    "option, message",
    [
        ("modle.scale=1", "no 'modle'.*model.scale"),
        ("heads.0.num_classes=3", "no 'heads'.*model.heads.0.num_classes"),
        ("max_iters=3", "no 'max_iters'.*train_cfg.max_iters"),
        ("train_dataloader.batchsize=2", "no 'batchsize'.*batch_size"),
        ("train_cfg.max_itters=5", "IterBasedTrainLoop.* no 'max_itters'.*max_iters"),
        ("optim_wrapper.optimiser.lr=1", "no 'optimiser'.*optimizer"),
        ("optim_wrapper.optimizer.weight_dekay=1", "AdamW.* no 'weight_dekay'.*weight_decay"),
        ("randomness.seeed=1", "no 'seeed'.*seed"),
        ("model.test_cfg.score_th=0.3", "no 'score_th'.*score_thr"),
        ("model.heads.0.num_class=3", "no 'num_class'.*num_classes"),
    ],
)
def test_an_option_that_nothing_reads_is_an_error(config, option, message):
    with pytest.raises(UserError, match=message):
        load_config(config, [option])


@pytest.mark.parametrize(
    "option",
    [
        "train_dataloader.pin_memory=True",
        "train_dataloader.prefetch_factor=4",
        "optim_wrapper.accumulative_counts=2",
        "optim_wrapper.clip_grad.max_norm=1.0",
        "optim_wrapper.optimizer.betas=(0.9,0.99)",
        "train_cfg.val_begin=2",
        "load_from=a.pth",
        "find_unused_parameters=True",
        "model.heads.0.num_classes=3",
        "model.anything.else=3",
        "randomness=None",
    ],
)
def test_what_something_reads_passes(config, option):
    load_config(config, [option])


@pytest.mark.parametrize("line", ["imge_scale = (9, 9)", "train_dataloder = dict()", "optim_wraper = dict()"])
def test_a_name_of_a_file_near_one_that_is_used_is_an_error(tmp_path, config, line):
    for name, text in (("direct.py", OWN + line), ("heir.py", f"_base_ = 'own.py'\n{line}\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=f"{name}: {line.split()[0]}: .*did you mean"):
            load_config(str(tmp_path / name))


def test_another_unused_name_is_a_note(tmp_path, config, capsys):
    (tmp_path / "heir.py").write_text("_base_ = 'own.py'\nremark = 'mine'\n_helper = 1\n")
    assert load_config(str(tmp_path / "heir.py")).remark == "mine"
    assert "note: " in (said := "".join(capsys.readouterr())) and "remark" in said and "_helper" not in said


def test_weights_in_the_place_of_a_config_are_said(tmp_path):
    (tmp_path / "iter_2.pth").write_bytes(b"PK" + bytes(100))
    with pytest.raises(UserError, match="iter_2.pth is a file of weights.*swapped"):
        load_config(str(tmp_path / "iter_2.pth"))
