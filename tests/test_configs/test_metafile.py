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
