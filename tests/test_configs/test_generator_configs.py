"""Every generator config parses and builds: SD 1.5's size on the meta device, tiny weights in training."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_folder import write_diffusers_folder

from detdiffusion.models.editors.detdiffusion.single_file import sd1_part
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ABLATIONS = sorted(path.relative_to(CONFIGS).as_posix() for path in (CONFIGS / "ablations").glob("*_coco.py"))
MINISCENES = [
    "detdiffusion_miniscenes.py",
    "detdiffusion_validated_miniscenes.py",
    "detdiffusion_few-images_miniscenes.py",
    "geodiffusion_miniscenes.py",
    *sorted(p.relative_to(CONFIGS).as_posix() for p in (CONFIGS / "ablations").glob("*_miniscenes.py")),
]
VARIANTS = [f"detdiffusion_{name}_coco.py" for name in ("lora", "small-memory", "sd21")]
COCO = ["detdiffusion_coco.py", "geodiffusion_coco.py", "detdiffusion_800x456_coco.py", *VARIANTS, *ABLATIONS]
ALL = [
    *COCO,
    "detdiffusion_fsdp_coco.py",
    "detdiffusion_small_coco.py",
    *MINISCENES,
]
THINGS, STUFF = 80, 91

SD15_UNET = sd1_part("unet", sample_size=32)
SD15_TEXT_ENCODER, SD15_VAE = sd1_part("text_encoder"), sd1_part("vae")
# Stable Diffusion 2.1's differences
SD21_UNET = dict(
    SD15_UNET, attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, use_linear_projection=True
)
SD21_TEXT_ENCODER = dict(
    SD15_TEXT_ENCODER, hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16
)


def load(name, *options):
    return load_config(str(CONFIGS / name), options)


def strings(values):
    """Every text in a nested config."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        return [text for value in values for text in strings(value)]
    return [values] if isinstance(values, str) else []


def build(model):
    from mmengine.registry import init_default_scope

    import detdiffusion.models  # noqa: F401
    from detdiffusion.registry import MODELS

    init_default_scope("detdiffusion")
    return MODELS.build(model)


