"""A real ONNX detector scores photographs in both tools, beside themselves as the generator's images."""

import json

import pytest
from option_values import fidelity
from PIL import Image

from detdiffusion import apis
from detdiffusion.visualization.reports.fidelity import fidelity_table, print_result
from detdiffusion.visualization.reports.yolo_score import print_report, write_report

pytest.importorskip("onnxruntime")


@pytest.fixture
def photographs(shared_dir, tmp_path):
    """Four photographs with their boxes, and a generated set that shows them."""
    coco = json.loads((shared_dir / "data/coco_cc/instances.json").read_text())
    counts = {}
    for a in coco["annotations"]:
        counts[a["image_id"]] = counts.get(a["image_id"], 0) + 1
    images = [image for image in coco["images"] if counts.get(image["id"], 0) >= 4][:4]
    ids = {image["id"] for image in images}
    annotations = [
        {k: a[k] for k in ("id", "image_id", "category_id", "bbox", "area", "iscrowd")}
        for a in coco["annotations"]
        if a["image_id"] in ids
    ]
    real = dict(images=images, annotations=annotations, categories=coco["categories"])
    (tmp_path / "real.json").write_text(json.dumps(real))
    (tmp_path / "set" / "images").mkdir(parents=True)
    folder = next(p for p in (shared_dir / "data/coco_cc").rglob(images[0]["file_name"])).parent
    drawn = []
    for image in images:
        name = f"{image['id']}.png"
        with Image.open(folder / image["file_name"]) as photograph:
            photograph.convert("RGB").save(tmp_path / "set" / "images" / name)
        drawn.append({**image, "file_name": name, "source_image_id": image["id"]})
    shown = [{**a, "source_annotation_id": a["id"]} for a in annotations]
    content = dict(images=drawn, annotations=shown, categories=coco["categories"])
    (tmp_path / "set" / "annotations.json").write_text(json.dumps(content))
    return tmp_path, folder


def test_both_tools(photographs, shared_dir, repo_root, capsys):
    root, folder = photographs
    detector = (
        str(repo_root / "configs/onnx/yolox_nano_coco.py"),
        str(shared_dir / "weights/yolox_nano/yolox_nano.onnx"),
    )
    sets = {"easy": root / "set"}
    result = fidelity(
        sets, detector=detector, ann=root / "real.json", img_dir=folder, out=root / "out", resamples=5
    )
    real, easy = result["sets"]["real"], result["sets"]["easy"]
    assert real["bbox_mAP"] == pytest.approx(easy["bbox_mAP"]) and 0.1 < real["bbox_mAP"] < 0.9
    assert "frechet" not in real and any("shows no features" in note for note in result["notes"])
    assert [row[-1] for row in fidelity_table(result)[1]] == ["–", "–"]
    assert result["protocol"]["detector"]["network"] == "yolox_nano.onnx, YOLOXOutput"
    print_result(result)
    run = (
        apis.DetectorOptions(detector=detector),
        apis.AnnotatedImages(ann=root / "real.json", img_dir=folder),
        sets,
        apis.ResultFolder(out=root / "yolo"),
    )
    scored = apis.score_methods(*run, progress=False)
    rows = scored["sets"]
    assert (
        rows["real"]["bbox_mAP"] == pytest.approx(rows["easy"]["bbox_mAP"]) and rows["real"]["bbox_mAP"] > 0.1
    )
    assert any("the detector is ONNX with threshold 0.01 and NMS 0.65" in note for note in scored["notes"])
    write_report(scored, root / "yolo")
    print_report(scored)
    assert "YOLOXOutput" in capsys.readouterr().out
    again = apis.score_methods(*run, progress=False)
    assert again["from_cache"] == 2 and again["sets"] == rows
