"""torchrun's environment variables: read once, checked, and missed where nobody reads them."""

import pytest
from mmengine.config import Config

from detdiffusion.engine.launch import prepare_ranks
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.ranks import Torchrun, device_of_rank, join_ranks, warn_if_not_joined

GOOD = dict(RANK="1", LOCAL_RANK="0", WORLD_SIZE="2", MASTER_ADDR="10.0.0.1", MASTER_PORT="29500")


@pytest.fixture
def environment(monkeypatch):
    def change(**variables):
        for name, value in {**GOOD, **variables}.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)

    return change


def test_what_torchrun_says(environment):
    environment()
    assert Torchrun.from_environment("x") == Torchrun(1, 0, 2, "10.0.0.1", 29500)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (dict(MASTER_PORT=None), "MASTER_PORT are not set: start with .*torchrun"),
        (dict(MASTER_PORT="", RANK=None), "RANK, MASTER_PORT are not set"),
        (dict(MASTER_PORT="tcp"), "MASTER_PORT is 'tcp', but a whole number from 1 to 65535 is wanted"),
        (dict(MASTER_PORT="70000"), "MASTER_PORT is '70000'"),
        (dict(RANK="2"), "RANK is '2', but a whole number from 0 to 1"),
        (dict(LOCAL_RANK="-1"), "LOCAL_RANK is '-1'"),
        (dict(WORLD_SIZE="two"), "WORLD_SIZE is 'two', but a whole number of at least 1"),
    ],
)
def test_an_environment_that_is_none(environment, variables, message):
    environment(**variables)
    with pytest.raises(UserError, match=message):
        prepare_ranks(Config(), "pytorch")
    with pytest.raises(UserError, match=message):
        join_ranks()


def test_alone_nothing_is_wanted(environment):
    environment(**dict.fromkeys(GOOD))
    assert join_ranks() == (0, 1)
    environment(**{**dict.fromkeys(GOOD), "WORLD_SIZE": "1"})
    assert join_ranks() == (0, 1)


@pytest.mark.parametrize(
    ("size", "rank", "said"), [("2", "0", 1), ("2", "1", 0), ("1", "0", 0), (None, None, 0)]
)
def test_torchrun_without_launcher_is_told_once(environment, capsys, size, rank, said):
    environment(WORLD_SIZE=size, RANK=rank)
    warn_if_not_joined()
    assert capsys.readouterr().err.count("Give --launcher pytorch") == said


@pytest.mark.parametrize("name", [None, "cuda"])
def test_every_rank_has_a_gpu_of_its_own(name, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert [device_of_rank(name, rank) for rank in (0, 3, 5)] == ["cuda:0", "cuda:3", "cuda:1"]
    assert device_of_rank(name, None) == name
    assert device_of_rank("cuda:2", 0) == "cuda:2" and device_of_rank("cpu", 1) == "cpu"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert device_of_rank(name, 1) == name