def run_train(cwd, *args):
    """tools/train.py as a user runs it."""
    command = [sys.executable, str(CONFIGS.parent / "tools/train.py"), *map(str, args)]
    env = dict(os.environ, HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def sd_folder(tmp_path_factory):
    """A diffusers folder like Stable Diffusion's, at tiny size."""
    return write_diffusers_folder(tmp_path_factory.mktemp("sd") / "sd15")


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """COCO-Thing-Stuff's folders and file names, filled with a few MiniScenes."""
    from detdiffusion.datasets.miniscenes import write_miniscenes

    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    attributes = {}
    for split, count in (("train", 12), ("val", 8)):
        write_miniscenes(root, split, count, size=64)
        for kind in ("instances", "stuff"):
            data = json.loads((root / split / f"{kind}.json").read_text())
            if kind == "stuff":
                data["categories"].append(dict(id=183, name="other", supercategory="other"))
            (root / f"annotations/{kind}_{split}2017.json").write_text(json.dumps(data))
            word = "background" if kind == "stuff" else "easy"
            attributes.update({a["id"]: word for a in data["annotations"] if split == "train"})
        (root / split / "images").rename(root / f"{split}2017")
    file = dict(info=dict(nameable=[]), attributes=attributes)
    (root / "annotations/attributes_train2017.json").write_text(json.dumps(file))
    return root


def test_the_recipe_is_the_papers():
    config = load("detdiffusion_coco.py")
    model, loader = config.model, config.train_dataloader
    assert config.train_cfg.max_epochs == 60 and loader.batch_size == 4
    assert config.auto_scale_lr.base_batch_size == 32
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", 1e-4, 1e-2)
    assert config.optim_wrapper.clip_grad.max_norm == 1.0
    warm_up, cosine = config.param_scheduler
    assert warm_up.end == 3000 and not warm_up.by_epoch
    assert (cosine.type, cosine.begin, cosine.end) == ("CosineAnnealingLR", 0, 60)
    assert model.layout_tokenizer.bins == (256, 256) and model.null_text_prob == 0.1
    assert model.perception_loss.loss_weight == 0.01
    assert model.perception_loss.weight_by == "sqrt_alpha_bar" and model.perception_loss.use_dice
    assert model.noise_loss.foreground and model.noise_loss.snr_gamma is None
    assert (model.mask_head.num_queries, model.mask_head.hidden, model.mask_head.num_layers) == (100, 256, 3)
    assert loader.dataset.pipeline[0].size == (256, 256)
    assert loader.dataset.filter_cfg.max_objects == 8
    assert config.randomness.diff_rank_seed  # ranks must not share noise and time steps


def test_the_learning_rate_warms_up_and_falls_to_zero():
    """Both schedules run over the same steps: their factors multiply."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    config = load("detdiffusion_coco.py")
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), config.optim_wrapper.to_dict())
    schedulers = []
    for spec in config.param_scheduler:
        spec = spec.to_dict()
        cls = PARAM_SCHEDULERS.get(spec.pop("type"))
        if spec.pop("convert_to_iter_based", False):
            schedulers.append(cls.build_iter_from_epoch(wrapper, epoch_length=100, **spec))
        else:
            schedulers.append(cls(wrapper, **spec))
    rates = []
    for _ in range(6000):
        rates.append(wrapper.get_lr()["lr"][0])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(1e-7, rel=1e-3)
    assert rates[1500] == pytest.approx(1e-4 * 0.5 * 0.854, rel=0.01)  # half warm, cos at a quarter
    assert rates[3000] == pytest.approx(0.5e-4, rel=0.01)
    assert rates[-1] < 1e-9


@pytest.mark.parametrize("name", ALL)
def test_one_variable_moves_every_path(name):
    folders = dict(sd_folder="/new/sd", layout_folder="/new/zoo", data_root="/new/data")
    before = load(name)
    folders = {key: value for key, value in folders.items() if key in before}
    after = load(name, *(f"{key}={value}" for key, value in folders.items()))
    old = tuple(before[key] for key in folders)
    assert len(old) == 2
    assert not [text for text in strings(after._cfg_dict.to_dict()) if text.startswith(old)]
    sources = [part.from_pretrained for part in after.model.values() if "from_pretrained" in str(part)]
    assert set(sources) == {"/new/sd" if "sd_folder" in before else "/new/zoo"} and len(sources) == 5
    sets = [after.train_dataloader.dataset, *after.layout_datasets.values()]
    for dataset in sets:
        root = Path(dataset.get("data_root", ""))
        assert str(root / dataset.img_dir).startswith("/new/data/")
        assert all(str(root / file).startswith("/new/data/") for file in dataset.ann_files)


def test_a_more_specific_variable_wins():
    config = load("detdiffusion_small_coco.py", "data_root=/new", "ann_file=/labels.json", "img_dir=photos")
    for dataset in (config.train_dataloader.dataset, config.layout_datasets.train):
        assert (dataset.ann_files, dataset.img_dir) == (["/labels.json"], "photos")
    steps = [step for step in config.train_dataloader.dataset.pipeline if "attributes_file" in step]
    assert [step.attributes_file for step in steps] == ["/new/attributes.json"]


def test_inheritance_from_another_folder(tmp_path):
    from detdiffusion.utils import compat

    compat.setup()
    (tmp_path / "mine.py").write_text(
        "_base_ = 'detdiffusion::detdiffusion_coco.py'\n"
        "data_root = '/new/coco'\n"
        "model = dict(null_text_prob=0.2)\n"
    )
    if not (CONFIGS.parent / "detdiffusion/.mim").exists():
        pytest.skip("the package is not installed (pip install -e .)")
    config = load_config(str(tmp_path / "mine.py"), ["sd_folder=/new/sd"])
    assert config.model.null_text_prob == 0.2
    assert config.model.unet.from_pretrained == "/new/sd" and config.train_cfg.max_epochs == 60
    # a variable set in the file moves what the base built from it, as --cfg-options does
    assert config.train_dataloader.dataset.data_root == config.layout_datasets.val.data_root == "/new/coco"
    attributes = "/new/coco/annotations/attributes_train2017.json"
    assert config.attributes_file == attributes
    assert config.train_dataloader.dataset.pipeline[2].attributes_file == attributes


def test_a_variable_set_twice_on_the_way_ends_at_the_last(tmp_path):
    (tmp_path / "a.py").write_text("root = 'a/a'\npaths = [root + '/x', 'a/aa/x']\n")
    (tmp_path / "b.py").write_text("_base_ = 'a.py'\nroot = 'b/b'\nmore = root + '/y'\n")
    (tmp_path / "c.py").write_text("_base_ = 'b.py'\nroot = 'c/c/'\nown = root + 'z'\n")
    config = load_config(str(tmp_path / "c.py"))
    assert (config.paths, config.more, config.own) == (["c/c/x", "a/aa/x"], "c/c/y", "c/c/z")
    config = load_config(str(tmp_path / "b.py"))
    assert (config.paths, config.more) == (["b/b/x", "a/aa/x"], "b/b/y")


def test_ablations_differ_from_the_recipe_in_one_thing():
    recipe = load("detdiffusion_coco.py").model.to_dict()
    changes = {}
    for name in [*ABLATIONS, "geodiffusion_coco.py"]:
        model = load(name).model.to_dict()
        changes[Path(name).stem] = {key: model[key] for key in recipe if model[key] != recipe[key]}
    loss = recipe["perception_loss"]
    assert changes == {
        "detdiffusion_attr-only_coco": dict(mask_head=None, perception_loss=None),
        "geodiffusion_coco": dict(
            layout_tokenizer=dict(recipe["layout_tokenizer"], attributes=False),
            mask_head=None,
            perception_loss=None,
        ),
        "detdiffusion_without-foreground-weights_coco": dict(
            noise_loss=dict(recipe["noise_loss"], foreground=False)
        ),
        "detdiffusion_without-dice_coco": dict(perception_loss=dict(loss, use_dice=False)),
        "detdiffusion_without-sqrt-alpha-bar_coco": dict(perception_loss=dict(loss, weight_by=None)),
    }


def test_ablations_of_miniscenes_are_those_of_coco():
    recipe = load("detdiffusion_miniscenes.py").to_dict()
    loss, changes = recipe["model"]["perception_loss"], {}
    for path in (CONFIGS / "ablations").glob("*_miniscenes.py"):
        config = load(f"ablations/{path.name}").to_dict()
        model = config.pop("model")
        assert config == {key: value for key, value in recipe.items() if key != "model"}
        changes[path.stem] = {key: model[key] for key in model if model[key] != recipe["model"][key]}
    assert changes == {
        "detdiffusion_attr-only_miniscenes": dict(mask_head=None, perception_loss=None),
        "detdiffusion_without-dice_miniscenes": dict(perception_loss=dict(loss, use_dice=False)),
        "detdiffusion_without-sqrt-alpha-bar_miniscenes": dict(perception_loss=dict(loss, weight_by=None)),
    }


def full_size(config):
    """A config's model with Stable Diffusion's shapes, without memory for its weights."""
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

    schedulers = dict(scheduler=DDPMScheduler(), test_scheduler=DPMSolverMultistepScheduler())  # read values
    parts = (SD21_UNET, SD21_TEXT_ENCODER) if "sd21" in config.filename else (SD15_UNET, SD15_TEXT_ENCODER)
    sizes = dict(zip(("unet", "text_encoder"), parts), vae=SD15_VAE)
    with torch.device("meta"):
        editor = build({**config.model.to_dict(), **sizes, **schedulers})
    return editor


def trained(part):
    return sum(p.numel() for p in part.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", ["geodiffusion_coco.py", "detdiffusion_coco.py", *VARIANTS])
def test_the_memory_that_a_config_names_is_that_of_its_parameters(name, sd_folder):
    config = load(name, f"sd_folder={sd_folder}")
    editor = full_size(config)
    missing = 49408 + 256 * 256 + 3 * editor.layout_tokenizer.attributes
    missing -= editor.text_encoder.get_input_embeddings().weight.shape[0]  # rows of the real vocabulary
    rows = missing * editor.text_encoder.config.hidden_size
    weights = sum(p.numel() for p in editor.parameters()) + rows
    learned = trained(editor) + (0 if "lora" in name else rows)
    moments = 0 if config.optim_wrapper.optimizer.type == "TorchAdafactor" else 8
    named = re.search(r"Memory a GPU: ([\d.]+) GB \(computed, not measured", (CONFIGS / name).read_text())[1]
    assert float(named) == round((4 * weights + (4 + moments) * learned) / 1e9, 1)


def test_stable_diffusions_size_on_the_meta_device(sd_folder):
    editor = full_size(load("detdiffusion_coco.py", f"sd_folder={sd_folder}"))
    count = {name: trained(part) for name, part in editor.named_children()}
    assert count["unet"] == 859_520_964
    assert count["mask_head"] == 11_592_192 and round(count["mask_head"] / count["unet"], 4) == 0.0135
    assert count["vae"] == 0
    added = {kind: len(ids) for kind, ids in editor.layout_tokenizer.added.items()}
    assert added == dict(location=256 * 256, attribute=3)
    # the tiny vocabulary leaves a part of CLIP's 49,408 rows to the added tokens
    assert count["text_encoder"] == 123_060_480 + (len(editor.tokenizer) - 49408) * 768
    assert editor.latent_scale == 8


@pytest.mark.parametrize("name", COCO)
def test_every_coco_config_builds_and_learns(name, sd_folder, coco):
    """Tiny weights, the config's own data set, pipeline, losses and optimizer."""
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import build_optim_wrapper

    import detdiffusion.datasets  # noqa: F401
    from detdiffusion.registry import DATASETS

    options = ["model.layout_tokenizer.max_length=48"]
    options += ["model.layout_tokenizer.bins=(8,8)"]  # 65,536 tokens take a second to add
    size, wide = (256, 256), "800x456" in name
    if "sd21" in name:
        options += ["model.scheduler.prediction_type=v_prediction"]
    if wide or name in ABLATIONS + VARIANTS:  # the tiny VAE has a factor of 4: a smaller image is plenty
        size = (228, 400) if wide else (64, 64)
        assert load(name).train_dataloader.dataset.pipeline[0].size == ((456, 800) if wide else (256, 256))
        options += [f"train_dataloader.dataset.pipeline.0.size=({size[0]},{size[1]})", "model.dtype=fp32"]
    config = load(name, f"sd_folder={sd_folder}", f"data_root={coco}", *options)
    editor = build(config.model).train()
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert len(dataset.classes) == 8 + 4 and "other" not in dataset.classes
    batch = pseudo_collate([dataset[0], dataset[1]])
    assert batch["inputs"][0].shape == (3, *size)
    wrapper = build_optim_wrapper(editor, config.optim_wrapper)
    losses = editor.train_step(batch, wrapper)
    assert ("loss_pa" in losses) == (not name.endswith("geodiffusion_coco.py") and "attr-only" not in name)
    assert all(torch.isfinite(value).all() for value in losses.values())
    assert DATASETS.build(config.layout_datasets.val).layouts
    frozen = [name for name, p in editor.unet.named_parameters() if not p.requires_grad]
    assert bool(frozen) == ("lora" in name)
    assert editor.test_scheduler.config.prediction_type == ("v_prediction" if "sd21" in name else "epsilon")


def test_the_training_tool_runs_the_recipe(sd_folder, coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [f"sd_folder={sd_folder}", f"data_root={coco}", "train_cfg.max_epochs=1", "model.dtype=fp32"]
    options += ["model.layout_tokenizer.max_length=48", "model.layout_tokenizer.bins=(8,8)"]
    options += ["train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False"]
    options += ["train_dataloader.dataset.pipeline.0.size=(64,64)", "default_hooks.checkpoint.interval=1"]
    config = str(CONFIGS / "detdiffusion_coco.py")
    monkeypatch.setattr(sys, "argv", ["train.py", config, "--work-dir", "w", "--cfg-options", *options])
    with pytest.raises(SystemExit) as end:  # in this process: a start costs seconds of imports
        runpy.run_path(str(CONFIGS.parent / "tools/train.py"), run_name="__main__")
    assert not end.value.code
    assert (tmp_path / "w/epoch_1.pth").exists()


def test_a_missing_stable_diffusion_is_one_message(tmp_path):
    run = run_train(tmp_path, CONFIGS / "detdiffusion_coco.py", "--cfg-options", f"data_root={tmp_path}")
    assert run.returncode == 2 and "Traceback" not in run.stderr
    message = run.stderr.splitlines()[-1]
    assert message.startswith("error: vae: no folder 'models/stable-diffusion-v1-5/vae'")
    assert "model_index.json, unet/, vae/" in message and "config's variable" in message


def test_missing_data_is_one_message(sd_folder, coco, tmp_path):
    """No data root; then one without annotations, without attributes, and with those of another set."""
    import detdiffusion.datasets  # noqa: F401
    from detdiffusion.registry import DATASETS

    options = [f"sd_folder={sd_folder}", "model.layout_tokenizer.bins=(8,8)"]
    options += ["model.layout_tokenizer.max_length=48"]
    run = run_train(tmp_path, CONFIGS / "detdiffusion_coco.py", "--cfg-options", *options)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    message = run.stderr.splitlines()[-1]
    assert message.startswith("error: no image folder 'data/coco/train2017': set data_root (now 'data/coco')")

    def fails(root, message):
        with pytest.raises(UserError, match=message):
            DATASETS.build(load("detdiffusion_coco.py", f"data_root={root}").train_dataloader.dataset)

    (tmp_path / "train2017").mkdir()
    fails(tmp_path, r"annotations/instances_train2017\.json: no such COCO json file")
    (tmp_path / "annotations").mkdir()
    for kind in ("instances", "stuff"):
        name = f"annotations/{kind}_train2017.json"
        (tmp_path / name).write_bytes((coco / name).read_bytes())
    fails(tmp_path, r"attributes_train2017\.json: no such attributes file")
    file = dict(info={}, attributes={"999999999": "easy"})
    (tmp_path / "annotations/attributes_train2017.json").write_text(json.dumps(file))
    fails(tmp_path, "attribute")


@pytest.mark.parametrize("folder", ["/nowhere/sd15", "./nowhere"])
def test_a_wrong_folder_is_named(folder):
    with pytest.raises(UserError, match="vae: no folder .*nowhere.*diffusers folder.*Stable Diffusion 1.5"):
        build(load("detdiffusion_coco.py", f"sd_folder={folder}").model)


def test_few_images_are_augmented_and_the_best_checkpoint_is_kept():
    config = load("detdiffusion_few-images_miniscenes.py")
    names = [step.type for step in config.train_dataloader.dataset.pipeline]
    assert names.index("LoadLayoutMasks") < names.index("CopyPasteLayout") < names.index("RandomFlipLayout")
    assert "RandomResizedCropLayout" in names and config.model.cache_latents is False
    assert config.default_hooks.checkpoint.save_best == "generation/bbox_mAP"
    assert config.default_hooks.checkpoint.rule == "greater"
