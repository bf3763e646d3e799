"""The writer survives kills at any moment and never doubles, loses or mixes images."""

import json
import multiprocessing
import os
import random
import resource
import signal
import time

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from detdiffusion.generation.identity import synthetic_annotation_id, synthetic_file_name, synthetic_image_id
from detdiffusion.generation.writer import CocoWriter
from detdiffusion.utils.errors import UserError

CATEGORIES = [
    {"id": 3, "name": "tent", "supercategory": "thing"},
    {"id": 9, "name": "sky", "supercategory": "stuff"},
]
RUN = {"strategy": "hard", "seed": 5}


def item(source: int, size: int = 32) -> dict:
    """The arguments of ``add`` for source image ``source``: a pure function, like real generation."""
    image_id = synthetic_image_id(source, "hard", 0, 5)
    pixels = np.random.default_rng(source).integers(0, 256, (size, size, 3), dtype=np.uint8)
    annotation = dict(
        id=synthetic_annotation_id(image_id, source * 10),
        image_id=image_id,
        category_id=3,
        bbox=[1.0, 2.0, 10.0, 20.0],
        area=200.0,
        iscrowd=0,
        source_annotation_id=source * 10,
        attribute="hard",
    )
    record = dict(
        id=image_id,
        file_name=synthetic_file_name(source, "hard", 0, 5),
        width=size,
        height=size,
        source_image_id=source,
        sample_index=0,
        **RUN,
    )
    return dict(
        image=pixels, record=record, annotations=[annotation], extra=dict(prompt="An image with tent")
    )


def fill(out, sources, **kwargs) -> CocoWriter:
    with CocoWriter(out, RUN, CATEGORIES, **kwargs) as writer:
        for source in sources:
            if item(source)["record"]["id"] not in writer.done:
                writer.add(**item(source))
        writer.finish()
    return writer


def check_set(out, sources) -> None:
    """An independent reading of a finished set."""
    coco = COCO(out / "annotations.json")
    assert sorted(i["source_image_id"] for i in coco.dataset["images"]) == sorted(sources)
    assert len(coco.getAnnIds()) == len(sources)
    assert coco.dataset["categories"] == CATEGORIES
    assert {p.name for p in (out / "images").iterdir()} == {i["file_name"] for i in coco.dataset["images"]}
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == len(sources)
    for info in coco.dataset["images"]:
        with Image.open(out / "images" / info["file_name"]) as image:
            assert np.array_equal(np.asarray(image), item(info["source_image_id"])["image"])
    assert {p.name for p in out.iterdir()} == {"images", "annotations.json", "manifest.jsonl", "run.json"}


def test_writes_a_valid_set_with_provenance(tmp_path):
    fill(tmp_path / "set", [4, 2, 9])
    check_set(tmp_path / "set", [2, 4, 9])
    coco = json.loads((tmp_path / "set/annotations.json").read_text())
    assert coco["info"]["seed"] == 5
    assert [i["source_image_id"] for i in coco["images"]] == [2, 4, 9]
    assert {k: coco["images"][0][k] for k in ("strategy", "seed", "sample_index")} == dict(
        RUN, sample_index=0
    )
    assert coco["annotations"][0]["source_annotation_id"] == 20


def test_result_does_not_depend_on_order_or_pieces(tmp_path):
    fill(tmp_path / "a", range(6))
    for source in (5, 3, 4, 0, 1, 2):
        fill(tmp_path / "b", [source])
    assert (tmp_path / "a/annotations.json").read_bytes() == (tmp_path / "b/annotations.json").read_bytes()


def test_resume_adds_nothing_twice(tmp_path):
    fill(tmp_path, range(3))
    before = (tmp_path / "manifest.jsonl").read_bytes()
    writer = fill(tmp_path, range(3))
    assert writer.report["resumed"] == 3 and (tmp_path / "manifest.jsonl").read_bytes() == before
    with CocoWriter(tmp_path, RUN, CATEGORIES) as again, pytest.raises(ValueError, match="already in"):
        again.add(**item(1))
    check_set(tmp_path, range(3))


