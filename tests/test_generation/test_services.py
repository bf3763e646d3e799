"""Around the drawing: verify and repair, memory, disk, formats, edits and attributes from the command's side."""

import contextlib
import io
import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from tiny_generation import draw, pixels

from detdiffusion.evaluation.fidelity import load_sets
from detdiffusion.generation.background import BackgroundWriter
from detdiffusion.generation.disk import DiskGuard
from detdiffusion.generation.generate import generate
from detdiffusion.generation.planning import Drawing, batches_to_draw, record_of
from detdiffusion.generation.writer import CocoWriter
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    draw(world, out)
    return out


def lines(out):
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def damage(path, kind):
    data = bytearray(path.read_bytes())
    if kind == "flipped bit":
        data[len(data) // 2] ^= 4
    path.write_bytes(data[:30] if kind == "truncated" else data)


# verify


def test_verify_repairs_and_counts(world, whole, tmp_path, capsys):
    out = tmp_path / "set"
    shutil.copytree(whole, out)
    names = sorted(p.name for p in (out / "images").iterdir())
    damage(out / "images" / names[0], "flipped bit")
    damage(out / "images" / names[2], "truncated")
    (out / "images" / names[5]).unlink()
    (out / "images/999_other.png").write_bytes(b"stray")
    assert (
        draw(world, out, limit=1)["damaged_files"] == 1
    )  # quick: sizes only, and beyond the limit is not redone
    shutil.rmtree(out)
    shutil.copytree(whole, out)
    damage(out / "images" / names[0], "flipped bit")
    damage(out / "images" / names[2], "truncated")
    (out / "images" / names[5]).unlink()
    counts = draw(world, out, verify=True)
    assert (counts["verified"], counts["repaired"], counts["written"]) == (6, 3, 3)
    assert (counts["damaged_files"], counts["missing_files"]) == (2, 1)
    said = capsys.readouterr().out
    assert "verified 6 files: 2 damaged, 1 missing" in said and "repaired 3 files" in said
    mine, theirs = pixels(out), pixels(whole)
    assert mine.keys() == theirs.keys() and max(np.abs(mine[k] - theirs[k]).max() for k in mine) <= 1
    assert all(sha256_of(out / "images" / e["image"]["file_name"]) == e["sha256"] for e in lines(out))
    again = draw(world, out, verify=True)
    assert (again["verified"], again["repaired"], again["written"]) == (6, 0, 0)


def test_verify_in_another_batch_size_rewrites_the_checksum(world, whole, tmp_path):
    """A repair may differ by a grey level, and the manifest follows the file that is there."""
    out = tmp_path / "set"
    shutil.copytree(whole, out)
    (out / "images" / lines(out)[1]["image"]["file_name"]).unlink()
    assert draw(world, out, verify=True, batch_size=1)["repaired"] == 1
    assert all(sha256_of(out / "images" / e["image"]["file_name"]) == e["sha256"] for e in lines(out))
    assert (out / "annotations.json").read_bytes() == (whole / "annotations.json").read_bytes()
    mine, theirs = pixels(out), pixels(whole)
    assert max(np.abs(mine[k] - theirs[k]).max() for k in mine) <= 1


def test_files_beyond_the_commands_limit_are_reported_not_hidden(world, whole, tmp_path, capsys):
    out = tmp_path / "set"
    shutil.copytree(whole, out)
    (out / "images" / lines(out)[5]["image"]["file_name"]).unlink()
    counts = draw(world, out, verify=True, limit=2)
    assert counts["repaired"] == 0 and "1 are beyond --limit" in capsys.readouterr().out
    assert len(COCO(out / "annotations.json").getImgIds()) == 5


# memory


def drawings(count):
    def one(i):
        layout = Layout([[0, 0, 0.5, 0.5]], ["ball"], ["hard"], ids=[i], category_ids=[3], image_id=i)
        return Drawing(layout, 1000 + i, f"{i}.png", i, "hard", 0, 0)

    return [one(i) for i in range(count)]


def allocate_for_ever():
    torch.empty(1 << 60, dtype=torch.uint8)  # the CPU allocator's own error


def raise_cuda():
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def raise_memory():
    raise MemoryError


class Draws:
    """Four pixels of noise an image, for at most ``room`` images at once."""

    def __init__(self, room, fail=raise_cuda):
        self.room, self.fail, self.sizes = room, fail, []

    def __call__(self, layouts, generators):
        self.sizes.append(len(layouts))
        if len(layouts) > self.room:
            self.fail()
        samples = torch.stack([torch.rand((3, 2, 2), generator=g) for g in generators])
        return dict(samples=samples, kept=[[0]] * len(layouts), prompts=["x"] * len(layouts))


@pytest.mark.parametrize("fail", [allocate_for_ever, raise_cuda, raise_memory])
def test_batches_are_halved_when_memory_runs_out(fail, capsys):
    plan, got, infer = drawings(14), [], Draws(3, fail)
    batches = batches_to_draw(plan, set(), 8)
    counts = generate(infer, batches, set(), lambda **a: got.append(a))
    assert infer.sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2]  # found once, kept for the next batch
    assert counts["written"] == counts["in_smaller_batches"] == 14
    assert [a["record"]["id"] for a in got] == [d.image_id for d in plan]
    said = capsys.readouterr().err
    assert "out of memory with 8 images at once: going on with 4" in said and "1 grey level" in said
    undisturbed: list = []
    generate(Draws(8), batches, set(), lambda **a: undisturbed.append(a))
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(got, undisturbed))  # the same noise


