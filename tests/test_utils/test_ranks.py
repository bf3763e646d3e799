"""torchrun's environment variables: read once, checked, and missed where nobody reads them."""

import json
import multiprocessing
import os
import socket
import time

import pytest
from mmengine.config import Config

from detdiffusion.engine.launch import prepare_ranks
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.ranks import Ranks, device_of_rank
from detdiffusion.utils.torchrun import Torchrun

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
    assert Torchrun.from_environment() == Torchrun(1, 0, 2, "10.0.0.1", 29500)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (dict(MASTER_PORT=None), "MASTER_PORT are not set: start with .*torchrun"),
        (dict(MASTER_PORT="", RANK=None), "RANK, MASTER_PORT are not set"),
        (dict(MASTER_PORT="tcp"), "MASTER_PORT must be a whole number from 1 to 65535, got 'tcp'"),
        (dict(MASTER_PORT="70000"), "MASTER_PORT must be .* got '70000'"),
        (dict(RANK="2"), "RANK must be a whole number from 0 to 1, got '2'"),
        (dict(LOCAL_RANK="-1"), "LOCAL_RANK must be .* got '-1'"),
        (dict(WORLD_SIZE="two"), "WORLD_SIZE must be a whole number of at least 1, got 'two'"),
    ],
)
def test_an_environment_that_is_none(environment, variables, message):
    environment(**variables)
    with pytest.raises(UserError, match=message):
        prepare_ranks(Config(), "pytorch")
    with pytest.raises(UserError, match=message):
        Ranks.join()


def test_alone_nothing_is_wanted(environment):
    environment(**dict.fromkeys(GOOD))
    assert (Ranks.join().rank, Ranks.join().size) == (0, 1)
    environment(**{**dict.fromkeys(GOOD), "WORLD_SIZE": "1"})
    assert (Ranks.join().rank, Ranks.join().size) == (0, 1)


@pytest.mark.parametrize(
    ("size", "rank", "said"), [("2", "0", 1), ("2", "1", 0), ("1", "0", 0), (None, None, 0)]
)
def test_torchrun_without_launcher_is_told_once(environment, capsys, size, rank, said):
    environment(WORLD_SIZE=size, RANK=rank)
    assert Ranks.join("none").size == 1
    assert capsys.readouterr().err.count("Use --launcher pytorch") == said


@pytest.mark.parametrize("name", [None, "cuda"])
def test_every_rank_has_a_gpu_of_its_own(name, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert [device_of_rank(name, rank) for rank in (0, 3, 5)] == ["cuda:0", "cuda:3", "cuda:1"]
    assert device_of_rank(name, None) == name
    assert device_of_rank("cuda:2", 0) == "cuda:2" and device_of_rank("cpu", 1) == "cpu"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert device_of_rank(name, 1) == name


def test_a_process_alone_does_everything(environment):
    environment(**dict.fromkeys(GOOD))
    ranks = Ranks.current()
    assert ranks.is_main and ranks.own_indices(7, 3) == list(range(7))
    assert ranks.gather_in_order([0, 2], "ab") == ["a", "b"] and ranks.total(dict(a=2)) == dict(a=2)
    assert ranks.first_then_others(lambda: 5) == 5 and ranks.device("cuda") == "cuda"


def test_whole_batches_are_dealt_out():
    ranks = [Ranks() for _ in range(3)]
    for number, one in enumerate(ranks):
        one.rank, one.size = number, 3
    assert [one.own_indices(8, 2) for one in ranks] == [[0, 1, 6, 7], [2, 3], [4, 5]]


def _two_joined(rank, port, queue):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    ranks = Ranks.join()
    own = ranks.own_indices(5, 2)
    found = ranks.gather_in_order(own, [10 * i for i in own])
    queue.put((ranks.rank, ranks is Ranks.join("pytorch") is Ranks.current(), own, found))
    ranks.close()
    queue.put(Ranks.current().size)


def test_two_processes_share_without_being_told():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_two_joined, args=(rank, port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    answers = [queue.get(timeout=60) for _ in range(4)]
    for process in processes:
        process.join()
    everything = [0, 10, 20, 30, 40]
    assert sorted(a for a in answers if isinstance(a, tuple)) == [
        (0, True, [0, 1, 4], everything),
        (1, True, [2, 3], everything),
    ]
    assert answers.count(1) == 2


def test_a_training_joins_where_torchrun_started_it(environment):
    environment(**dict.fromkeys(GOOD))
    config = Config()
    prepare_ranks(config, None)
    assert config.launcher == "none"
    environment(MASTER_PORT="tcp")
    with pytest.raises(UserError, match="MASTER_PORT must be a whole number.*got 'tcp'"):
        prepare_ranks(config, None)
    prepare_ranks(config, "none")
    assert config.launcher == "none"


def test_the_faster_rank_claims_more(tmp_path):
    """Every index once; the rank that needs ten times as long for one gets fewer of them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def work(rank):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        ranks, mine = Ranks.join(), []
        for count in (20, 3):  # a second piece of work starts from 0
            mine.append([])
            for index in ranks.claim(count):
                mine[-1].append(index)
                time.sleep(0.3 if rank else 0.03)
            ranks.gather(None)
        ranks.close()
        (tmp_path / f"{rank}.json").write_text(json.dumps(mine))

    processes = [multiprocessing.get_context("fork").Process(target=work, args=(r,)) for r in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for count, *parts in zip((20, 3), *found):
        assert sorted(index for part in parts for index in part) == list(range(count))
        assert all(part == sorted(part) for part in parts)
    assert len(found[0][0]) > len(found[1][0]) > 0
    assert list(Ranks().claim(3)) == [0, 1, 2]
