"""The fidelity protocol: AP of a detector on generated images, with the prompted objects as ground truth.

There are two ground truths, both restricted to the detector's classes:

* ``prompted``: the prompted objects of a generated image. For the real bound, the same objects in the real images of
  the same layouts; other objects of a real image are ignored regions.
* ``full``: all objects of the source image, as in the paper's YOLO score, scaled to the generated image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.evaluation.ap_matches import ApMatches
from detdiffusion.evaluation.bootstrap import BootstrapResult, paired_bootstrap
from detdiffusion.evaluation.detection import evaluate_detection
from detdiffusion.evaluation.generated_sets import read_generated_set
from detdiffusion.evaluation.ground_truth import select_ground_truth
from detdiffusion.evaluation.image_pixels import check_real_images
from detdiffusion.utils.errors import UserError, some


@dataclass
class ImageSet:
    """Images with their two ground truths.

    Attributes:
        name: ``real``, or the name of a synthetic set.
        img_dir: folder of the images.
        layouts: ids of the source images, by image id.
        prompted, full: COCO dicts with the same image ids.
        samples: sample indices within the layout, by image id.
    """

    name: str
    img_dir: Path
    layouts: dict[int, int]
    prompted: dict
    full: dict
    samples: dict[int, int] = field(default_factory=dict)

    @property
    def paths(self) -> dict[int, Path]:
        """Image files by image id."""
        return {image["id"]: self.img_dir / image["file_name"] for image in self.prompted["images"]}

    def restrict(self, layouts: Iterable[int]) -> ImageSet:
        """Return the images of the given layouts."""
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
    """Return the category ids of the detector's classes, by name.

    Raises:
        UserError: no category is a class of the detector.
    """
    ids = {c["name"]: c["id"] for c in categories if c["name"] in set(classes)}
    if not ids:
        raise UserError(
            f"the detector knows none of the data set's categories: detector {list(classes)[:5]}…, "
            f"data set {[c['name'] for c in categories][:5]}…"
        )
    return ids


def unnamed_notes(categories: Sequence[Mapping], named: Mapping[str, int]) -> list[str]:
    """Return a note about categories that the detector does not know."""
    unnamed = [category["name"] for category in categories if category["name"] not in named]
    if not unnamed:
        return []
    return [f"{len(unnamed)} categories that the detector cannot name are not scored: {some(unnamed, 5)}"]


def scored_notes(scored: int, images: int) -> list[str]:
    """Return a note about images of the annotation file that are not scored."""
    return [f"{scored} of the annotation file's {images} images are scored"] if scored < images else []


def load_sets(
    real: str | Path,
    real_images: str | Path,
    synthetic: Mapping[str, str | Path],
    classes: Sequence[str],
) -> tuple[ImageSet, list[ImageSet], list[str]]:
    """Load the real images and the synthetic sets, restricted to the layouts that all sets have.

    Args:
        real: COCO json of the source images.
        real_images: their folder.
        synthetic: folders with ``annotations.json`` and ``images/`` (``tools/generate.py``), by name.
        classes: class names of the detector.

    Returns:
        ``(real bound, synthetic sets, notes)``; the notes tell the user what was left out.

    Raises:
        UserError: a file is missing or damaged, a set was made from other source images, or the sets have no layout in
            common.
    """
    source = read_coco(real)
    images = {image["id"]: image for image in source.images}
    named = nameable_categories(source.categories, classes)
    categories = list(named.values())
    truth = dict(images=source.images, annotations=source.annotations, categories=source.categories)
    truth = select_ground_truth(truth, category_ids=categories)
    sets, objects, notes = [], {}, [source.summary()] if source.findings else []
    notes += unnamed_notes(source.categories, named)
    for name, folder in synthetic.items():
        image_set, objects[name], more = _load_synthetic(name, Path(folder), truth, images, Path(real))
        sets.append(image_set)
        notes += more

    common = set.intersection(*(set(s.layouts.values()) for s in sets))
    if not common:
        raise UserError(f"the synthetic sets {list(synthetic)} have no layout in common")
    notes += [
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
    notes += scored_notes(len(order), len(images))
    notes += check_real_images([images[i] for i in order], Path(real_images)).notes("real")
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
    """Compute AP of a set against both ground truths, with counts.

    Args:
        image_set: the set of images.
        predictions: COCO results with its image ids.
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
    """Compute the paired bootstrap over layouts of AP(a) - AP(b), against the prompted ground truth."""

    def matches(image_set: ImageSet, predictions: Sequence[Mapping]) -> ApMatches:
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
) -> tuple[ImageSet, set[int], list[str]]:
    """Load a set with both ground truths; also return the source ids of its prompted objects, and notes."""
    found = read_generated_set(name, folder, list(images.values()), truth["categories"], real)
    named = {category["id"] for category in truth["categories"]}
    annotations = [a for a in found.file.annotations if a["category_id"] in named]
    prompted = dict(images=found.file.images, annotations=annotations, categories=truth["categories"])
    by_image: dict[int, list] = {}
    for annotation in truth["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    full: list[dict] = []
    for image in found.file.images:
        source = images[found.layouts[image["id"]]]
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
    asked = (a for a in annotations if not a["iscrowd"] and "source_annotation_id" in a)
    objects = {a["source_annotation_id"] for a in asked}
    image_set = ImageSet(
        name, found.img_dir, found.layouts, prompted, {**prompted, "annotations": full}, found.samples
    )
    return image_set, objects, found.notes
