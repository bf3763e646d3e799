"""The YOLO score of any methods' folders: what ``tools/evaluate_yolo_score.py`` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.evaluation import yolo_score
from detdiffusion.evaluation.generated_sets import check_names
from detdiffusion.perception.detector_factory import load_detector
from detdiffusion.utils.ranks import Ranks


def score_methods(
    detector: tuple[str, str],
    ann: str | Path,
    real_images: str | Path,
    methods: Mapping[str, str | Path],
    out: str | Path,
    *,
    cache: str | Path | None = None,
    device: str | None = None,
    cfg_options: Sequence[str] | None = None,
    **settings,
) -> dict | None:
    """Scores folders of images beside the real ones; under torchrun the work is shared out.

    Args:
        detector: (config, checkpoint), mmdet's or ONNX.
        ann, real_images, methods, **settings: see :func:`detdiffusion.evaluation.yolo_score.evaluate`.
        out: folder of the results.
        cache: folder for what the detector found; default ``out/cache``.
        device, cfg_options: of the detector.

    Returns:
        The result; None on all processes but the first.

    Raises:
        UserError: anything wrong with the input.
    """
    check_names(methods, "--images")
    model = load_detector(*detector, Ranks.join().device(device), cfg_options)
    cache = Path(out) / "cache" if cache is None else cache
    return yolo_score.evaluate(model, ann, real_images, methods, cache=cache, **settings)
