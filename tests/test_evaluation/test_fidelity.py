"""The fidelity protocol on a generator whose quality is known: it copies or spoils the real images."""

import io
import json
import os
import subprocess
import sys

import cv2
import pytest
from fidelity_world import CLASSES, write_random_detector, write_world
from option_values import fidelity
from PIL import Image

from detdiffusion.evaluation.fidelity import compare_sets, load_sets, score_set
from detdiffusion.utils.errors import UserError


@pytest.fixture
def data(tmp_path):
    return write_world(tmp_path)


def load(data, **kwargs):
    sets = dict(easy=data / "easy", hard=data / "hard")
    return load_sets(data / "real.json", data / "real", **{"synthetic": sets, "classes": CLASSES, **kwargs})


def as_results(truth, keep=lambda a: True):
    return [
        dict(image_id=a["image_id"], category_id=a["category_id"], bbox=a["bbox"], score=0.9)
        for a in truth["annotations"]
        if keep(a)
    ]


def test_bound_and_sets(data):
    bound, (easy, hard), notes = load(data)
    assert notes == ["1 categories that the detector cannot name are not scored: sky"]
    # whoever finds all three things of a real image has full marks by both ground truths
    every = score_set(bound, as_results(bound.full))
    assert every["bbox_mAP"] == every["bbox_mAP_full"] == pytest.approx(1)
    assert (every["objects"], every["images"], every["layouts"]) == (24, 12, 12)
    # a perfect generator shows the prompted two; the full ground truth misses the third
    two = score_set(easy, as_results(easy.prompted))
    assert two["bbox_mAP"] == pytest.approx(1)
    assert 0.6 < two["bbox_mAP_full"] < 0.8
    assert two["bbox_mAP_per_class"] == pytest.approx({"ball": 1, "crate": 1})  # no sky: it cannot be named


def test_a_set_that_starts_from_real_images(data):
    """It is noted, and its ignored regions are not taken for prompted objects."""
    path = data / "easy/annotations.json"
    coco, source = json.loads(path.read_text()), json.loads((data / "real.json").read_text())
    prompted = {a["source_annotation_id"] for a in coco["annotations"]}
    image = coco["images"][0]
    other = next(
        a
        for a in source["annotations"]
        if a["image_id"] == image["source_image_id"] and a["id"] not in prompted and not a.get("iscrowd")
    )
    region = dict(other, id=10**6, image_id=image["id"], iscrowd=1, source_annotation_id=other["id"])
    for each in coco["images"]:
        each["from_real"] = "real0.8"
    path.write_text(json.dumps(dict(coco, annotations=[*coco["annotations"], region])))
    bound, (easy, _), notes = load(data)
    assert "easy: starts from the real images (real0.8)" in notes
    assert not any("prompt different objects" in note for note in notes)
    assert score_set(bound, [])["objects"] == score_set(easy, [])["objects"] == 24


def test_paired_bootstrap_of_sets(data):
    _, (easy, hard), _ = load(data)
    worse = as_results(hard.prompted, keep=lambda a: a["image_id"] % 3)
    result = compare_sets(easy, as_results(easy.prompted), hard, worse, resamples=100)
    assert result.layouts == 12
    assert result.difference == pytest.approx(1 / 3, abs=0.02)
    assert 0 < result.low < result.difference < result.high


def test_only_common_layouts_count(data):
    path = data / "hard" / "annotations.json"
    hard = json.loads(path.read_text())
    hard["images"] = hard["images"][:5]
    ids = {image["id"] for image in hard["images"]}
    hard["annotations"] = [a for a in hard["annotations"] if a["image_id"] in ids]
    path.write_text(json.dumps(hard))
    bound, sets, notes = load(data)
    assert [len(s.layouts) for s in (bound, *sets)] == [5, 5, 5]
    assert notes[1:] == [
        "easy: 7 layouts are not in every set and were left out",
        "5 of the annotation file's 12 images are scored",
    ]


def test_errors(data):
    with pytest.raises(UserError, match="knows none"):
        load(data, classes=("zebra",))
    with pytest.raises(UserError, match="annotations.json is missing"):
        load(data, synthetic={"easy": data / "none"})
    path = data / "easy" / "annotations.json"
    path.write_text(
        path.read_text()
        .replace('"source_image_id": 1,', '"source_image_id": 77,')
        .replace('"source_image_id": 1}', '"source_image_id": 77}')
    )
    _, _, notes = load(data)
    assert notes[1] == "easy: 1 images of other data sets were left out"
    everything = json.loads(path.read_text())
    for image in everything["images"]:
        image["source_image_id"] = 77
    path.write_text(json.dumps(everything))
    with pytest.raises(UserError, match="none of its 12 images has a source_image_id .*has 77"):
        load(data)


