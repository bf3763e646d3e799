"""The demo's report page and contact sheet."""

from __future__ import annotations

from pathlib import Path

from detdiffusion.visualization.curves import loss_charts
from detdiffusion.visualization.grids import contact_sheet, side_by_side
from detdiffusion.visualization.report import table, write_report
from detdiffusion.visualization.reports.fidelity import percent

from .pipeline import STRATEGIES, ZOO_MODELS, Demo
from .summary import distance, statements

_AP = ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75")


def write_demo_report(demo: Demo, summary: dict, layouts: int = 12) -> Path:
    """Write ``report.html`` and ``scenes.png`` (the same pictures) to the demo's folder.

    Args:
        demo: a demo with all steps finished.
        summary: result of :func:`.summary.summarise`.
        layouts: maximum number of layouts to show.

    Returns:
        The path of the page.
    """
    sets = {strategy: demo.synthetic("val", strategy) for strategy in STRATEGIES}
    rows = side_by_side(demo.annotations("val")[0], demo.data / "val" / "images", sets, layouts)
    contact_sheet(rows).save(demo.dir / "scenes.png", optimize=True)
    folders = {"attribute detector": demo.detector, "generator": demo.generator}
    folders.update({f"detector, {name.replace('_', ' ')}": folder for name, folder in demo.arms.items()})
    if demo.full:
        training = {f"zoo: {n}": demo.dir / "zoo" / f"{n}_training" for n in ZOO_MODELS}
        folders = {**training, **folders}
    path = demo.dir / "report.html"
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items() if version)
    intro = [
        "A detector marked which objects of MiniScenes it finds (easy) and which not (hard); a layout-to-image "
        "generator was fine-tuned on these attributes; the detector then looked for the prompted objects in "
        "the images generated for held-out layouts.",
        f"{summary['seconds']['total'] / 60:.1f} minutes with {summary['machine']['threads']} threads; "
        f"seed {summary['seeds']['data']}; {versions}.",
    ]
    results, settings = _tables(summary)
    write_report(
        path,
        "DetDiffusion on MiniScenes",
        intro,
        results,
        summary["checks"],
        rows,
        loss_charts(folders),
        headline=statements(summary)[0],
        settings=settings,
    )
    return path


def _tables(summary: dict) -> tuple[list[dict], list[dict]]:
    """Return the tables of the results, and those of the settings."""
    fidelity = [
        [name, row["layouts"], row["objects"], *(percent(row[key]) for key in _AP)]
        + [percent(row["bbox_mAP_full"]), distance(name, row)]
        for name, row in summary["fidelity"].items()
    ]
    trainability = [
        [name.replace("_", " "), ", ".join(map(str, row["iterations"])), *(percent(row[key]) for key in _AP)]
        for name, row in summary["trainability"].items()
    ]
    words = ("easy", "hard", "background")
    results = [
        table(
            "Detector AP on the prompted objects (percent)",
            ("images", "layouts", "objects", "AP", "AP50", "AP75", "AP, all objects", "Fréchet"),
            fidelity,
            [*statements(summary), *summary["notes"]],
        ),
        table(
            "AP of a detector trained at equal iterations, on real held-out images (percent)",
            ("training images", "iterations", "AP", "AP50", "AP75"),
            trainability,
            ["One seed an arm: differences below about one AP are within seed noise."],
        ),
        table(
            "Attributes of the real objects",
            ("split", *words),
            [[split, *(row[word] for word in words)] for split, row in summary["attributes"].items()],
        ),
    ]
    seconds = [[k, f"{v:.1f}"] for k, v in summary["seconds"].items()]
    return results, [
        table("Seconds", ("step", "seconds"), seconds),
        table("Settings", ("setting", "value"), list(summary["settings"].items())),
    ]
