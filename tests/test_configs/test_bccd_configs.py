"""The configs of the blood cells: real annotations through them, a step of each model."""

import math

import pytest
import torch
from mmengine.registry import init_default_scope

from detdiffusion.datasets.formats.voc import read_voc
from detdiffusion.perception import AttributesFile
from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config

compat.setup()


@pytest.fixture(scope="module")
def cells(shared_dir, tmp_path_factory):
    """The converted set, a made-up attributes file and a tokenizer, where the configs look for them."""
    root = tmp_path_factory.mktemp("bccd")
    if not (shared_dir / "data/bccd/Annotations").is_dir():
        pytest.skip("no blood cells")
    found = read_voc(shared_dir / "data/bccd", decode=False, progress=False)
    found.write(root / "data")
    words = {a["id"]: ("easy", "hard")[a["id"] % 2] for a in found.annotations}
    AttributesFile(root / "attributes.json", words).write()

    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer

    names = ["platelets", "rbc", "wbc", "easy", "hard", "background", "an", "image", "with"]
    write_small_tokenizer(root / "tokenizer", names)
    return root


@pytest.mark.parametrize("name", ["atss_bccd", "atss_attributes_bccd", "atss_mixed_bccd"])
def test_detectors(name, cells, repo_root):
    from mmdet.registry import DATASETS, MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    options = [f"data_root={cells / 'data'}/"]
    config = load_config(str(repo_root / f"configs/bccd/{name}.py"), options)
    assert "data/bccd" not in config.pretty_text.replace(str(cells), "")
    init_default_scope("mmdet")
    assert config.param_scheduler[-1].end == config.train_cfg.max_iters == 600
    if name == "atss_mixed_bccd":
        assert config.train_dataloader.dataset.synthetic == [
            dict(data_root="work_dirs/bccd/synthetic/hard", ann_file="annotations.json")
        ]
        return
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert len(dataset) == (87 if "attributes" in name else 205)
    if name == "atss_bccd":
        from mmengine.dataset import pseudo_collate
        from mmengine.optim import build_optim_wrapper

        model = MODELS.build(config.model)
        model.init_weights()
        losses = model.train_step(
            pseudo_collate([dataset[0], dataset[1]]), build_optim_wrapper(model, config.optim_wrapper)
        )
        assert math.isfinite(losses["loss"])
        assert len(DATASETS.build(config.val_dataloader.dataset)) == 72


def test_generator(cells, repo_root):
    import detdiffusion.datasets
    import detdiffusion.models  # noqa: F401
    from detdiffusion.registry import DATASETS, MODELS

    options = [f"data_root={cells / 'data'}", f"attributes_file={cells / 'attributes.json'}"]
    config = load_config(str(repo_root / "configs/bccd/detdiffusion_bccd.py"), options)
    init_default_scope("detdiffusion")
    config.model.vae = dict(type="AutoencoderTiny")
    config.model.tokenizer.from_pretrained = str(cells / "tokenizer")
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert len(dataset) >= 203 and max(map(len, dataset.layouts)) <= 30
    assert dataset.report.get("objects up to 0.1% of the image", 0) == 0
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    items = [dataset[i] for i in range(2)]
    batch = dict(inputs=[i["inputs"] for i in items], data_samples=[i["data_samples"] for i in items])
    data = model.data_preprocessor(batch, True)
    assert data["inputs"].shape == (2, 3, 144, 192)
    losses = model(**data, mode="loss")
    assert set(losses) == {"loss_ldm", "loss_pa", "loss_grounding"}
    assert all(torch.isfinite(loss) for loss in losses.values())
    longest = max(dataset.layouts, key=len)
    kept = model.layout_tokenizer.encode([longest.with_attributes(["hard"] * len(longest))]).kept
    assert len(kept[0]) == len(longest)  # every cell finds room in the prompt
