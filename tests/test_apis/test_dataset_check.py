"""check_dataset: figures against the files, findings with remedies, configs, attributes, and the status of the tool."""

import json
import math
import runpy
import shutil
import subprocess
import sys

import pytest
from mmengine.config import Config
from tiny_generation import CONFIG, write_tokenizer

from detdiffusion.apis import check_dataset
from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.datasets.object_digests import digests_of_files
from detdiffusion.engine.config_check import check_config
from detdiffusion.engine.config_memory import _run_generator, kept_bytes
from detdiffusion.registry import MODELS
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

TRAIN = """
train_dataloader = dict(batch_size=4, dataset=dict(layout_datasets['train'],
    filter_cfg=dict(min_objects=1, max_objects=20, min_area_ratio=0.02)))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=6)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-4))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """MiniScenes in two splits as ROOT/annotations/{train,val}.json, and a generator's config."""
    root = tmp_path_factory.mktemp("set")
    (root / "set/annotations").mkdir(parents=True)
    for split, count in (("train", 14), ("val", 4)):
        write_miniscenes(root, split, count, size=32)
        data = json.loads((root / split / "instances.json").read_text())
        for image in data["images"]:
            image["file_name"] = f"{split}/{image['file_name']}"
        (root / f"set/annotations/{split}.json").write_text(json.dumps(data))
        shutil.copytree(root / split / "images", root / "set/images" / split)
    write_tokenizer(root)
    text = (CONFIG + TRAIN).replace("ROOT", str(root)).replace("ATTRIBUTES", "True")
    (root / "config.py").write_text(text.replace("MAX_LENGTH", "40"))
    return root


def problems(report):
    return {finding.problem: finding for finding in report.findings}


def test_figures(root, tmp_path):
    report = check_dataset([root / "set"], out=tmp_path, progress=False)
    figures = json.loads((tmp_path / "check.json").read_text())
    for split in ("train", "val"):
        file = read_coco(root / f"set/annotations/{split}.json")
        names = {category["id"]: category["name"] for category in file.categories}
        found = figures["splits"][split]
        assert found["images"] == len(file.images) and found["objects"] == len(file.annotations)
        for key, name in names.items():
            assert found["classes"][name] == sum(a["category_id"] == key for a in file.annotations)
    assert figures["masks"] == sum(split["objects"] for split in figures["splits"].values())
    page = (tmp_path / "check.html").read_text()
    assert page.count("<figure>") >= 12 and "share of the image" in page
    assert "train has 14 images" in str(report) and "masks" in str(report)


def test_it_is_light():
    code = "import sys, detdiffusion.apis.dataset_check\nprint([m for m in ('torch', 'mmengine') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_generator_config(root):
    options = dict(config=str(root / "config.py"), cfg_options=["model.cache_latents=True"])
    report = check_dataset([root / "set"], **options, sample=0, progress=False)
    checked = report.config
    train = report.tables["train"]
    large = int((train.shares() > 0.02).sum())
    assert checked.kept["kept"] == large and sum(checked.kept.values()) == len(train.labels)
    name = train.classes[0]
    assert checked.tokens[name] == len(name) + 3  # letters are tokens; two corners and the attribute
    assert sum(checked.left_out.values()) > 0
    finding = problems(report)[f"object that does not fit into its prompt of 40 tokens, of {large}"]
    assert finding.count == sum(checked.left_out.values()) and "chunk" in finding.remedy
    assert checked.needs["length"].startswith("6 steps of 4, 1.") and "`work_dir`" in checked.needs["time"]
    model = MODELS.build(load_config(str(root / "config.py")).model)
    sizes = {
        grad: sum(p.numel() for p in model.parameters() if p.requires_grad == grad) for grad in (True, False)
    }
    expected = (16 * sizes[True] + 4 * sizes[False]) / 1e9
    assert (
        checked.needs["memory"].startswith(f"{expected:.2f} GB")
        and f"{sizes[True] / 1e6:.2f} M" in checked.needs["memory"]
    )
    height, width = model.image_size
    kept = kept_bytes(lambda: _run_generator(model.train(), 4, (height, width)), model.parameters())
    assert checked.needs["memory of a batch"].startswith(f"{kept / 1e6:.1f} MB") and kept > 1e6
    assert f"activations of 4 images of {width} x {height} px" in checked.needs["memory of a batch"]
    latents = (
        14 * 2 * 2 * math.prod(model.latent_shape(height, width))
    )  # mean and deviation in float16, no flips
    assert checked.needs["disk"] == f"{latents / 1e6:.1f} MB for the cached latents of 14 images"


