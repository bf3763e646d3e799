"""Ranks of one run write one set: the set of a single process, whatever is killed and however many they are."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import time

import numpy as np
import pytest
from pycocotools.coco import COCO
from tiny_generation import draw, pixels
from torch.distributed import TCPStore

from detdiffusion.generation.manifest import ManifestFile, find_parts, part_path
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.ranks import Ranks


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """The set as one process draws it undisturbed: 11 layouts in batches of 2, so that the last one is short."""
    out = tmp_path_factory.mktemp("whole")
    draw(world, out, **SETTINGS)
    return out


SETTINGS = dict(limit=11, batch_size=2, samples_per_image=3, preview_every=0)


def start_ranks(world, out, size):
    """Forked processes with torchrun's environment: at work without the seconds of an import."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def work(rank):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        counts = draw(world, out, launcher="pytorch", **SETTINGS)
        (out.parent / f"{out.name}-counts{rank}.json").write_text(json.dumps(counts))

    ranks = [multiprocessing.get_context("fork").Process(target=work, args=(r,)) for r in range(size)]
    for process in ranks:
        process.start()
    return ranks


def check_equal(out, whole):
    """The finished set is the undisturbed one, byte for byte, with nothing else in the folder."""
    assert sorted(p.name for p in out.iterdir()) == [
        "annotations.json",
        "images",
        "manifest.jsonl",
        "run.json",
    ]
    for name in ("annotations.json", "manifest.jsonl", "run.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    mine, theirs = pixels(out), pixels(whole)
    assert mine.keys() == theirs.keys() and all(np.array_equal(mine[k], theirs[k]) for k in mine)
    assert len(COCO(out / "annotations.json").getImgIds()) == len(mine) == 33


def images_of(out):
    return {p.name for p in (out / "images").glob("0*.png")}


def test_two_and_three_ranks_draw_the_set_of_one(world, whole, tmp_path):
    for size in (2, 3):
        ranks = start_ranks(world, tmp_path / f"set{size}", size)
        for process in ranks:
            process.join()
            assert process.exitcode == 0
        check_equal(tmp_path / f"set{size}", whole)
        for rank in range(size):
            counts = json.loads((tmp_path / f"set{size}-counts{rank}.json").read_text())
            assert counts["written"] == 33  # of all ranks, on each


@pytest.mark.parametrize("agent", [False, True], ids=["store of the first rank", "store of torchrun"])
def test_ranks_leave_together(agent):
    """With torch 2.6, the first rank often hung where it left before the other. torchrun's store serves many groups."""

    def leave(rank, port):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = str(agent)
        for _ in range(1 + agent):
            ranks = Ranks.join("pytorch")
            assert ranks.gather(rank) == [0, 1]
            ranks.close()

    for _ in range(10):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False) if agent else None
        context = multiprocessing.get_context("fork")
        both = [context.Process(target=leave, args=(rank, port)) for rank in range(2)]
        for process in both:
            process.start()
        try:
            for process in both:
                process.join(timeout=60)
                assert process.exitcode == 0, "a rank hangs or failed"
        finally:
            for process in both:
                process.kill()
        del store


def test_kills_with_changing_ranks(world, whole, tmp_path):
    """Ranks die together or one alone, at any moment; another number of them continues."""
    rng, out, killed, grown = random.Random(0), tmp_path / "set", 0, []
    for size in (2, 1, 2, 3, 2, 1):
        before = images_of(out)
        ranks = start_ranks(world, out, size)
        if rng.random() < 0.8:  # a moment of the drawing, else one of the start
            while not images_of(out) - before and all(process.is_alive() for process in ranks):
                time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        victims = ranks if rng.random() < 0.5 else [rng.choice(ranks)]
        for process in victims:
            process.kill()
            killed += process.is_alive() or process.exitcode == -signal.SIGKILL
        time.sleep(0.05)
        for process in ranks:  # as torchrun does when one of its ranks is gone
            process.kill()
            process.join()
        parts = [part_path(out, 0), *find_parts(out)] if (out / "manifest.jsonl").exists() else []
        lines = [line for part in parts for line in part.open("rb")]
        grown.append(len(lines))
        for line in (line for line in lines if line.endswith(b"\n")):
            entry = json.loads(line)  # a line in a manifest means a whole image, at any moment
            assert (out / "images" / entry["image"]["file_name"]).stat().st_size == entry["bytes"]
    assert killed >= 4 and 0 < grown[-1]
    for process in (last := start_ranks(world, out, 2)):
        process.join()
    assert [process.exitcode for process in last] == [0, 0]
    check_equal(out, whole)


def test_parts_of_a_killed_run_are_merged_once(world, whole, tmp_path):
    """A kill between the merged manifest and the removal of a part leaves every line twice."""
    out = tmp_path / "set"
    shutil.copytree(whole, out)
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(b"".join(lines[:20]))
    part_path(out, 1).write_bytes(b"".join(lines[15:25]))
    part_path(out, 12).write_bytes(b"".join(lines[25:]) + b'{"torn')
    counts = draw(world, out, **SETTINGS)
    assert (counts["written"], counts["torn_lines"], counts["superseded_lines"]) == (0, 1, 0)
    check_equal(out, whole)


def test_a_part_that_is_still_written_is_refused(whole, tmp_path):
    part = part_path(tmp_path, 1)
    ManifestFile(part).close()
    holder = ManifestFile(part)
    started = time.monotonic()
    with pytest.raises(UserError, match="another process is generating.*launcher was killed"):
        ManifestFile(part, patience=0.3)
    assert time.monotonic() - started >= 0.3
    holder.close()
    ManifestFile(part).close()


def test_ranks_want_torchrun(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match="RANK.* are not set: start with .*dist_generate.sh"):
        Ranks.join("pytorch")
    alone = Ranks()
    assert (alone.rank, alone.size, alone.device(None), alone.total(dict(a=2))) == (0, 1, None, dict(a=2))


def test_a_rank_that_starts_after_its_launcher_was_killed_gives_up_at_once(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    for name, value in dict(
        RANK="0", LOCAL_RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port
    ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(UserError, match="the launcher at 127.0.0.1:.* is gone"):
        Ranks.join("pytorch")


def test_a_rank_whose_launcher_is_gone_stops():
    ranks = Ranks()
    ranks._group, ranks._parent = object(), -1  # a rank of a group, whose parent was another process
    with pytest.raises(UserError, match="launcher is gone"):
        ranks.check_launcher()
