"""Summary of the demo's results: ``summary.json`` and the printed tables."""

from __future__ import annotations

from functools import partial

from detdiffusion.experiments.common_steps import AUTOENCODER
from detdiffusion.utils.cli import table_console
from detdiffusion.utils.machine import machine_facts, package_versions
from detdiffusion.utils.steps import read_result
from detdiffusion.visualization.reports.fidelity import percent

from .pipeline import DETECTOR, STRATEGIES, Demo

_read = partial(read_result, rerun="the demo")


def summarise(demo: Demo, seconds: dict[str, float], threads: int) -> dict:
    """Build the content of ``summary.json``.

    Args:
        demo: a demo with all steps finished.
        seconds: duration by name of the step.
        threads: ``OMP_NUM_THREADS`` of the steps.

    Returns:
        ``fidelity.{real,autoencoder,easy,origin,hard}`` and ``trainability.{real_only,real_plus_hard}`` with
        ``bbox_mAP`` and more, ``bootstrap`` (easy - hard), ``frechet`` distances with a description of the features,
        counts of ``attributes``, ``checks``, ``seconds`` per step and in total, ``seeds``, ``versions``, ``settings``.

    Raises:
        UserError: a result file is missing or damaged.
    """
    score = _read(demo.fidelity / "fidelity.json")
    rows = {row["name"]: row for row in _read(demo.comparison / "comparison.json")["rows"]}
    kept = (
        "bbox_mAP",
        "bbox_mAP_50",
        "bbox_mAP_75",
        "bbox_mAP_full",
        "images",
        "layouts",
        "objects",
        "frechet",
    )
    fidelity = {
        name: {key: score["sets"][name][key] for key in kept if key in score["sets"][name]}
        for name in ("real", AUTOENCODER, *STRATEGIES)
    }
    kept = ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "iterations")
    trainability = {name: {key: rows[name][key] for key in kept} for name in demo.arms}
    hard_set = _read(demo.synthetic("train", "hard") / "annotations.json")
    trainability["real_plus_hard"]["synthetic_images"] = len(hard_set["images"])
    bootstrap = score["bootstrap"]
    return dict(
        fidelity=fidelity,
        trainability=trainability,
        bootstrap=bootstrap,
        frechet=dict(
            {name: fidelity[name]["frechet"] for name in STRATEGIES},
            features=score["protocol"]["frechet_features"],
            reference=score["protocol"]["frechet_reference"],
        ),
        attributes={
            split: _read(demo.attributes(split))["info"]["summary"]["all"]["all"]
            for split in ("train", "val")
        },
        checks=_checks(fidelity, bootstrap["easy - hard"]),
        seconds={
            **{name: round(value, 1) for name, value in seconds.items()},
            "total": round(sum(seconds.values()), 1),
        },
        seeds=dict(data=demo.seed, training=demo.seed, noise=demo.seed, bootstrap=demo.seed),
        versions=package_versions(),
        machine=machine_facts(threads),
        detector=DETECTOR,
        trained_from_nothing=demo.full,
        settings=demo.settings.to_dict(),
        notes=score["notes"],
    )


def _checks(fidelity: dict, difference: dict) -> list[dict]:
    """Return the expected properties of the results, with their values and whether they hold."""
    real, easy = fidelity["real"]["bbox_mAP"], fidelity["easy"]["bbox_mAP"]
    layouts = fidelity["real"]["layouts"]
    return [
        dict(name="held-out layouts, at least 200", value=layouts, holds=layouts >= 200),
        dict(name="AP on the real images, at least 0.5", value=real, holds=real >= 0.5),
        dict(
            name="AP on easy as a share of AP on real, at least 0.5",
            value=round(easy / real, 3) if real > 0 else None,
            holds=real > 0 and easy >= 0.5 * real,
        ),
        dict(
            name="lower end of the interval of easy - hard, above 0",
            value=difference["low"],
            holds=difference["low"] > 0,
        ),
    ]


def print_summary(summary: dict) -> None:
    """Print the results as tables."""
    from rich.table import Table

    console = table_console()
    table = Table(title="Detector AP on the prompted objects of held-out layouts (percent)")
    for column in ("images", "layouts", "AP", "AP50", "AP75", "Fréchet"):
        table.add_column(column, justify="left" if column == "images" else "right")
    for name, row in summary["fidelity"].items():
        scores = [percent(row[key]) for key in ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75")]
        table.add_row(name, str(row["layouts"]), *scores, distance(name, row))
    console.print(table)
    for line in statements(summary):
        console.print(line, markup=False, highlight=False)
    table = Table(title="AP of a detector trained at equal iterations, on the real held-out images (percent)")
    for column in ("training images", "iterations", "AP", "AP50", "AP75"):
        table.add_column(column, justify="left" if column == "training images" else "right")
    for name, row in summary["trainability"].items():
        scores = [percent(row[key]) for key in ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75")]
        table.add_row(name.replace("_", " "), ", ".join(map(str, row["iterations"])), *scores)
    console.print(table)
    for check in summary["checks"]:
        value = f"{check['value']:.3g}" if isinstance(check["value"], float) else str(check["value"])
        word = "holds" if check["holds"] else "DOES NOT HOLD"
        console.print(f"{word:>13}: {check['name']}: {value}", markup=False, highlight=False)


def statements(summary: dict) -> list[str]:
    """Return lines that describe the comparison of easy and hard, and the Fréchet distance."""
    lines = []
    for name, row in summary["bootstrap"].items():
        lines.append(
            f"{name}: {100 * row['difference']:+.1f} AP, {row['level']:.0%} interval "
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] (paired bootstrap over "
            f"{row['layouts']} layouts, {row['resamples']} resamples, seed {row['seed']})"
        )
    frechet = summary["frechet"]
    lines.append(f"Fréchet distance: {frechet['features']}; reference: {frechet['reference']}")
    return lines


def distance(name: str, row: dict) -> str:
    """Format a set's Fréchet distance; – for the real images, whose distance between halves is not comparable."""
    return "–" if name == "real" or "frechet" not in row else f"{row['frechet']:.3f}"
