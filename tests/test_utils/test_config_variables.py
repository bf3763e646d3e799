"""Path variables set anew move what was built from them, once, and nothing else."""

import pytest

from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

BASE = """
data_root = 'data/coco'
ann_file = data_root + '/train.json'
dataset = dict(root=data_root, files=[data_root + '/a.json', 'other/b.json'], pair=(data_root, 1))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "middle.py").write_text("_base_ = 'base.py'\n")
    return tmp_path


def moved(root):
    return dict(root=root, files=[f"{root}/a.json", "other/b.json"], pair=(root, 1))


@pytest.mark.parametrize("new", ["data/coco/mini", "data", "/elsewhere/x"])
@pytest.mark.parametrize("base", ["base.py", "middle.py"])
def test_an_inherited_path_is_moved_once(folder, base, new):
    (folder / "own.py").write_text(f"_base_ = {base!r}\ndata_root = {new!r}\n")
    config = load_config(str(folder / "own.py"))
    assert (config.data_root, config.ann_file) == (new, f"{new}/train.json")
    assert config.dataset.to_dict() == moved(new)


def test_each_generation_may_go_deeper(folder):
    (folder / "middle.py").write_text("_base_ = 'base.py'\ndata_root = 'data/coco/mini'\n")
    (folder / "own.py").write_text("_base_ = 'middle.py'\ndata_root = 'data/coco/mini/tiny'\n")
    config = load_config(str(folder / "own.py"))
    assert config.data_root == "data/coco/mini/tiny"
    assert config.dataset.to_dict() == moved("data/coco/mini/tiny")


def test_what_the_file_itself_sets_stays(folder):
    (folder / "own.py").write_text(
        "_base_ = 'base.py'\ndata_root = '/new'\nann_file = 'data/coco/mine.json'\n"
        "extra = dict(file='data/coco/x.json')\ndataset = dict(files=['data/coco/c.json'])\n"
    )
    config = load_config(str(folder / "own.py"))
    assert (config.data_root, config.ann_file) == ("/new", "data/coco/mine.json")
    assert config.extra.file == "data/coco/x.json"
    assert config.dataset.to_dict() == dict(root="/new", files=["data/coco/c.json"], pair=("/new", 1))


def test_an_option_leaves_what_lies_there_already(folder):
    (folder / "own.py").write_text("_base_ = 'base.py'\nextra = 'data/coco/mini/x.json'\n")
    config = load_config(str(folder / "own.py"), ["data_root=data/coco/mini"])
    assert config.extra == "data/coco/mini/x.json" and config.dataset.to_dict() == moved("data/coco/mini")


def test_a_shorter_run_is_one_option(repo_root):
    path = str(repo_root / "configs/bccd/atss_bccd.py")
    plain, short = load_config(path), load_config(path, ["max_iters=70"])
    assert short.train_cfg.max_iters == short.param_scheduler[1].end == 70
    assert short.param_scheduler[0] == plain.param_scheduler[0] and short.param_scheduler[1].begin == 50
    assert short.train_cfg.val_interval == plain.train_cfg.val_interval == 100
    path = str(repo_root / "configs/detectors/atss_miniscenes.py")  # validates and saves at its end
    short = load_config(path, ["max_iters=70"])
    assert short.train_cfg.val_interval == short.default_hooks.checkpoint.interval == 70
    path = str(repo_root / "configs/detdiffusion_coco.py")
    longer = load_config(path, ["max_epochs=90"])
    assert longer.train_cfg.max_epochs == longer.param_scheduler[1].end == 90
    assert load_config(path, ["train_cfg.max_epochs=90"]).param_scheduler[1].end == 60


SCALES = """
image_scale = (96, 96)  # width, height
other = (96, 96)
metainfo = dict(classes=('a', 'b'), kind='x')
steps = 40
half = steps // 2
train = dict(pipeline=[dict(scale=image_scale), dict(scale=(96, 96)), dict(other=other)], metainfo=metainfo, n=half)
val = dict(scale=image_scale, metainfo=metainfo, name=f'{image_scale[0]}px')
test = val
_used = (train, val, test)
"""


@pytest.fixture
def scales(tmp_path):
    (tmp_path / "scales.py").write_text(SCALES)
    (tmp_path / "heir.py").write_text(
        "_base_ = 'scales.py'\nmore = dict(scale={{_base_.image_scale}})\n_more = more\n"
    )
    return tmp_path


@pytest.mark.parametrize("text", ["(64,32)", "[64,32]", "64,32"])
def test_a_variable_takes_effect_by_its_name_and_not_by_its_value(scales, text):
    config = load_config(str(scales / "heir.py"), [f"image_scale={text}"])
    assert config.image_scale == config.val.scale == config.test.scale == config.more.scale == (64, 32)
    assert config.val.name == "64px" and config.other == (96, 96)
    assert [list(step.values())[0] for step in config.train.pipeline] == [(64, 32), (96, 96), (96, 96)]


@pytest.mark.parametrize("text", ["64", "large", "(64,32,16)", "(64,a)", "True"])
def test_a_value_of_another_kind_is_refused(scales, text):
    with pytest.raises(UserError, match=r"image_scale.*\(96, 96\).*like image_scale=\(96,96\)"):
        load_config(str(scales / "heir.py"), [f"image_scale={text}"])


def test_items_and_arithmetic_follow(scales):
    config = load_config(str(scales / "heir.py"), ["metainfo.classes=(c,)", "steps=10"])
    assert config.train.metainfo == config.val.metainfo == dict(classes=("c",), kind="x")
    assert config.train.n == config.half == 5
    with pytest.raises(UserError, match="steps=2.5"):
        load_config(str(scales / "heir.py"), ["steps=2.5"])


def test_a_name_alone_in_a_file_reaches_its_bases(scales):
    (scales / "own.py").write_text(
        "_base_ = 'heir.py'\nimage_scale = (32, 32)\nmetainfo = dict(classes=('c',))\n"
    )
    config = load_config(str(scales / "own.py"))
    assert config.val.scale == config.more.scale == (32, 32)
    assert config.train.metainfo == dict(classes=("c",), kind="x")


def test_paths_keep_their_slash(tmp_path):
    (tmp_path / "base.py").write_text("data_root = 'data/x/'\nann = data_root + 'a.json'\n_ann = ann\n")
    assert load_config(str(tmp_path / "base.py"), ["data_root=/new"]).ann == "/new/a.json"
    (tmp_path / "own.py").write_text("_base_ = 'base.py'\ndata_root = '/mine'\n")
    assert load_config(str(tmp_path / "own.py")).ann == "/mine/a.json"


@pytest.mark.parametrize("name", ["vars.yaml", "vars.json"])
def test_variables_of_json_and_yaml_files(tmp_path, name):
    values = "root: data/x\nscale: [96, 64]\nsame: data/x\n"
    if name.endswith("json"):
        values = '{"root": "data/x", "scale": [96, 64], "same": "data/x"}'
    (tmp_path / name).write_text(values)
    lines = [f"_base_ = '{name}'", "ann = _base_.root + '/a.json'", "size = {{_base_.scale}}"]
    (tmp_path / "own.py").write_text("\n".join([*lines, "_used = (ann, size, _base_.same)"]))
    config = load_config(str(tmp_path / "own.py"), ["root=/new", "scale=(32,16)"])
    assert (config.ann, list(config.size), config.same) == ("/new/a.json", [32, 16], "data/x")
    assert config.root == "/new" and list(config.scale) == [32, 16]
    (tmp_path / "heir.yaml").write_text("_base_: own.py\nroot: /mine/x\n")
    assert load_config(str(tmp_path / "heir.yaml")).ann == "/mine/x/a.json"


NUMBERS = """
max_iters = 800
warm_up = max_iters // 8
rate, batch = 1e-3, 4
other = 800
rates = (rate, rate * 2)
train_cfg = dict(max_iters=max_iters, stop=800)
param_scheduler = [dict(end=warm_up), dict(begin=warm_up, end=max_iters)]
model = dict(rates=rates, batch=batch, other=other)
"""


def test_numbers_act_by_name_where_equal_ones_stay(tmp_path):
    (tmp_path / "base.py").write_text(NUMBERS)
    (tmp_path / "own.py").write_text("_base_ = 'base.py'\nmax_iters = 80\nrate = 1e-2\n")
    for config in (
        load_config(str(tmp_path / "base.py"), ["max_iters=80", "rate=1e-2"]),
        load_config(str(tmp_path / "own.py")),
    ):
        assert config.train_cfg == dict(max_iters=80, stop=800)
        assert config.param_scheduler == [dict(end=10), dict(begin=10, end=80)]
        assert config.model == dict(rates=(1e-2, 2e-2), batch=4, other=800)
    config = load_config(str(tmp_path / "base.py"), ["rates=(1,2)", "batch=8"])
    assert config.model.rates == (1, 2) and config.model.batch == 8 and config.rate == 1e-3
