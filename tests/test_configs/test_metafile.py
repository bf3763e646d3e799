"""The model index names files that exist."""

import yaml


def test_every_model_of_the_index_has_its_config(repo_root):
    index = yaml.safe_load((repo_root / "model-index.yml").read_text())
    assert index["Import"]
    for name in index["Import"]:
        metafile = yaml.safe_load((repo_root / name).read_text())
        collections = {collection["Name"] for collection in metafile["Collections"]}
        assert metafile["Models"]
        for model in metafile["Models"]:
            assert (repo_root / model["Config"]).is_file(), model["Name"]
            assert model["In Collection"] in collections


def test_every_generator_config_is_in_the_index_and_in_the_readme(repo_root):
    metafile = yaml.safe_load((repo_root / "configs/metafile.yml").read_text())
    named = {model["Config"] for model in metafile["Models"]}
    configs = {path.relative_to(repo_root).as_posix() for path in (repo_root / "configs").glob("*.py")}
    assert configs == {path for path in named if path.count("/") == 1}
    readme = (repo_root / "README.md").read_text()
    assert [path for path in sorted(configs) if f"`{path}`" not in readme] == []