def test_one_image_too_many_is_one_error():
    with pytest.raises(UserError, match="out of memory with a single image.*smaller `height`"):
        generate(Draws(0), [drawings(2)], set(), lambda **a: None)


def test_other_errors_are_not_taken_for_memory():
    def broken(layouts, generators):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        generate(broken, [drawings(2)], set(), lambda **a: None)


# background writing


def item(i):
    return dict(image=np.full((2, 2, 3), i, np.uint8), **record_of(drawings(i + 1)[i], [0], "x", 2, 2))


def test_background_writing_keeps_the_order_and_is_bounded(tmp_path):
    with CocoWriter(tmp_path, {}, []) as writer:
        add, gate, begun = writer.add, threading.Event(), []

        def slow(**arguments):
            gate.wait(5)
            add(**arguments)

        writer.add = slow
        with BackgroundWriter(writer, depth=2) as background:
            filler = threading.Thread(
                target=lambda: [begun.append(background.add(**item(i))) for i in range(6)]
            )
            filler.start()
            time.sleep(0.2)
            assert len(begun) <= 3  # two wait, one is being written: the drawing waits too
            gate.set()
            filler.join()
        assert [e["image"]["file_name"] for e in lines(tmp_path)] == [f"{i}.png" for i in range(6)]


def test_background_errors_surface(tmp_path):
    with CocoWriter(tmp_path, {}, []) as writer, pytest.raises(ValueError, match="already in"):  # noqa: PT012
        with BackgroundWriter(writer) as background:
            for _ in range(100):
                background.add(**item(0))
    assert len(lines(tmp_path)) == 1


def test_what_was_drawn_is_written_after_an_interruption(tmp_path):
    with CocoWriter(tmp_path, {}, []) as writer, contextlib.suppress(KeyboardInterrupt):
        with BackgroundWriter(writer) as background:
            for i in range(5):
                background.add(**item(i))
            raise KeyboardInterrupt
    assert len(lines(tmp_path)) == 5


# disk


