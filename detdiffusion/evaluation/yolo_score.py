"""The YOLO score: does a detector find a layout's objects in images that any method made of it?

The protocol is LAMA's (Li et al., ICCV 2021), which GeoDiffusion and DetDiffusion use: every image is resized
to 512 x 512 by PIL, YOLOv4 looks at it (608 x 608, stretched, threshold 0.25, NMS 0.45), its boxes are scaled
to the original image's size, and COCO bbox AP is counted on these images against the whole ground truth.

Beside it stands AP against the filtered ground truth: only objects that a layout prompts (no crowd, above 2 %
of the image) count, all others are ignored regions, for every method and the real images alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.filter_share import little_left
from detdiffusion.evaluation.detection import METRIC_NAMES, evaluate_detection
from detdiffusion.evaluation.detections import detect_images
from detdiffusion.evaluation.feature_cache import FeatureCache
from detdiffusion.evaluation.fidelity import nameable_categories, unnamed_notes
from detdiffusion.evaluation.ground_truth import select_ground_truth
from detdiffusion.evaluation.image_folders import ImageFolder, note_images, read_folder
from detdiffusion.evaluation.image_pixels import check_real_images
from detdiffusion.evaluation.scored_layouts import choose_ids
from detdiffusion.perception.image_detector import ImageDetector
from detdiffusion.utils.ranks import Ranks

SIZE = 512
MIN_AREA_RATIO = 0.02


def evaluate(
    detector: ImageDetector,
    ann: str | Path,
    real_images: str | Path,
    methods: Mapping[str, str | Path],
    *,
    ids: str | Path | None = None,
    stuff: str | Path | None = None,
    samples: int | None = None,
    size: int = SIZE,
    min_area_ratio: float = MIN_AREA_RATIO,
    batch_size: int | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict | None:
    """Scores methods and the real images by one detector; the processes of a torchrun share the images.

    Args:
        detector: whose boxes are scored, with its own threshold and NMS.
        ann: COCO instances json of the layouts' images.
        real_images: their folder.
        methods: name -> folder of images, see :mod:`~detdiffusion.evaluation.image_folders`.
        ids: ``lama``: the layouts of LAMA's filter on ``ann`` and ``stuff``; or a file with image ids (a json
            list, or one a line): every method must have them all. None: the layouts that all methods have.
        stuff: COCO stuff json, for ``lama``.
        samples: images of a layout that count, the first ones; None takes all.
        size: pixels that images are resized to before the detector's own resize.
        min_area_ratio: of the filtered ground truth.
        cache: folder for what the detector found; None keeps nothing.
        batch_size, progress: of the detection.

    Returns:
        ``protocol``, ``sets`` (name -> metrics and counts; the first is ``real``), ``notes`` and ``from_cache``,
        the number of sets that were not looked at anew; None on all processes but the first.

    Raises:
        UserError: an input that is missing, broken or does not belong to the rest.
    """
    source = read_coco(ann)
    notes = [source.summary()] if source.findings else []
    classes = nameable_categories(source.categories, detector.classes)
    notes += unnamed_notes(source.categories, classes)
    truth = dict(images=source.images, annotations=source.annotations, categories=source.categories)
    truth = select_ground_truth(truth, category_ids=classes.values())
    folders = [
        read_folder(name, folder, source.images, source.categories, ann) for name, folder in methods.items()
    ]
    chosen, how = choose_ids(folders, source.images, ids, ann, stuff, real_images, notes)
    real = _real_folder(source.images, chosen, Path(real_images))
    folders = [real, *(folder.keep(chosen, samples) for folder in folders)]
    for folder in folders:
        note_images(folder)
        notes += folder.notes
        counts = {len(files) for files in folder.files.values()}
        if len(counts) > 1:
            notes.append(
                f"{folder.name}: layouts have {min(counts)} to {max(counts)} samples; all count alike"
            )
    truth = select_ground_truth(truth, chosen)
    sizes = {image["id"]: image["width"] * image["height"] for image in truth["images"]}
    prompted = [
        a["id"]
        for a in truth["annotations"]
        if not a["iscrowd"] and a["bbox"][2] * a["bbox"][3] > min_area_ratio * sizes[a["image_id"]]
    ]
    small = sum(not a["iscrowd"] for a in truth["annotations"]) - len(prompted)
    said = little_left(
        len(prompted), {f"min_area_ratio={min_area_ratio:g}": small}, "AP is counted without it too"
    )
    notes += [f"the filtered ground truth: {said}"] if said else []
    filtered = select_ground_truth(truth, annotation_ids=prompted, ignore_others=True)
    notes += _unlike_darknet(detector)
    sets, store, ranks = {}, FeatureCache(cache), Ranks.current()
    for folder in folders:
        if progress:
            ranks.print(f"{folder.name}: {folder.count} images of {len(folder.files)} layouts")
        results, index = detect(detector, folder, truth["images"], classes, size, batch_size, store, progress)
        if ranks.is_main:
            sets[folder.name] = score(results, index, truth, filtered)
    if not ranks.is_main:
        return None
    return {
        "protocol": _protocol(detector, ann, how, size, min_area_ratio, truth, prompted, samples),
        "sets": sets,
        "notes": notes,
        "from_cache": len(store.hits),
    }


def detect(
    detector: ImageDetector,
    folder: ImageFolder,
    images: Sequence[dict],
    classes: Mapping[str, int],
    size: int = SIZE,
    batch_size: int | None = None,
    cache: FeatureCache | None = None,
    progress: bool = True,
) -> tuple[list[dict], dict[int, int]]:
    """Boxes on a method's images, in pixels of the layouts' own images; see :func:`.detect_images`.

    Returns:
        COCO results over new image ids (one for each sample), and new id -> layout's image id.
    """
    by_id = {image["id"]: image for image in images}
    index: dict[int, int] = {}
    entries = []
    for image_id, files in folder.files.items():
        for path in files:
            index[len(index) + 1] = image_id
            entries.append(dict(id=len(index), file_name=str(path.resolve()), width=size, height=size))
    options = dict(size=size, batch_size=batch_size, cache=cache, progress=progress, name=folder.name)
    predictions, _ = detect_images(detector, entries, folder.path, classes, **options)
    found = predictions.to_coco_results()
    for item in found:
        image = by_id[index[item["image_id"]]]
        sx, sy = image["width"] / size, image["height"] / size
        x, y, w, h = item["bbox"]
        item["bbox"] = [x * sx, y * sy, w * sx, h * sy]
    return found, index


def score(results: Sequence[Mapping], index: Mapping[int, int], truth: Mapping, filtered: Mapping) -> dict:
    """AP against both ground truths, each repeated for every sample, with counts."""
    metrics = evaluate_detection(results, _repeat(truth, index), per_class=True)
    by_filter = evaluate_detection(results, _repeat(filtered, index))
    return {
        **metrics,
        **{f"filtered_{name}": by_filter[name] for name in METRIC_NAMES},
        "layouts": len(set(index.values())),
        "images": len(index),
        "detections": len(results),
    }


def _repeat(truth: Mapping, index: Mapping[int, int]) -> dict:
    images = {image["id"]: image for image in truth["images"]}
    of_image: dict[int, list[dict]] = {}
    for annotation in truth["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    annotations: list[dict] = []
    for new, old in index.items():
        for a in of_image.get(old, ()):
            annotations.append({**a, "id": len(annotations) + 1, "image_id": new})
    return {
        "images": [{**images[old], "id": new} for new, old in index.items()],
        "annotations": annotations,
        "categories": truth["categories"],
    }


def _real_folder(images: Sequence[dict], chosen: Sequence[int], folder: Path) -> ImageFolder:
    by_id = {image["id"]: image for image in images}
    check_real_images([by_id[i] for i in chosen], folder)
    return ImageFolder("real", folder, {i: [folder / by_id[i]["file_name"]] for i in chosen})


def _protocol(
    detector: ImageDetector, ann, how: str, size: int, min_area_ratio: float, truth, prompted, samples
) -> dict:
    return {
        "name": "YOLO score",
        "detector": {**detector.describe(), **detector.settings()},
        "ann": str(ann),
        "ids": how,
        "layouts": len(truth["images"]),
        "samples_per_layout": samples or "all",
        "resize": f"PIL bicubic to {size} x {size}, then the detector's own",
        "scored_classes": len(truth["categories"]),
        "objects": sum(not a["iscrowd"] for a in truth["annotations"]),
        "crowds": sum(a["iscrowd"] for a in truth["annotations"]),
        "filtered_objects": len(prompted),
        "filter": f"no crowd, box above {min_area_ratio:g} of the image; the others are ignored regions",
        "ap": "COCO bbox AP (IoU 0.50:0.95, 100 detections), boxes scaled to the original images; faster-coco-eval",
    }


def _unlike_darknet(detector) -> list[str]:
    """A note where the detector is not the protocol's."""
    settings = detector.settings()
    nms = settings["nms"] or {}
    found = (settings["type"], settings["score_thr"], nms.get("type"), nms.get("iou_threshold"))
    if found == ("YOLOv4", 0.25, "nms", 0.45):
        return []
    return [
        f"the detector is {found[0]} with threshold {found[1]} and NMS {found[3]}; papers' YOLO scores are of YOLOv4 "
        "with 0.25 and 0.45: compare with the rows of this table only"
    ]
