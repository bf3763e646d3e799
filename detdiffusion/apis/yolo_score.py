"""The YOLO score of any methods' folders: what ``tools/evaluate_yolo_score.py`` runs."""

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
    """Scores folders of images beside the real ones; under torchrun the work is shared out.

    Args:
        detector: whose boxes are scored.
        real: COCO instances json of the layouts' images, and these.
        synthetic: name of a method -> its folder, see :mod:`~detdiffusion.evaluation.image_folders`.
        results: folder of the results, and what is kept of the detector.
        scored: which images are scored, and how they are resized.
        progress: of the detection.

    Returns:
        The result, see :func:`detdiffusion.evaluation.yolo_score.evaluate`; None on all processes but the first.

    Raises:
        UserError: anything wrong with the input.
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