def test_torn_line_lost_damaged_and_stray_files_are_repaired_and_counted(tmp_path):
    fill(tmp_path, range(6))
    manifest, images = tmp_path / "manifest.jsonl", tmp_path / "images"
    manifest.write_bytes(manifest.read_bytes()[:-25])  # source 5: torn line, so its image is a stray
    (images / item(0)["record"]["file_name"]).unlink()
    whole = (images / item(1)["record"]["file_name"]).read_bytes()
    (images / item(1)["record"]["file_name"]).write_bytes(whole[:40])  # truncated
    (images / item(2)["record"]["file_name"]).write_bytes(whole[:-20] + bytes(20))  # another image's bytes
    (images / ".tmp-half.png").write_bytes(b"half")
    (tmp_path / ".tmp-annotations.json").write_bytes(b"{")
    (images / "notes.txt").write_text("a user's own file is left alone")
    writer = fill(tmp_path, range(6))
    assert writer.report == dict(
        resumed=2, torn_lines=1, missing_files=1, damaged_files=2, superseded_lines=0, stray_files=3
    )
    (images / "notes.txt").unlink()
    check_set(tmp_path, range(6))


def test_same_size_damage_is_found_by_checksum_only(tmp_path):
    fill(tmp_path, range(2))
    path = tmp_path / "images" / item(0)["record"]["file_name"]
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    with CocoWriter(tmp_path, RUN, CATEGORIES, checksums=False) as quick:
        assert quick.report["damaged_files"] == 0
    with CocoWriter(tmp_path, RUN, CATEGORIES) as full:
        assert full.report["damaged_files"] == 1