def test_an_image_counts_once(data):
    path = data / "easy" / "annotations.json"
    easy = json.loads(path.read_text())

    def fails(message, first=None, **second):
        images = [{**easy["images"][0], **(first or {})}, *easy["images"][1:]]
        path.write_text(json.dumps({**easy, "images": [*images, {**images[0], **second}]}))
        with pytest.raises(UserError, match=message):
            load(data)

    fails("1001")  # the same id
    fails("id 5000.*image id 1001 has the same file name", id=5000)
    sample = dict(seed=0, sample_index=0)
    same = "images 1001 and 5000 are both layout 1, seed 0, sample_index 0"
    fails(same, sample, id=5000, file_name="other.png")


def test_other_names_for_the_same_categories(data):
    path = data / "easy" / "annotations.json"
    path.write_text(path.read_text().replace('"name": "crate"', '"name": "box"', 1))
    with pytest.raises(UserError, match="category 5 is 'box', but in .*real.json it is 'crate'"):
        load(data)


FID = """
fid = dict(
    protocol=dict(name="atss", size=(32, 32), resample="bilinear", kernel_metrics=True),
    extractor=dict(type="DetectorExtractor", config={!r}, checkpoint={!r}),
)
"""


def test_tool_cache_and_ranks(data, repo_root):
    """Both sets hold the same pixels: whatever an untrained detector says, there is no difference.

    The same figures to the last bit with one process, with two, and from the cache.
    """
    detector = write_random_detector(data, repo_root)
    (data / "fid.py").write_text(FID.format(*detector))
    tool = [str(repo_root / "tools" / "evaluate_fidelity.py"), "--ann", str(data / "real.json")]
    tool += ["--detector", *detector, "--img-dir", str(data / "real"), "--resamples", "20"]
    tool += ["--fid", str(data / "fid.py"), "--device", "cpu", "--score-thr", "0.01"]
    tool += ["--synthetic", f"easy={data / 'easy'}", f"hard={data / 'hard'}"]
    environment = dict(os.environ, PYTHONPATH=str(repo_root), OMP_NUM_THREADS="1")
    one = [sys.executable, *tool, "--out", str(data / "one")]
    two = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port"]
    two += [str(22000 + os.getpid() % 20000), *tool, "--out", str(data / "two")]
    for command in (one, two):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Detector AP on the prompted objects") == 1  # one process talks
        for word in ("layouts", "KID", "protocol atss: layouts that every set shows", "covariance"):
            assert word in done.stdout
    found = [json.loads((data / name / "fidelity.json").read_text()) for name in ("one", "two")]
    arguments = dict(detector=detector, ann=data / "real.json", img_dir=data / "real", resamples=20)
    sets = dict(easy=data / "easy", hard=data / "hard")
    arguments.update(fid=[str(data / "fid.py")], device="cpu", score_thr=0.01, progress=False)
    again = fidelity(synthetic=sets, out=data / "one", **arguments)
    # hard has easy's pixels: its predictions and its features are at hand already in the first run
    assert (found[0]["from_cache"], again["from_cache"]) == (2, 6)
    for result in (found[1], again):
        for key in ("sets", "bootstrap", "consistency", "methods", "notes"):
            assert json.loads(json.dumps(result[key])) == found[0][key], key

    result = found[0]
    easy, hard = result["sets"]["easy"], result["sets"]["hard"]
    assert easy == hard and easy["frechet"] > 0 and easy["distances"]["atss"]["frechet"] > 0
    difference = result["bootstrap"]["easy - hard"]
    assert (difference["low"], difference["high"], difference["layouts"]) == (0, 0, 12)
    assert result["consistency"]["attribute_effect"]["difference"] == 0
    assert result["consistency"]["sets"]["easy"]["all"]["objects"] == 24
    assert "last backbone stage" in result["protocol"]["frechet_features"]
    for kind in ("json", "md", "html"):
        assert "centre" in (data / "one" / f"consistency.{kind}").read_text()
    # other pixels are another key: nothing stale comes out of the cache
    image = cv2.imread(str(data / "real" / "1.png"))
    cv2.imwrite(str(data / "real" / "1.png"), 255 - image)
    other = fidelity(synthetic=sets, out=data / "one", **arguments)
    assert other["from_cache"] == 4 and other["sets"]["easy"]["frechet"] != easy["frechet"]
    real_bound(data, result, arguments)
    modes(data, arguments)
    with pytest.raises(UserError, match="synthetic set 'hard'"):
        fidelity(synthetic={"hard": "none"}, out=data / "one", **arguments)
    with pytest.raises(UserError, match="unknown FID protocol 'lama'.*lama_tf"):
        fidelity(synthetic=sets, out=data / "one", **{**arguments, "fid": ["lama"]})
    bad_images(data, arguments)


