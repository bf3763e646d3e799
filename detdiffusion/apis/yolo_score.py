"""The YOLO score of generated images of any methods, for ``tools/evaluate_yolo_score.py``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from detdiffusion.datasets.image_files import image_folder
from detdiffusion.evaluation import yolo_score
from detdiffusion.evaluation.generated_sets import check_names
from detdiffusion.evaluation.options import ResultFolder, YoloScoreOptions
from detdiffusion.perception.detector_factory import load_detector
from detdiffusion.utils.ranks import Ranks
from detdiffusion.utils.shared_options import AnnotatedImages, DetectorOptions


def score_methods(
    detector: DetectorOptions,
    real: AnnotatedImages,
    synthetic: Mapping[str, str | Path],
    results: ResultFolder,
    scored: YoloScoreOptions | None = None,
    *,
    progress: bool = True,
) -> dict | None:
    """Score folders of generated images and the real images; under torchrun, ranks share the work.

    Args:
        detector: the detector whose boxes are scored.
        real: COCO instances json and folder of the layouts' real images.
        synthetic: folders by name of the method, see :mod:`~detdiffusion.evaluation.image_folders`.
        results: folder of the results, and the cache of the detector's predictions.
        scored: which images are scored, and how they are resized.
        progress: show a progress bar during detection.

    Returns:
        The result, see :func:`detdiffusion.evaluation.yolo_score.evaluate`; None on ranks other than 0.

    Raises:
        UserError: an option or an input file is not valid.
    """
    scored = scored or YoloScoreOptions()
    check_names(synthetic, "`synthetic`")
    img_dir = image_folder(real.img_dir, real.file)
    model = load_detector(*detector.detector, Ranks.join().device(detector.device), detector.cfg_options)
    return yolo_score.evaluate(
        model,
        real.file,
        img_dir,
        synthetic,
        ids=scored.ids,
        stuff=scored.stuff,
        samples=scored.samples,
        size=scored.size,
        min_area_ratio=scored.min_area_ratio,
        batch_size=detector.batch_size,
        cache=results.cache_folder,
        progress=progress,
    )