def test_too_little_room_is_said_before_the_start(world, tmp_path):
    with pytest.raises(
        UserError, match=r"6 images need about .* must stay free .`min_free_mb`.*`image_format` jpeg"
    ):
        draw(world, tmp_path / "set", min_free_mb=1e9)
    with pytest.raises(UserError, match="stopped, and all images written so far are complete"):
        DiskGuard(tmp_path / "not/there", 10**18).check()


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 300 kB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk(world, whole, small_disk):
    """It fills up while images are written; after making room the same command finishes the set."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(280_000))
    with pytest.raises(UserError, match=r"No space left.*run the same command again to continue"):
        draw(world, small_disk / "set", min_free_mb=0, preview_every=0)
    with pytest.raises(UserError, match="must stay free|only .* are free"):
        draw(world, small_disk / "set", min_free_mb=0.2, preview_every=0)
    ballast.unlink()
    draw(world, small_disk / "set", min_free_mb=0.1, preview_every=0)
    for name in ("annotations.json", "manifest.jsonl"):
        assert (small_disk / "set" / name).read_bytes() == (whole / name).read_bytes()
    assert not list(small_disk.rglob(".tmp-*"))


def test_read_only_disk(world, whole, small_disk):
    shutil.copytree(whole, small_disk / "set")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for out in ("set", "another"):
        with pytest.raises(UserError, match="`out` cannot be written: .* is read-only"):
            draw(world, small_disk / out, min_free_mb=0)


# formats, preview, edits


def test_jpeg(world, whole, tmp_path):
    draw(world, tmp_path / "jpeg", image_format="jpeg", jpeg_quality=90)
    mine = pixels(tmp_path / "jpeg")
    assert all(name.endswith(".jpg") for name in mine) and len(mine) == 6
    for name, image in pixels(whole).items():
        buffer = io.BytesIO()
        Image.fromarray(image.astype(np.uint8)).save(buffer, format="jpeg", quality=90)
        jpeg = tmp_path / "jpeg/images" / name.replace(".png", ".jpg")
        assert jpeg.read_bytes() == buffer.getvalue()
    ids = [
        sorted(i["id"] for i in COCO(p / "annotations.json").dataset["images"])
        for p in (tmp_path / "jpeg", whole)
    ]
    assert ids[0] == ids[1]  # the format takes no part in an image's identity
    with pytest.raises(UserError, match="format: 'jpeg 90' there, 'png' now"):
        draw(world, tmp_path / "jpeg")
    with pytest.raises(UserError, match="`jpeg_quality` must be at least 1 and at most 100, it is 0"):
        draw(world, tmp_path / "x", image_format="jpeg", jpeg_quality=0)


def test_preview_shows_the_latest_images(world, tmp_path):
    draw(world, tmp_path / "set", limit=5)
    with Image.open(tmp_path / "set/preview.png") as picture:
        sheet = np.asarray(picture.convert("RGB"))
    assert sheet.shape == (2 * 260, 3 * 260, 3)  # five tiles of 8 x 32 pixels and their borders, 3 by 2
    assert (sheet[262:518, 522:778] == 255).all() and not (sheet[2:258, 2:258] == 255).all()
    draw(world, tmp_path / "none", limit=5, preview_every=0)
    assert not (tmp_path / "none/preview.png").exists()


def test_edited_layouts_reach_the_annotations(world, tmp_path):
    settings = dict(edits=dict(flip=1.0, drop=0.3), strategy="mix", strategy_options=dict(ratio=0.25))
    draw(world, tmp_path / "set", limit=None, **settings)
    coco = COCO(tmp_path / "set/annotations.json")
    source = {}
    for name in ("instances", "stuff"):
        for a in json.loads((world / f"train/{name}.json").read_text())["annotations"]:
            source[a["id"]] = a
    images = coco.dataset["images"]
    assert {i["strategy"] for i in images} == {"mix-0.25-hard-easy"} and all(i["flipped"] for i in images)
    assert {i["edits"] for i in images} == {"drop0.3-flip1"} and any(i["dropped"] for i in images)
    for a in coco.dataset["annotations"]:
        x, y, w, h = source[a["source_annotation_id"]]["bbox"]
        assert np.allclose(a["bbox"], [32 - x - w, y, w, h], atol=0.01) and a["edits"] == "flip"
    shown = {(a["image_id"], a["source_annotation_id"]) for a in coco.dataset["annotations"]}
    assert not any((i["id"], key) in shown for i in images for key in i["dropped"])
    words = [a["attribute"] for a in coco.dataset["annotations"] if a["category_id"] <= 8]
    assert set(words) == {"easy", "hard"}
    with pytest.raises(UserError, match="layouts were edited .drop0.3-flip1.*cannot be the bound"):
        load_sets(
            world / "train/instances.json", world / "train/images", dict(a=tmp_path / "set"), ["ball", "tent"]
        )


def test_objects_without_room_are_in_the_image_record(world, tmp_path):
    from tiny_generation import write_config

    config = write_config(world, "short.py", max_length=40)
    draw(world, tmp_path / "short", config=config, checkpoint=None)
    data = json.loads((tmp_path / "short/annotations.json").read_text())
    for entry in lines(tmp_path / "short"):
        regions = entry["image"].get("not_prompted", [])
        assert [one["source_annotation_id"] for one in regions] == entry["not_prompted"]
        for one in regions:
            x, y, w, h = one["bbox"]
            assert 0 <= x < x + w <= 32.01 and 0 <= y < y + h <= 32.01 and one["category_id"] > 0
    assert any("not_prompted" in image for image in data["images"])


# attributes of a larger set


def test_layouts_that_are_a_part_of_the_attributes_set(world, whole, tmp_path):
    data = json.loads((world / "attributes.json").read_text())
    ann = [world / "train/instances.json", world / "train/stuff.json"]
    data["info"]["annotation_files"] = [dict(path=str(p), sha256=sha256_of(p)) for p in ann]
    attributes = tmp_path / "attributes.json"
    attributes.write_text(json.dumps(data))
    part = tmp_path / "part.json"
    subset = json.loads(ann[0].read_text())
    subset["images"] = subset["images"][3:9]
    ids = {image["id"] for image in subset["images"]}
    subset["annotations"] = [a for a in subset["annotations"] if a["image_id"] in ids]
    part.write_text(json.dumps(subset))
    arguments = dict(ann=[str(part)], attributes=str(attributes), strategy="origin")
    draw(world, tmp_path / "part", **arguments)
    for a in json.loads((tmp_path / "part/annotations.json").read_text())["annotations"]:
        assert a["attribute"] == data["attributes"][str(a["source_annotation_id"])]
    subset["annotations"][0]["bbox"][2] -= 1  # another object under the same id
    part.write_text(json.dumps(subset))
    with pytest.raises(UserError, match=r"1 of the \d+ annotations of .*part.json are other objects"):
        draw(world, tmp_path / "other", **arguments)


# readers of the finished set


def test_fields_that_fiftyones_importer_reads(whole):
    """fiftyone.utils.coco: COCOObject(**annotation) with further fields as attributes of a Detection."""
    data = json.loads((whole / "annotations.json").read_text())
    assert isinstance(data["info"], dict) and isinstance(data["licenses"], list)
    for category in data["categories"]:
        assert (
            isinstance(category["id"], int)
            and isinstance(category["name"], str)
            and category["supercategory"]
        )
    for image in data["images"]:
        assert (
            Path(image["file_name"]).name == image["file_name"]
            and (whole / "images" / image["file_name"]).is_file()
        )
        assert all(isinstance(image[key], int) for key in ("id", "width", "height")) and image["id"] < 2**63
    own = {"id", "image_id", "category_id", "bbox", "segmentation", "keypoints", "score", "area", "iscrowd"}
    reserved = {"attributes", "tags", "label", "bounding_box", "mask", "confidence", "index", "supercategory"}
    for annotation in data["annotations"]:
        assert {"id", "image_id", "category_id", "bbox", "area", "iscrowd"} <= set(annotation)
        extra = set(annotation) - own
        assert not extra & reserved
        assert all(isinstance(annotation[key], (str, int, float, bool, type(None))) for key in extra)
