"""The model index: every recipe, with figures that are those of their records."""

import json
import statistics
from pathlib import Path

import pytest
import yaml
from pages import ROOT, tables

from detdiffusion.experiments.paper.jobs import SeedJobs
from detdiffusion.experiments.paper.scales import SCALES

INDEX = yaml.safe_load((ROOT / "model-index.yml").read_text())
METAFILES = {name: yaml.safe_load((ROOT / name).read_text()) for name in INDEX["Import"]}
MODELS = [(name, model) for name, metafile in METAFILES.items() for model in metafile["Models"]]
RESULTS = [(model["Config"], result) for _, model in MODELS for result in model.get("Results", [])]
ZOO = ROOT / "docs/model_zoo.md"

# name of a metric -> its name in the records, and how the index writes its value
METRICS = {
    "box AP": ("bbox_mAP", lambda value: f"{100 * value:.1f}"),
    "box AP50": ("bbox_mAP_50", lambda value: f"{100 * value:.1f}"),
    "box AP75": ("bbox_mAP_75", lambda value: f"{100 * value:.1f}"),
    "Fréchet distance": ("frechet", lambda value: f"{value:.3f}"),
}


def test_every_model_of_the_index_has_its_config():
    assert INDEX["Import"] == sorted(INDEX["Import"], key=lambda name: (name.count("/"), name))
    for name, model in MODELS:
        assert (ROOT / model["Config"]).is_file(), model["Name"]
        assert model["Config"].rpartition("/")[0] == name.rpartition("/")[0]  # beside its metafile
        assert model["Config"].endswith(f"/{model['Name']}.py")
        assert (ROOT / model.get("Weights", "configs")).is_dir()
        collections = {collection["Name"] for collection in METAFILES[name]["Collections"]}
        assert model["In Collection"] in collections


def test_every_recipe_is_in_the_index():
    """Protocols of distances (configs/fid) and parts (configs/_base_) train or run nothing by themselves."""
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.py")}
    recipes = {path for path in configs if path.split("/")[1] not in ("_base_", "fid")}
    assert sorted(model["Config"] for _, model in MODELS) == sorted(recipes)


def test_every_generator_config_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    configs = [path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").glob("*.py")]
    assert configs and [path for path in sorted(configs) if f"`{path}`" not in readme] == []


def places(record):
    """What a record's ``FILES#/PLACE`` names: the objects of the JSON files, one a seed."""
    pattern, _, place = record.partition("#/")
    found = []
    for path in sorted(ROOT.glob(pattern)):
        value = json.loads(path.read_text())
        for key in place.split("/"):
            value = value[int(key)] if isinstance(value, list) else value[key]
        found.append(value)
    return found


@pytest.mark.parametrize(("config", "result"), RESULTS, ids=[f"{c}, {r['Dataset']}" for c, r in RESULTS])
def test_figures_are_those_of_the_record(config, result):
    record = result["Record"]
    if record.endswith(".md"):
        text = (ROOT / record).read_text()
        assert [value for value in result["Metrics"].values() if f" {value} " not in f"{text} "] == []
        return
    found = places(record)
    assert found
    for name, value in result["Metrics"].items():
        key, write = METRICS[name]
        assert write(value / 100 if "AP" in name else value) == write(
            statistics.mean(one[key] for one in found)
        )


@pytest.mark.parametrize(("config", "result"), [one for one in RESULTS if "miniature/" in one[1]["Record"]])
def test_records_of_the_miniature_are_those_of_the_recipe(config, result):
    """The job of that name trains it."""
    paths = sorted(ROOT.glob(result["Record"].partition("#")[0]))
    assert len(paths) == result["Seeds"]
    (name,) = {path.stem for path in paths}
    steps = SeedJobs(ROOT, Path("w"), SCALES["cpu"], 1).jobs()[name].steps
    assert config in {step.command[1] for step in steps if step.command[0] == "tools/train.py"}


def test_the_page_of_the_zoo_has_every_figure_and_every_recipe():
    text = ZOO.read_text()
    shown = {}
    for header, rows in tables(text):
        if header[:2] == ["recipe", "measured on"]:
            for row in rows:
                values = dict(zip(header[2:], row[2:]))
                shown[row[0].strip("`"), row[1]] = {name: v for name, v in values.items() if v != "–"}
    expected = {
        (config, result["Dataset"]): {
            **{name: str(value) for name, value in result["Metrics"].items()},
            "seeds": str(result["Seeds"]),
        }
        for config, result in RESULTS
    }
    digits = {"box AP": 1, "box AP50": 1, "box AP75": 1, "Fréchet distance": 3}
    for values in expected.values():
        values.update({n: f"{float(v):.{digits[n]}f}" for n, v in values.items() if n in digits})
    assert shown == expected
    assert [model["Config"] for _, model in MODELS if f"`{model['Config']}`" not in text] == []