def test_time_comes_from_the_logs_of_a_training(tmp_path):
    loader = dict(batch_size=4, dataset=dict(metainfo=dict(classes=("cat",))))
    cfg = Config(dict(model=dict(type="ATSS"), train_dataloader=loader, train_cfg=dict(max_iters=6)))
    with pytest.raises(UserError, match="`work_dir` .*: has no log of a training with times"):
        check_config(cfg, [], ".", ["cat"], 14, tmp_path)
    log = tmp_path / "20261101_000000/vis_data/scalars.json"
    log.parent.mkdir(parents=True)
    seconds = [90.0, 20.0, 30.0, 22.0]  # the first step is slower
    log.write_text("".join(json.dumps(dict(loss=1.0, time=s, iter=k)) + "\n" for k, s in enumerate(seconds)))
    needs = check_config(cfg, [], ".", ["cat"], 14, tmp_path).needs
    assert needs["time"].startswith("0:02:12 (22 s a step")  # of 6 steps


def test_data_of_a_config(root):
    report = check_dataset(config=str(root / "config.py"), sample=0, progress=False)
    both = [read_coco(root / f"train/{name}.json") for name in ("instances", "stuff")]
    assert len(report.tables["train"].labels) == sum(len(file.annotations) for file in both)
    with pytest.raises(UserError, match="give the set to check, or `config`"):
        check_dataset()


def test_missing_weights_and_filter(root):
    text = (
        (root / "config.py").read_text()
        + """
model['unet'] = dict(type='UNet2DConditionModel', from_pretrained='absent/sd')
train_dataloader['dataset']['filter_cfg'] = dict(min_area_ratio=0.9)
"""
    )
    (root / "absent.py").write_text(text)
    report = check_dataset([root / "set"], config=str(root / "absent.py"), sample=0, progress=False)
    found = problems(report)
    assert "absent/sd" in found["weights are missing"].remedy
    assert any("no image is left after the filter" in problem for problem in found)
    assert report.config.needs["memory"].startswith("not estimated") and report.errors == 2


def test_detector_config():
    head = dict(type="ATSSHead", num_classes=5)
    dataset = dict(type="CheckedCocoDataset", metainfo=dict(classes=("cat", "cow")))
    cfg = Config(dict(model=dict(type="ATSS", bbox_head=head), train_dataloader=dict(dataset=dataset)))
    found = {f.problem: f for f in check_config(cfg, [], ".", ["cat", "dog"], 10).findings}
    assert found["class that the set lacks"].item == "'cow'"
    assert found["class of the set that the config does not name"].item == "'dog'"
    assert found["num_classes is 5, but there are 2 classes"].remedy == "set model.bbox_head.num_classes=2"


def test_attributes(root, tmp_path):
    ann = root / "set/annotations/train.json"
    digests = digests_of_files([ann])
    own = AttributesFile(tmp_path / "own.json", dict.fromkeys(digests, "easy"), {}, {}, digests)
    other = {key: digest ^ 1 for key, digest in digests.items()}
    others = AttributesFile(tmp_path / "others.json", dict.fromkeys(other, "easy"), {}, {}, other)
    some = dict(list(own.attributes.items())[3:])
    part = AttributesFile(tmp_path / "part.json", some, {}, {}, digests)
    for file, problem in (
        (own, "belongs to this set"),
        (others, "other objects"),
        (part, "lacks the attributes of 3"),
    ):
        file.write()
        report = check_dataset([ann], attributes=file.path, sample=0, progress=False)
        (finding,) = [f for f in report.findings if f.file == str(file.path)]
        assert problem in finding.problem and (finding.severity == "note") == (file is own)


def run_tool(repo_root, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["check_dataset", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(repo_root / "tools/check_dataset.py"), run_name="__main__")
    return end.value.code


def test_status_of_the_tool(root, repo_root, tmp_path, monkeypatch, capsys):
    assert run_tool(repo_root, monkeypatch, root / "set", "--sample", 0) == 0
    assert "0 errors" in capsys.readouterr().out
    copied = tmp_path / "set"
    shutil.copytree(root / "set", copied)
    images = sorted((copied / "images/train").iterdir())
    images[0].unlink()
    images[1].write_bytes(b"nothing")
    shutil.copyfile(images[2], next((copied / "images/val").iterdir()))
    assert run_tool(repo_root, monkeypatch, copied) == 1
    output = capsys.readouterr().out
    for part in ("does not exist", "cannot be read", "same content in both train and val", "3 errors"):
        assert part in output
    assert run_tool(repo_root, monkeypatch, tmp_path / "st") == 2
    assert "did you mean" in capsys.readouterr().err