def start(function, *arguments):
    """A forked process: at work at once, without the seconds of an import."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    return process


def test_sigkill_at_random_moments(tmp_path):
    """Eight kills, then an undisturbed end: every image once and whole, the json of an undisturbed run."""
    count, rng, seen = 200, random.Random(3), [0]
    manifest = tmp_path / "killed/manifest.jsonl"

    def written():
        return manifest.read_bytes().count(b"\n") if manifest.exists() else 0

    for _ in range(8):
        child = start(fill, tmp_path / "killed", range(count))
        wanted = seen[-1] + rng.randint(0, 15)
        while written() < wanted:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.005))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        seen.append(written())
    assert seen[-1] < count, "the kills came too late to disturb anything"
    assert seen[-1] > 0
    fill(tmp_path / "killed", range(count))
    check_set(tmp_path / "killed", range(count))
    fill(tmp_path / "whole", range(count))
    assert (tmp_path / "killed/annotations.json").read_bytes() == (
        tmp_path / "whole/annotations.json"
    ).read_bytes()


def test_full_disk_leaves_whole_files(tmp_path):
    """A file-size limit stands for a full disk: the error is plain, and what was written before is whole."""

    def child():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            fill(tmp_path / "s", range(40))
        except UserError as error:
            (tmp_path / "error.txt").write_text(str(error))

    start(child).join()
    message = (tmp_path / "error.txt").read_text()
    assert "cannot write" in message and "run the same command again" in message
    assert not list((tmp_path / "s").rglob(".tmp-*"))
    writer = fill(tmp_path / "s", range(40))
    assert writer.report["resumed"] > 0 and writer.report["torn_lines"] == 0
    check_set(tmp_path / "s", range(40))


def test_another_run_in_the_folder(tmp_path):
    fill(tmp_path, range(1))
    with pytest.raises(UserError, match=r"another run \(seed: 5 there, 6 now\)"):
        CocoWriter(tmp_path, {**RUN, "seed": 6}, CATEGORIES)
    CocoWriter(tmp_path, RUN, CATEGORIES).close()


def test_two_writers_at_once_are_refused(tmp_path):
    with CocoWriter(tmp_path, RUN, CATEGORIES), pytest.raises(UserError, match="another process"):
        CocoWriter(tmp_path, RUN, CATEGORIES)


def test_foreign_folder(tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"precious")
    with pytest.raises(UserError, match="no run.json"):
        CocoWriter(tmp_path, RUN, CATEGORIES)
    assert (tmp_path / "holiday.png").read_bytes() == b"precious"


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_broken_run_json(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match="run.json: not valid json"):
        CocoWriter(tmp_path, RUN, CATEGORIES)


@pytest.mark.parametrize("line", ["garbage", "{}", "[1]", '{"image": {"id": "x"}}'])
def test_broken_manifest_names_the_line(tmp_path, line):
    fill(tmp_path, range(2))
    manifest = tmp_path / "manifest.jsonl"
    first, second = manifest.read_text().splitlines()
    manifest.write_text(f"{first}\n{line}\n{second}\n")
    with pytest.raises(UserError, match="manifest.jsonl, line 2: not an entry"):
        CocoWriter(tmp_path, RUN, CATEGORIES)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry["annotations"][0].update(bbox=[0.0, 0.0, 1.0, 1.0]),
        lambda entry: entry["annotations"][0].update(image_id=7),
        lambda entry: entry["annotations"][0].update(area=float("nan")),
        lambda entry: entry["annotations"].pop(),
        lambda entry: entry["image"].pop("source_image_id"),
        lambda entry: entry["image"].update(id=entry["image"]["id"] + 1),
        lambda entry: entry.update(line_check="0" * 16),
        lambda entry: entry.update(line_check=3),
    ],
)
def test_a_line_that_was_changed_is_named(tmp_path, change):
    fill(tmp_path, range(2))
    manifest = tmp_path / "manifest.jsonl"
    first, second = map(json.loads, manifest.read_text().splitlines())
    change(second)
    manifest.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    with pytest.raises(UserError, match=r"manifest.jsonl, line 2 \(image id \d+\): was changed after"):
        CocoWriter(tmp_path, RUN, CATEGORIES)


def test_lines_without_a_checksum_get_one(tmp_path):
    """Sets of earlier versions; and other white space is the same line."""
    fill(tmp_path, range(2))
    manifest = tmp_path / "manifest.jsonl"
    whole = manifest.read_text()
    lines = [json.loads(line) for line in whole.splitlines()]
    lines[0].pop("line_check")
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with CocoWriter(tmp_path, RUN, CATEGORIES) as writer:
        assert writer.report["resumed"] == 2
        writer.finish()
    assert manifest.read_text() == whole


def test_manifest_that_points_outside(tmp_path):
    out = tmp_path / "set"
    fill(out, range(1))
    precious = tmp_path / "precious.png"
    precious.write_bytes(b"x")
    manifest = out / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace(item(0)["record"]["file_name"], "../../precious.png"))
    with pytest.raises(UserError, match="leaves its folder"):
        CocoWriter(out, RUN, CATEGORIES)
    assert precious.exists()


def test_add_refuses_bad_images_and_names(tmp_path):
    with CocoWriter(tmp_path / "set", RUN, CATEGORIES) as writer:
        good = item(0)
        with pytest.raises(ValueError, match="expected uint8"):
            writer.add(good["image"].astype(np.float32), good["record"], [])
        with pytest.raises(ValueError, match="expected uint8"):
            writer.add(good["image"][:10], good["record"], [])
        with pytest.raises(UserError, match="leaves its folder"):
            writer.add(good["image"], dict(good["record"], file_name="../x.png"), [])
        assert len(writer) == 0 and not list(tmp_path.glob("*.png"))


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the set here"):
        CocoWriter(tmp_path / "file/set", RUN, CATEGORIES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write the set here"):
        CocoWriter(tmp_path, RUN, CATEGORIES)
    tmp_path.chmod(0o700)


def test_doubled_annotation_ids_are_refused(tmp_path):
    with CocoWriter(tmp_path, RUN, CATEGORIES) as writer:
        for source in (0, 1):
            arguments = item(source)
            arguments["annotations"][0]["id"] = 77
            writer.add(**arguments)
        with pytest.raises(UserError, match="annotation id 77 occurs twice"):
            writer.finish()
