"""Score generated images by a detector: AP of the prompted objects, beside the same on real images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/evaluate_fidelity.py --detector CONFIG CHECKPOINT \\
      --real data/miniscenes/val/instances.json --real-images data/miniscenes/val/images \\
      --synthetic easy=work_dirs/easy hard=work_dirs/hard --out work_dirs/score

Prints a table and writes OUT/fidelity.json. With sets named easy and hard it adds the paired bootstrap of
easy - hard.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--detector", nargs=2, required=True, metavar=("CONFIG", "CHECKPOINT"), help="mmdet detector"
    )
    parser.add_argument(
        "--real", required=True, metavar="ANN", help="COCO json of the layouts' source images"
    )
    parser.add_argument("--real-images", required=True, metavar="DIR", help="folder of the source images")
    parser.add_argument(
        "--synthetic", nargs="+", required=True, metavar="NAME=DIR", help="sets written by tools/generate.py"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for fidelity.json")
    parser.add_argument("--resamples", type=int, default=1000, help="of the paired bootstrap (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    parser.add_argument("--device", help="torch device (default: CUDA where available)")
    args = parser.parse_args()
    pairs = [item.split("=", 1) for item in args.synthetic]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        parser.error(f"--synthetic takes NAME=DIR, got {' '.join(args.synthetic)}")
    args.synthetic = dict(pairs)
    if len(args.synthetic) != len(pairs) or "real" in args.synthetic:
        parser.error("--synthetic: every name once, and none of them 'real'")
    if args.resamples < 1:
        parser.error("--resamples must be at least 1")
    return args


def main() -> None:
    args = parse_args()
    import json

    from detdiffusion.evaluation import fidelity
    from detdiffusion.evaluation.frechet import FeatureStatistics, frechet_distance
    from detdiffusion.perception.detector import MMDetDetector

    config, checkpoint = args.detector
    detector = MMDetDetector(config, checkpoint, args.device)
    bound, sets, notes = fidelity.load_sets(args.real, args.real_images, args.synthetic, detector.classes)
    classes = {c["name"]: c["id"] for c in bound.prompted["categories"]}

    scores, predictions, statistics = {}, {}, {}
    name = f"{Path(config).stem}: last backbone stage, mean over positions"
    for one in (bound, *sets):
        predictions[one.name], features = fidelity.detect(detector, one, classes)
        scores[one.name] = fidelity.score_set(one, predictions[one.name])
        statistics[one.name] = FeatureStatistics.fit(features, f"{name}, {features.shape[1]} values")
    reference = statistics["real"]
    for one in sets:
        scores[one.name]["frechet"] = frechet_distance(reference, statistics[one.name])
    smallest = min(s.count for s in statistics.values())
    if smallest <= len(reference.mean):
        notes.append(
            f"Fréchet distance: only {smallest} images for {len(reference.mean)} features; compare such "
            "values only with each other"
        )

    bootstrap = {}
    by_name = {one.name: one for one in sets}
    if {"easy", "hard"} <= by_name.keys():
        bootstrap["easy - hard"] = fidelity.compare_sets(
            by_name["easy"],
            predictions["easy"],
            by_name["hard"],
            predictions["hard"],
            resamples=args.resamples,
            seed=args.seed,
        ).to_dict()

    result = {
        "protocol": {
            "detector": {
                "config": str(config),
                "checkpoint": str(checkpoint),
                "classes": list(detector.classes),
            },
            "real": str(args.real),
            "synthetic": args.synthetic,
            "scored_classes": list(classes),
            "bbox_mAP": "COCO AP of the prompted objects; other objects of a real image are ignored regions",
            "bbox_mAP_full": "COCO AP against every object of the source image, boxes scaled to the image",
            "frechet_features": reference.features,
            "frechet_reference": f"the {reference.count} real images of the same layouts",
        },
        "sets": scores,
        "bootstrap": bootstrap,
        "notes": notes,
    }
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "fidelity.json").write_text(json.dumps(result, indent=2) + "\n")
    print_table(result)
    print(f"written: {out / 'fidelity.json'}")


def print_table(result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Detector AP on the prompted objects, in percent")
    for column in ("set", "layouts", "images", "objects", "AP", "AP50", "AP75", "AP full GT", "Fréchet"):
        table.add_column(column, justify="left" if column == "set" else "right")
    for name, row in result["sets"].items():
        ap = [
            f"{100 * row[k]:.1f}" if row[k] >= 0 else "–"
            for k in ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_full")
        ]
        counts = [str(row[k]) for k in ("layouts", "images", "objects")]
        table.add_row(name, *counts, *ap, f"{row['frechet']:.3f}" if "frechet" in row else "–")
    console = Console()
    console.print(table)
    for name, row in result["bootstrap"].items():
        console.print(
            f"{name}: {100 * row['difference']:+.1f} AP, {row['level']:.0%} interval "
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] "
            f"(paired bootstrap, {row['layouts']} layouts, {row['resamples']} resamples, seed {row['seed']})",
            markup=False,
        )
    for key in ("bbox_mAP", "bbox_mAP_full", "frechet_features"):
        console.print(f"{key}: {result['protocol'][key]}", markup=False, style="dim")
    for note in result["notes"]:
        console.print(f"note: {note}", markup=False)


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main)