def real_bound(data, result, arguments):
    """The row of the real images: its halves, or other real images, by the detector's features and by a protocol."""
    real = result["sets"]["real"]
    values = real["distances"]["atss"]
    assert real["frechet"] > 0 and (values["images"], values["real_images"]) == (6, 6)
    assert {"frechet", "kid", "precision", "recall"} <= values.keys()
    assert values["bound"].startswith("one half of the real images against the other, 6 and 6 images")
    # 6 images for the detector's features: nothing says what 12 would give
    assert "about" not in result["protocol"]["frechet_bound"] and "about" not in values["bound"]
    assert "no more images than features: 6 for" in result["protocol"]["frechet_bound"]
    assert any("only 6 images for" in note for note in result["notes"])
    assert result["protocol"]["frechet_reference"] == "the 12 real images of the same layouts"
    assert sum("between halves of 6 images" in note for note in result["notes"]) == 1
    (data / "others").mkdir()
    source = json.loads((data / "real.json").read_text())
    for image in source["images"]:
        pixels = cv2.imread(str(data / "real" / image["file_name"]))
        cv2.imwrite(str(data / "others" / image["file_name"]), pixels[::-1])
    run = dict(arguments, synthetic={"easy": data / "easy"}, out=data / "one")
    found = fidelity(**run, real_reference=(data / "real.json", data / "others"))
    values = found["sets"]["real"]["distances"]["atss"]
    assert (values["images"], values["real_images"]) == (12, 12)
    assert values["bound"].startswith("12 other real images of ") and values["frechet"] > 0
    assert not any("halves" in note for note in found["notes"])
    # whatever a set is called, the bound is the reference's
    named = fidelity(
        **{**run, "synthetic": {"others": data / "easy"}},
        real_reference=(data / "real.json", data / "others"),
    )
    assert named["sets"]["real"] == found["sets"]["real"] and named["sets"]["others"] == found["sets"]["easy"]
    assert named["sets"]["real"]["frechet"] != named["sets"]["others"]["frechet"]
    with pytest.raises(UserError, match="`synthetic`: no set may be named 'real'"):
        fidelity(**{**run, "synthetic": {"real": data / "easy"}})
    with pytest.raises(UserError, match="12 of its 12 images are among the real images"):
        fidelity(**run, real_reference=(data / "real.json", data / "real"))
    (data / "others" / "7.png").unlink()
    with pytest.raises(UserError, match="1 of 12 real images are missing, the first 7.png.*`real_reference`"):
        fidelity(**run, real_reference=(data / "real.json", data / "others"))


def modes(data, arguments):
    """Gray, CMYK and transparent files are converted and counted as for FID; AP sees what lies on white."""
    folder = data / "easy" / "images"
    kept = {name: (folder / name).read_bytes() for name in ("1001.png", "1002.png", "1003.png")}
    found = []
    for mode in ("RGBA", "RGB"):
        with Image.open(io.BytesIO(kept["1001.png"])) as image:
            rgba = image.convert("RGBA")
        rgba.putalpha(0)
        (rgba if mode == "RGBA" else Image.new("RGB", rgba.size, "white")).save(folder / "1001.png")
        for name, other in (("1002.png", "L"), ("1003.png", "CMYK")):
            with Image.open(io.BytesIO(kept[name])) as image:
                converted = image.convert(other)
            if mode == "RGB":
                converted = converted.convert("RGB")
            converted.save(folder / name, format="TIFF")
        run = dict(arguments, synthetic={"easy": data / "easy"}, out=data / "modes", fid=[])
        found.append(fidelity(**run))
    assert found[0]["sets"] == found[1]["sets"]
    notes = [[line for line in one["notes"] if line.startswith("easy: 1 ")] for one in found]
    assert notes[0] == [
        "easy: 1 CMYK images converted to RGB",
        "easy: 1 grayscale images converted to RGB",
        "easy: 1 images with transparency put on white",
    ]
    assert notes[1] == []
    for name, content in kept.items():
        (folder / name).write_bytes(content)


def bad_images(data, arguments):
    """Missing, resized and unreadable files, and an empty folder."""
    folder = data / "hard" / "images"
    run = dict(arguments, synthetic={"hard": data / "hard"}, out=data / "bad", fid=[])
    pixels = cv2.imread(str(folder / "1003.png"))
    cv2.imwrite(str(folder / "1003.png"), pixels[:, :20])
    with pytest.raises(UserError, match=r"1003.png \(image id 1003\): the file has 20 x 24 pixels"):
        fidelity(**run)
    (folder / "1003.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="1003.png: cannot be read as an image"):
        fidelity(**run)
    (folder / "1003.png").unlink()
    with pytest.raises(UserError, match="hard: 1 of 12 images of .* are missing in .*, the first 1003.png"):
        fidelity(**run)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="hard: 12 of 12 images of .* are missing"):
        fidelity(**run)
    run["synthetic"] = {"easy": data / "easy"}
    with pytest.raises(UserError, match="real: .*12 of 12 real images are missing.*`img_dir`"):
        fidelity(**dict(run, img_dir=data))
    cv2.imwrite(str(data / "real" / "2.png"), pixels)
    with pytest.raises(
        UserError, match="real: .*2.png .*the file has 32 x 24 pixels, but the annotation file says 64 x 48"
    ):
        fidelity(**run)
