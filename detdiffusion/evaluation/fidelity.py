"""The fidelity protocol: does a detector find the prompted objects in the generated images?

Ground truths, all restricted to classes that the detector can name:

* ``prompted``: a generated image's annotations are its prompted objects. For the real bound, the same
  layouts' real images with the same objects; other objects of a real image are ignored regions.
* ``full``: every object of the source image, as in the paper's YOLO score, scaled to the generated image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.evaluation.bootstrap import ApMatches, BootstrapResult, paired_bootstrap
from detdiffusion.evaluation.detection import evaluate_detection, select_ground_truth
from detdiffusion.evaluation.feature_cache import FeatureCache
from detdiffusion.perception.detector import MMDetDetector
from detdiffusion.perception.image_detector import check_files
from detdiffusion.perception.predictions import Predictions
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.ranks import gather_in_order, is_main, own_indices, rank


@dataclass
class ImageSet:
    """Images with the ground truths that they are scored against.

    Attributes:
        name: ``real`` or the strategy.
        img_dir: folder of the images.
        layouts: image id -> id of the source image.
        prompted, full: COCO dicts over the same image ids.
        samples: image id -> its number among the layout's images.
    """

    name: str
    img_dir: Path
    layouts: dict[int, int]
    prompted: dict
    full: dict
    samples: dict[int, int] = field(default_factory=dict)

    @property
    def paths(self) -> dict[int, Path]:
        """image id -> its file."""
        return {image["id"]: self.img_dir / image["file_name"] for image in self.prompted["images"]}

    def restrict(self, layouts: Iterable[int]) -> ImageSet:
        """The images of some layouts."""
        wanted = set(layouts)
        ids = [i for i, layout in self.layouts.items() if layout in wanted]
        return ImageSet(
            self.name,
            self.img_dir,
            {i: self.layouts[i] for i in ids},
            select_ground_truth(self.prompted, ids),
            select_ground_truth(self.full, ids),
            {i: self.samples[i] for i in ids if i in self.samples},
        )


def nameable_categories(categories: Sequence[Mapping], classes: Sequence[str]) -> dict[str, int]:
    """Category ids of the detector's classes: ``{name: id}``.

    Raises:
        UserError: none of the classes occurs.
    """
    ids = {c["name"]: c["id"] for c in categories if c["name"] in set(classes)}
    if not ids:
        raise UserError(
            f"the detector names none of the data set's categories: detector {list(classes)[:5]}…, "
            f"data set {[c['name'] for c in categories][:5]}…"
        )
    return ids


def load_sets(
    real: str | Path,
    real_images: str | Path,
    synthetic: Mapping[str, str | Path],
    classes: Sequence[str],
) -> tuple[ImageSet, list[ImageSet], list[str]]:
    """The real bound and the synthetic sets, on the layouts that all of them show.

    Args:
        real: COCO json of the source images.
        real_images: their folder.
        synthetic: name -> folder with ``annotations.json`` and ``images/`` (``tools/generate.py``).
        classes: names that the detector can give.

    Returns:
        ``(real bound, synthetic sets, notes)``; the notes are lines for the user about what was left out.

    Raises:
        UserError: a file is missing or broken, a set comes from other source images, or no layout is common.
    """
    source = read_coco(real)
    images = {image["id"]: image for image in source.images}
    categories = list(nameable_categories(source.categories, classes).values())
    truth = dict(images=source.images, annotations=source.annotations, categories=source.categories)
    truth = select_ground_truth(truth, category_ids=categories)
    sets, objects = [], {}
    for name, folder in synthetic.items():
        one, objects[name] = _load_synthetic(name, Path(folder), truth, images, Path(real))
        sets.append(one)

    common = set.intersection(*(set(s.layouts.values()) for s in sets))
    if not common:
        raise UserError(f"the synthetic sets {list(synthetic)} have no layout in common")
    notes = [
        f"{s.name}: {dropped} layouts are not in every set and were left out"
        for s in sets
        if (dropped := len(set(s.layouts.values()) - common))
    ]
    known = {a["id"]: a["image_id"] for a in truth["annotations"]}
    prompted = {name: {i for i in ids if known.get(i) in common} for name, ids in objects.items()}
    union = set.union(*prompted.values())
    if any(ids != union for ids in prompted.values()):
        notes.append(
            "the sets prompt different objects of the same layouts; the real bound takes their union"
        )
    order = [i for i in images if i in common]
    bound = ImageSet(
        "real",
        Path(real_images),
        {i: i for i in order},
        select_ground_truth(truth, order, annotation_ids=union, ignore_others=True),
        select_ground_truth(truth, order),
    )
    sets = [s.restrict(common) for s in sets]
    return bound, sets, notes


def score_set(image_set: ImageSet, predictions: Sequence[Mapping]) -> dict:
    """AP of one set against both ground truths, with counts.

    Args:
        image_set: what was detected on.
        predictions: COCO results over its image ids.
    """
    known = {c["id"] for c in image_set.prompted["categories"]}
    predictions = [p for p in predictions if p["category_id"] in known]
    metrics = evaluate_detection(predictions, image_set.prompted, per_class=True)
    metrics["bbox_mAP_full"] = evaluate_detection(predictions, image_set.full)["bbox_mAP"]
    counted = [a for a in image_set.prompted["annotations"] if not a.get("iscrowd", 0)]
    return {
        **metrics,
        "images": len(image_set.layouts),
        "layouts": len(set(image_set.layouts.values())),
        "objects": len(counted),
        "detections": len(predictions),
    }


def compare_sets(
    a: ImageSet,
    predictions_a: Sequence[Mapping],
    b: ImageSet,
    predictions_b: Sequence[Mapping],
    resamples: int = 1000,
    seed: int = 0,
) -> BootstrapResult:
    """Paired bootstrap over layouts of AP(a) - AP(b) against the prompted ground truth."""

    def matches(image_set, predictions):
        known = {c["id"] for c in image_set.prompted["categories"]}
        return ApMatches.from_results(
            [p for p in predictions if p["category_id"] in known], image_set.prompted
        )

    return paired_bootstrap(
        matches(a, predictions_a),
        matches(b, predictions_b),
        a.layouts,
        b.layouts,
        resamples=resamples,
        seed=seed,
    )


def _load_synthetic(
    name: str, folder: Path, truth: dict, images: dict[int, dict], real: Path
) -> tuple[ImageSet, set[int]]:
    path = folder / "annotations.json"
    if not path.is_file():
        raise UserError(
            f"synthetic set {name!r}: {path} is missing; tools/generate.py --out {folder} writes it"
        )
    data = read_coco(path)
    if not data.images:
        raise UserError(f"synthetic set {name!r}: {path} has no images")
    categories = {c["id"]: c["name"] for c in truth["categories"]}
    layouts, samples = {}, {}
    count: Counter = Counter()
    seen: dict = {}
    for image in data.images:
        if image.get("edits"):
            raise UserError(
                f"{path}: its layouts were edited ({image['edits']}), so the real images show other objects at other "
                "places and are no bound; score a set that was generated without --edit"
            )
        layout = image.get("source_image_id")
        if layout not in images:
            raise UserError(
                f"{path}: image {image['id']} has source_image_id {layout!r}, which is not in {real}; "
                "the set was generated from another data set"
            )
        layouts[image["id"]] = layout
        samples[image["id"]] = image.get("sample_index", count[layout])
        count[layout] += 1
        sample = [f"{key} {image[key]}" for key in ("strategy", "seed", "sample_index") if key in image]
        for value in (f"file {image['file_name']}", ", ".join([f"layout {layout}", *sample])):
            if not sample and value.startswith("layout"):
                continue
            if value in seen:
                raise UserError(
                    f"{path}: images {seen[value]} and {image['id']} are both {value}: an image must count once; "
                    "remove the doubled entry"
                )
            seen[value] = image["id"]
    for category in data.categories:
        if categories.get(category["id"], category["name"]) != category["name"]:
            raise UserError(
                f"{path}: category {category['id']} is {category['name']!r}, in {real} it is "
                f"{categories[category['id']]!r}"
            )
    annotations = [a for a in data.annotations if a["category_id"] in categories]
    prompted = dict(images=data.images, annotations=annotations, categories=truth["categories"])
    by_image: dict[int, list] = {}
    for annotation in truth["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    full: list[dict] = []
    for image in data.images:
        source = images[layouts[image["id"]]]
        sx, sy = image["width"] / source["width"], image["height"] / source["height"]
        for a in by_image.get(source["id"], []):
            x, y, w, h = a["bbox"]
            full.append(
                dict(
                    id=len(full) + 1,
                    image_id=image["id"],
                    category_id=a["category_id"],
                    bbox=[x * sx, y * sy, w * sx, h * sy],
                    area=a["area"] * sx * sy,
                    iscrowd=a["iscrowd"],
                )
            )
    objects = {a["source_annotation_id"] for a in annotations if "source_annotation_id" in a}
    image_set = ImageSet(
        name, folder / "images", layouts, prompted, {**prompted, "annotations": full}, samples
    )
    return image_set, objects


def detect(
    detector: MMDetDetector,
    image_set: ImageSet,
    classes: Mapping[str, int],
    cache: FeatureCache | None = None,
    progress: bool = True,
) -> tuple[list[dict], np.ndarray]:
    """Predictions on a set, and the features that the detector saw on the way.

    The images are shared out over the processes of a torchrun; every one of them gets the whole result.

    Args:
        detector: the trained detector.
        image_set: what to look at.
        classes: class name -> category id.
        cache: where to look first and to store.
        progress: a bar on stderr.

    Returns:
        ``(COCO results, (N, D) float32 features)``: the last backbone stage, averaged over positions.
    """
    images = image_set.prompted["images"]
    check_files(images, image_set.img_dir)
    cache = cache or FeatureCache(None)
    shown = [(image["id"], image["width"], image["height"]) for image in images]
    identity = dict(
        detector=detector.identity(),
        classes=dict(classes),
        images=shown,
        batch_size=detector.default_batch_size,
    )
    key = cache.key([image_set.img_dir / image["file_name"] for image in images], identity)
    stored = cache.load(key)
    if all(gather_in_order([rank()], [stored is not None])):  # every process goes the same way
        columns = [stored[name] for name in ("image_ids", "category_ids", "boxes", "scores")]
        return Predictions(*columns).to_coco_results(), stored["features"]
    indices = own_indices(len(images), detector.default_batch_size)
    with detector.pooled_features() as pooled:
        found = detector.predict(
            [images[i] for i in indices], image_set.img_dir, classes, progress=progress and is_main()
        )
    vectors = [vector.numpy() for batch in pooled for vector in batch]
    order, rows = np.argsort(found.image_ids, kind="stable"), []
    sorted_ids = found.image_ids[order]
    for i, vector in zip(indices, vectors):
        first, end = (np.searchsorted(sorted_ids, images[i]["id"], side) for side in ("left", "right"))
        mine = order[first:end]
        rows.append(
            (found.image_ids[mine], found.category_ids[mine], found.boxes[mine], found.scores[mine], vector)
        )
    *columns, features = zip(*gather_in_order(indices, rows))
    merged = Predictions(*(np.concatenate(column) for column in columns))
    features = np.stack(features)
    if is_main():
        columns = dict(image_ids=merged.image_ids, category_ids=merged.category_ids)
        cache.store(key, dict(columns, boxes=merged.boxes, scores=merged.scores, features=features))
    return merged.to_coco_results(), features
