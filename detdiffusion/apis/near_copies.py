"""Near copies of training images in synthetic sets, for ``tools/analysis_tools/near_copies.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.image_files import image_folder
from detdiffusion.evaluation import near_copies
from detdiffusion.evaluation.detections import detect_images
from detdiffusion.evaluation.feature_cache import FeatureCache
from detdiffusion.evaluation.generated_sets import check_names
from detdiffusion.evaluation.options import CopyOptions, ResultFolder
from detdiffusion.perception.detector_factory import load_detector
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.shared_options import AnnotatedImages
from detdiffusion.utils.tables import format_table
from detdiffusion.visualization.pairs import draw_pairs


def report_near_copies(
    real: AnnotatedImages,
    synthetic: Mapping[str, str | Path],
    results: ResultFolder,
    options: CopyOptions | None = None,
    *,
    progress: bool = True,
) -> dict:
    """Report the share of near copies of training images in each set; write ``near_copies.json`` and a picture.

    Args:
        real: COCO json and folder of the images that the generator was trained on.
        synthetic: folders with ``annotations.json`` and ``images``, by name.
        results: folder of the results, and the cache of the detector's features.
        options: what counts as a near copy, and the detector whose features are compared, too.
        progress: show progress bars on stderr.

    Returns:
        The content of ``near_copies.json``: by set and measure ``share``, ``limit`` and quartiles of the distances;
        ``duplicates`` is the number of training images that equal another one, or its mirror image, as small images.

    Raises:
        UserError: an option or an input file is not valid.
    """
    options = options or CopyOptions()
    check_names(synthetic, "`synthetic`")
    sets = {"real": (read_coco(real.file).images, image_folder(real.img_dir, real.file))}
    for name, folder in synthetic.items():
        images = read_coco(Path(folder, "annotations.json")).images
        if not images:
            raise UserError(f"synthetic set {name!r}: {folder} has no images")
        sets[name] = (images, Path(folder, "images"))
    paths = {name: [folder / i["file_name"] for i in images] for name, (images, folder) in sets.items()}
    vectors = {"pixels": {name: near_copies.pixel_vectors(files) for name, files in paths.items()}}
    small = vectors["pixels"]["real"]
    references = {"pixels": np.concatenate((small, near_copies.mirrored(small)))}
    if options.detector is not None:
        vectors["features"] = _features(options, sets, results, progress)
        references["features"] = vectors["features"]["real"]
    report: dict = {name: dict(images=len(paths[name])) for name in synthetic}
    out, count = Path(results.out), len(paths["real"])
    out.mkdir(parents=True, exist_ok=True)
    for measure, found in vectors.items():
        within = near_copies.distances_within(found["real"], references[measure])
        limit = float(np.quantile(within, options.quantile))
        if measure == "pixels":
            duplicates = near_copies.count_duplicates(within)
        for name in synthetic:
            copies = near_copies.count_copies(found[name], references[measure], limit, count)
            quartiles = np.quantile(copies.nearest.distance, (0.25, 0.5, 0.75)).tolist()
            report[name][measure] = dict(share=copies.share, limit=limit, quartiles=quartiles)
            if measure == "pixels":
                nearest = np.argsort(copies.nearest.distance, kind="stable")[: options.pairs]
                files = [(paths[name][i], paths["real"][copies.nearest.index[i]]) for i in nearest]
                draw_pairs(files).save(out / f"near_copies_{name}.png")
    report = dict(training_images=count, duplicates=duplicates, quantile=options.quantile, sets=report)
    write_atomic(out / "near_copies.json", (json.dumps(report, indent=2) + "\n").encode())
    print(describe(report))
    return report


def describe(report: Mapping) -> str:
    """Return the report as a table."""
    rows = [("set", "images", "measure", "near copies", "median distance", "limit")]
    for name, values in report["sets"].items():
        for measure in ("pixels", "features"):
            if found := values.get(measure):
                numbers = (f"{found['share']:.1%}", f"{found['quartiles'][1]:.4f}", f"{found['limit']:.4f}")
                rows.append((name, values["images"], measure, *numbers))
    return (
        f"{format_table(rows)}\nlimit: {report['training_images']} training images are nearer to their nearest other "
        f"one in {report['quantile']:.0%} of the cases; held-out real images would have about this share\n"
        f"{report['duplicates']} training images equal another one"
    )


def _features(
    chosen: CopyOptions, sets: Mapping, results: ResultFolder, progress: bool
) -> dict[str, np.ndarray]:
    model = load_detector(*chosen.detector, chosen.device, chosen.cfg_options)
    if not model.shows_features:
        raise UserError(
            "near copies: the detector gives no features; leave it out, or name an mmdet detector"
        )
    classes = {name: index for index, name in enumerate(model.classes)}
    options = dict(features=True, batch_size=chosen.batch_size, cache=FeatureCache(results.cache_folder))
    return {
        name: near_copies.cosine_vectors(
            detect_images(model, images, folder, classes, progress=progress, name=name, **options)[1]
        )
        for name, (images, folder) in sets.items()
    }
