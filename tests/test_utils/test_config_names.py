"""Old names of configs load what they did, with a note, as an argument and as a base."""

import pytest

from detdiffusion.utils.config import default_work_dir, load_config
from detdiffusion.utils.config_names import OLD_NAMES, new_name
from detdiffusion.utils.errors import UserError


def test_the_table_names_files(repo_root):
    configs = repo_root / "configs"
    for old, new in OLD_NAMES.items():
        assert not (configs / old).exists() and (configs / new.path).is_file(), old
    assert len(OLD_NAMES) == 25 + 3 * 3 * 2


@pytest.mark.parametrize(
    "old",
    [
        "detdiffusion_coco-800x456.py",
        "ablations/geodiffusion_coco.py",
        "onnx/yolov8.py",
        "trainability/fcos_origin_miniscenes.py",
        "trainability/atss_r50_fpn_easy_coco.py",
    ],
)
def test_an_old_name_is_the_new_one_with_its_options(old, repo_root, capsys):
    path, new = f"{repo_root}/configs/{old}", OLD_NAMES[old]
    config = load_config(path)
    said = capsys.readouterr().err
    assert said.startswith(f"note: config {path}: it is now {repo_root}/configs/{new.path}")
    pairs = [f"{key}={value}" for key, value in new.options.items()]
    assert all(pair in said for pair in pairs)
    assert config.to_dict() == load_config(f"{repo_root}/configs/{new.path}", pairs).to_dict()
    assert "it is now" not in capsys.readouterr().err


def test_it_is_found_from_every_folder(repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)
    assert str(new_name("configs/detdiffusion_coco_lora.py")) == "configs/detdiffusion_lora_coco.py"
    text = "configs/trainability/atss_mixed_miniscenes.py with --cfg-options synthetic_root=work_dirs/synthetic/easy"
    assert str(new_name("configs/trainability/atss_easy_miniscenes.py")) == text
    monkeypatch.chdir(repo_root / "configs/trainability")
    assert new_name("atss_easy_miniscenes.py").path == "atss_mixed_miniscenes.py"
    assert new_name("../ablations/geodiffusion_coco.py").path == "../geodiffusion_coco.py"
    assert new_name("detdiffusion::onnx/yolov8.py").path == "detdiffusion::onnx/yolov8_coco.py"
    assert new_name("mmdet::onnx/yolov8.py") is new_name("atss_real_miniscenes.py") is None


def test_a_file_of_ones_own_with_an_old_name_is_ones_own(tmp_path):
    (tmp_path / "detdiffusion_coco_lora.py").write_text(
        "max_iters = 3\ntrain_cfg = dict(max_iters=max_iters)\n"
    )
    assert load_config(str(tmp_path / "detdiffusion_coco_lora.py")).train_cfg.max_iters == 3
    with pytest.raises(UserError, match="detdiffusion_coco_sd21.py does not exist"):
        load_config(str(tmp_path / "detdiffusion_coco_sd21.py"))


@pytest.mark.parametrize(
    "mine, root", [("", "work_dirs/synthetic/easy"), ("synthetic_root = '/my/set'\n", "/my/set")]
)
def test_as_a_base(mine, root, tmp_path, repo_root, capsys):
    base = f"{repo_root}/configs/trainability/atss_easy_miniscenes.py"
    (tmp_path / "mine.py").write_text(f"_base_ = {base!r}\nrandomness = dict(seed=3)\n{mine}")
    config = load_config(str(tmp_path / "mine.py"))
    said = capsys.readouterr().err
    assert f"mine.py: _base_ {base}: it is now" in said and "atss_mixed_miniscenes.py" in said
    assert config.train_dataloader.dataset.synthetic[0].data_root == root and config.randomness.seed == 3
    config = load_config(str(tmp_path / "mine.py"), ["synthetic_root=/given"])
    assert config.synthetic_root == config.train_dataloader.dataset.synthetic[0].data_root == "/given"


def test_as_a_base_of_the_package(tmp_path, repo_root):
    if not (repo_root / "detdiffusion/.mim").exists():
        pytest.skip("the package is not installed (pip install -e .)")
    (tmp_path / "mine.py").write_text("_base_ = 'detdiffusion::detdiffusion_coco_lora.py'\n")
    assert load_config(str(tmp_path / "mine.py")).model.lora.r == 16


def test_every_arm_has_a_work_folder_of_its_own(repo_root):
    def folder(name, *options):
        return default_work_dir(load_config(f"{repo_root}/configs/trainability/{name}.py", options))

    easy = folder("atss_mixed_miniscenes", "synthetic_root=sets/easy/")
    assert easy == "work_dirs/atss_mixed_miniscenes_easy"
    assert folder("atss_mixed_miniscenes") == "work_dirs/atss_mixed_miniscenes_hard"
    assert folder("atss_real_miniscenes") == "work_dirs/atss_real_miniscenes"
    assert folder("atss_easy_miniscenes") == "work_dirs/atss_easy_miniscenes"  # goes on where it was
