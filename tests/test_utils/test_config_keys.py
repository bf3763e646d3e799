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
    with pytest.raises(UserError, match="iter_2.pth is a weights file.*swapped"):
        load_config(str(tmp_path / "iter_2.pth"))


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "_base_ = 'own.py'\nextra = _base_.train_cfg\n_base_ = 'other.py'\n_e = extra\n",
            "_base_.*lines 1 and 3",
        ),
        ("model = {'a': 1, 'b': {'c': 1, 'c': 2}}\n", "c: it is set twice by the .* of line 1"),
    ],
)
def test_a_key_that_is_set_twice_is_an_error(tmp_path, config, text, message):
    (tmp_path / "twice.py").write_text(text)
    with pytest.raises(UserError, match=f"twice.py: {message}"):
        load_config(str(tmp_path / "twice.py"))
    (tmp_path / "heir.py").write_text("_base_ = 'twice.py'\n")
    with pytest.raises(UserError, match=f"twice.py: {message}"):
        load_config(str(tmp_path / "heir.py"))


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "train_cfg = dict(max_iters=1)\nmodel = dict()\ntrain_cfg = dict(max_iters=2)\n",
            "train_cfg: it is set twice, in lines 1 and 3",
        ),
        ("a, b = 1, 2\nb: int = 3\nmodel = dict(x=a, y=b)\n", "b: it is set twice, in lines 1 and 2"),
    ],
)
def test_a_name_that_is_set_twice_is_a_warning(tmp_path, capsys, text, message):
    (tmp_path / "twice.py").write_text(text)
    load_config(str(tmp_path / "twice.py"))
    assert f"warning: config {tmp_path / 'twice.py'}: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "n = 1\nn = n + 1\nmodel = dict(n=n)\n",
        "n = 1\nn += 1\nmodel = dict(n=n)\n",
        "n = 2\na = [0 for _ in range(3)]\nb = [0 for _ in range(3)]\nmodel = dict(n=n, a=a, b=b)\n",
        "n = 1\nif True:\n    n = 2\nmodel = dict(n=n)\n",
        "n = 1\nfor n in range(3):\n    pass\nmodel = dict(n=n)\n",
        "model = dict(n=1)\nmodel.update(n=2)\nmodel = dict(model)\n",
        "n = 1\n\ndef twice():\n    return 2 * n\n\nn = 2\nmodel = dict(n=twice())\n",
    ],
)
def test_a_key_that_is_used_in_between_may_be_set_anew(tmp_path, capsys, text):
    (tmp_path / "fine.py").write_text(text)
    assert load_config(str(tmp_path / "fine.py")).model.n >= 2
    assert "set twice" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, text, key",
    [
        ("a.json", '{"model": {"x": 1, "x": 2}, "train_cfg": {}}', "x: it is set twice in one object"),
        ("a.json", '{"train_cfg": {"max_iters": 1}, "train_cfg": {}}', "train_cfg: it is set twice"),
        ("a.yaml", "model:\n  list:\n  - x: 1\n    x: 2\n", "x: it is set twice by the mapping of line 3"),
        ("a.yml", "train_cfg: {}\nmodel: {}\ntrain_cfg: {}\n", "train_cfg: it is set twice"),
    ],
)
def test_json_and_yaml_are_read_as_strictly(tmp_path, name, text, key):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=f"{name}: {key}"):
        load_config(str(tmp_path / name))


@pytest.mark.parametrize("name, line", [("own.json", '{%s"%s": 1}'), ("own.yaml", "%s%s: 1\n")])
def test_names_that_nothing_reads_in_json_and_yaml(tmp_path, config, name, line, capsys):
    base = '"_base_": "own.py", ' if name.endswith("json") else "_base_: own.py\n"
    (tmp_path / name).write_text(line % (base, "train_dataloder"))
    with pytest.raises(UserError, match=f"{name}: train_dataloder.*did you mean train_dataloader"):
        load_config(str(tmp_path / name))
    (tmp_path / name).write_text(line % (base, "remark"))
    assert load_config(str(tmp_path / name)).remark == 1
    assert f"{name}: remark" in capsys.readouterr().err


LAZY = """
from mmengine.config import read_base

with read_base():
    from .lazy_base import *

train_cfg.update(max_iters=8)
"""


@pytest.fixture
def lazy(tmp_path):
    (tmp_path / "lazy_base.py").write_text(OWN)
    (tmp_path / "lazy.py").write_text(LAZY)
    return tmp_path


def test_configs_with_read_base_get_the_same_checks(lazy, capsys):
    config = load_config(str(lazy / "lazy.py"), ["train_cfg.max_iters=9"])
    assert config.train_cfg.max_iters == 9 and config.model.scale == (96, 64)
    assert not capsys.readouterr().err
    (lazy / "lazy.py").write_text(LAZY + "remark = 1\n")
    load_config(str(lazy / "lazy.py"))
    assert "lazy.py: remark" in capsys.readouterr().err
    for line, message in (
        ("optim_wraper = dict()", "did you mean optim_wrapper"),
        ("a = {'b': 1, 'b': 2}", "set twice"),
    ):
        (lazy / "lazy.py").write_text(f"{LAZY}{line}\n")
        with pytest.raises(UserError, match=f"lazy.py: .*{message}"):
            load_config(str(lazy / "lazy.py"))
    (lazy / "lazy.py").write_text(LAZY)
    (lazy / "lazy_base.py").write_text(OWN + "imge_scale = 3\n")
    with pytest.raises(UserError, match="lazy_base.py: imge_scale.*did you mean image_scale"):
        load_config(str(lazy / "lazy.py"))


def test_a_variable_of_a_config_with_read_base_is_refused_with_the_place_to_write(lazy):
    with pytest.raises(
        UserError, match="--cfg-options image_scale: .*model, train_dataloader; override these"
    ):
        load_config(str(lazy / "lazy.py"), ["image_scale=(32,32)"])


@pytest.mark.parametrize("line", ["exif_orientation = 'turn'", "huge_images = 'yes'"])
def test_rules_for_images_are_checked_wherever_a_config_is_read(tmp_path, line):
    (tmp_path / "rules.py").write_text(f"model = dict()\n{line}\n")
    with pytest.raises(UserError, match=f"rules.py: {line.split()[0]} must be"):
        load_config(str(tmp_path / "rules.py"))
