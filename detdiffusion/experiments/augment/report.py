"""The report of a run: ``OUT/report.html`` and ``OUT/summary.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from PIL import Image

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.image_reading import read_rgb
from detdiffusion.experiments.common_steps import GATED
from detdiffusion.generation.gate_options import IGNORE
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.machine import machine_facts, package_versions
from detdiffusion.utils.steps import read_result
from detdiffusion.visualization.curves import loss_charts
from detdiffusion.visualization.grids import side_by_side
from detdiffusion.visualization.overlays import DrawnObject, draw_objects
from detdiffusion.visualization.report import Gallery, table, write_report
from detdiffusion.visualization.reports.fidelity import fidelity_table, percent

from .arms import in_round
from .drawing import what_to_expect
from .run_folder import HELD_OUT_SETS, RunFolder
from .verdict import Verdict, judge

LAYOUTS = 12
WORST = 10
WIDTH = 256
FOUND, MISSED, MOVED = (60, 200, 90), (240, 60, 60), (250, 170, 40)
_COLOURS = {"kept": FOUND, "moved": MOVED, "missed": MISSED}
_read = partial(read_result, rerun="tools/augment.py")


def write_answer(run: RunFolder, seconds: Mapping[str, float], threads: int) -> Verdict:
    """Judge the comparison, and write the report and the summary.

    Args:
        run: a run with all steps finished.
        seconds: duration by name of the step.
        threads: threads of the steps.

    Raises:
        UserError: a result is missing or damaged.
    """
    comparison, fidelity = _read(run.comparison / "comparison.json"), _read(run.fidelity / "fidelity.json")
    rows = {row["name"]: row for row in comparison["rows"]}
    differences = {name: [100 * d for d in rows[name]["paired_differences"]] for name in run.arms}
    verdict = judge(differences, fidelity["consistency"], run.arms, _tuning(run))
    copies = {name: _read(run.near_copies / name / "near_copies.json")["sets"][name] for name in run.sets}
    summary = dict(
        sentence=verdict.sentence,
        outcome=verdict.outcome,
        level=verdict.level,
        chosen=verdict.chosen,
        effects=[asdict(effect) for effect in verdict.effects],
        over_copy_paste=asdict(verdict.over_copy_paste) if verdict.over_copy_paste else None,
        differences=differences,
        not_drawn=[dict(zip(("class", "found", "prompted"), row)) for row in verdict.not_drawn],
        compared_on=run.test,
        seeds=run.seeds,
        autoencoder=run.autoencoder(),
        plan=asdict(run.plan),
        schedule=asdict(run.schedule),
        fidelity=fidelity["bootstrap"],
        near_copies=copies,
        budget=run.budget,
        parallel=run.options.parallel,
        missed=run.options.missed,
        seconds={name: round(value, 1) for name, value in seconds.items()},
        versions=package_versions(),
        machine=machine_facts(threads),
    )
    write_atomic(run.dir / "summary.json", json.dumps(summary, indent=1).encode() + b"\n")
    gates = {
        name: _read((run.synthetic(name) / GATED).with_suffix(".report.json"))["all"] for name in run.sets
    }
    sets = {strategy: run.held_out(strategy) for strategy in HELD_OUT_SETS}
    val = run.splits["val"]
    write_report(
        run.dir / "report.html",
        "Do synthetic images help?",
        _intro(run, verdict, seconds),
        [
            _effects(run, verdict, rows),
            _scores(fidelity),
            classes_found(fidelity),
            _gates(gates, run.options.missed),
            near_copies(copies),
        ],
        scenes=side_by_side(val.annotations[0], val.images, sets, LAYOUTS, WIDTH),
        charts=loss_charts(_work_dirs(run)),
        headline=verdict.sentence[:1].upper() + verdict.sentence[1:] + ".",
        galleries=[*_autoencoder_pictures(run), *(worst_images(run.synthetic(n), n) for n in run.sets)],
        settings=_settings(run, seconds),
    )
    return verdict


def _tuning(run: RunFolder) -> dict[str, list[float]]:
    """Return the AP of each arm's detectors on the tuning split; empty without one."""
    if not run.tuning:
        return {}
    return {
        name: [100 * _read(run.tuned(name, seed))["coco/bbox_mAP"] for seed in run.seeds] for name in run.arms
    }


def _intro(run: RunFolder, verdict: Verdict, seconds: Mapping[str, float]) -> list[str]:
    sizes = ", ".join(f"{name} {count}" for name, count in run.facts.images.items())
    held = f"for all {len(verdict.effects)} arms together "
    if verdict.chosen:
        held = f"for the arm {verdict.chosen}, which {run.tuning} chose, "
    pasted = "; copy-paste pastes objects of other real images into the real ones" if run.pasted else ""
    lines = [
        f"The same detector ({run.options.learner}) was trained on the real images, and on each of the other rows' "
        f"images, for equally many iterations, and tested on the real images of {run.test}. The share of generated "
        f"images in a batch falls from all to none unless a config was edited{pasted}. In brackets: the interval "
        f"that holds {held}with 95 % (Student's t over the seeds). The "
        "seed of the detector alone varies: all trainings share one generator, one drawing of each set "
        "and one set of "
        "test images, whose chance the interval does not hold.",
        f"{len(run.plan.classes)} classes; images: {sizes}. {minutes_in_all(run, seconds)}.",
    ]
    if len(run.rounds) > 1:
        lines.append(
            f"{len(run.rounds)} rounds: for the sets whose names end in a number, the generator was trained further, "
            "with attributes of learners that had seen images of the round before. The held-out layouts were drawn "
            "by the last generator; what is said not to be drawn, too, is of it."
        )
    if found := run.sources.warnings():
        page = (run.sources.checked / "check.html").relative_to(run.dir)
        lines.append(f"Warnings about the data (pictures in {page}): {'; '.join(found)}.")
    if found := run.autoencoder():
        lines.append(what_to_expect(found))
    if found := run.few_iters():
        lines.append(f"{found[:1].upper()}{found[1:]}.")
    if run.options.smoke:
        lines.append("A test of the steps at tiny sizes: every figure on this page is meaningless.")
    return lines


def minutes_in_all(run: RunFolder, seconds: Mapping[str, float]) -> str:
    """Return the sum of the minutes of all steps, in words."""
    at_once = f", {run.options.parallel} at a time" if run.options.parallel > 1 else ""
    return f"{sum(seconds.values()) / 60:.1f} minutes in all steps{at_once}"


def _effects(run: RunFolder, verdict: Verdict, rows: Mapping[str, Mapping]) -> dict:
    by_name = {effect.name: effect for effect in verdict.effects}
    cells = []
    for name, arm in run.trainings.items():
        row = rows[name]
        effect = str(by_name[name]) if name in by_name else "–"
        scores = [percent(row[key]) for key in ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75")]
        iterations = ", ".join(map(str, row["iterations"]))
        cells.append([arm.title, row["runs"], iterations, *scores, effect])
    return table(
        "The detector on real images alone, and in each arm (AP in percent)",
        ("training images", "seeds", "iterations", "AP", "AP50", "AP75", "difference"),
        cells,
    )


def _scores(fidelity: Mapping) -> dict:
    columns, rows = fidelity_table(fidelity)
    notes = [
        f"{name}: {100 * row['difference']:+.1f} AP, 95 % interval [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        ": above 0 means that the generator hears the attribute."
        for name, row in fidelity["bootstrap"].items()
    ]
    return table("What a detector finds on held-out layouts", columns, rows, notes)


def classes_found(fidelity: Mapping) -> dict:
    """Return the table of found objects by class, without classes that only detections have.

    Args:
        fidelity: content of ``fidelity.json``.
    """
    sets = fidelity["consistency"]["sets"]
    rows = []
    for name, bound in sets["real"]["by_class"].items():
        if not bound["objects"]:
            continue
        found = [one["by_class"].get(name) for one in sets.values()]
        shares = ["–" if row is None else f"{percent(row['found'])} of {row['objects']}" for row in found]
        rows.append([name, *shares])
    return table("Objects found, by class (percent)", ("class", *sets), rows)


def _gates(gates: Mapping[str, Mapping], missed: str) -> dict:
    words = ("kept", "moved", "missed", "extra")
    rows = [[name, *(counts.get(word, 0) for word in words)] for name, counts in gates.items()]
    notes = ["Missed objects are kept in training."]
    if missed == IGNORE:
        notes = [
            "Missed objects are ignored regions in training: neither shown as objects nor as background."
        ]
    return table(
        "Objects of the synthetic training sets, as a detector sees them", ("set", *words), rows, notes
    )


def near_copies(sets: Mapping[str, Mapping]) -> dict:
    """Return the table of the share of near copies of training images in each set.

    Args:
        sets: the rows of ``near_copies.json`` by set; features are missing where the detector gives none.
    """
    measures = ("pixels", "features")
    rows = []
    for name, row in sets.items():
        shares = (f"{percent(row[one]['share'])} %" if one in row else "–" for one in measures)
        rows.append([name, row["images"], *shares])
    notes = ["Real images that the generator has not seen would have about 5 %."]
    columns = ("set", "images", *(f"by {one}" for one in measures))
    return table("Near copies of training images in the synthetic training sets", columns, rows, notes)


def worst_images(folder: Path, name: str) -> Gallery:
    """Return the images of a checked set of whose objects the detector finds the smallest share."""
    file = read_coco(folder / GATED)
    objects: dict[int, list[dict]] = {image["id"]: [] for image in file.images}
    for annotation in file.annotations:
        if annotation.get("quality") in _COLOURS:
            objects[annotation["image_id"]].append(annotation)

    def share(image: dict) -> float:
        verdicts = [a["quality"] for a in objects[image["id"]]]
        return verdicts.count("kept") / len(verdicts)

    judged = sorted(
        (image for image in file.images if objects[image["id"]]), key=lambda i: (share(i), i["id"])
    )
    names = {category["id"]: category["name"] for category in file.categories}
    pictures = []
    for image in judged[:WORST]:
        found = sum(a["quality"] == "kept" for a in objects[image["id"]])
        missed = [names[a["category_id"]] for a in objects[image["id"]] if a["quality"] == "missed"]
        lost = f"; not found: {', '.join(dict.fromkeys(missed))}" if missed else ""
        drawn = [_box(a) for a in objects[image["id"]]]
        picture = read_rgb(folder / "images" / image["file_name"])
        shown = draw_objects(picture, drawn, WIDTH / picture.width, line=1)
        pictures.append((f"{found} of {len(drawn)} found{lost}", shown))
    note = "Green: found where it was prompted; orange: elsewhere; red: not found."
    return Gallery(f"The worst images of the {name} set", note, pictures)


def _box(annotation: Mapping) -> DrawnObject:
    x, y, w, h = annotation["bbox"]
    return DrawnObject((x, y, x + w, y + h), "", _COLOURS[annotation["quality"]])


def _autoencoder_pictures(run: RunFolder) -> list[Gallery]:
    if not run.autoencoder():
        return []
    folder, pictures = run.dir / "autoencoder", []
    for path in sorted((folder / "resized").glob("*.png"))[:4]:
        before, after = (Image.open(folder / kind / path.name) for kind in ("resized", "reconstructed"))
        both = Image.new("RGB", (2 * before.width + 4, before.height), "white")
        both.paste(before, (0, 0))
        both.paste(after, (before.width + 4, 0))
        pictures.append(("a photograph, and the same after the autoencoder", both))
    return [Gallery("What the autoencoder loses", "No generated image can show more.", pictures)]


def _work_dirs(run: RunFolder) -> dict[str, Path]:
    arms = {
        f"detector, {name}, seed {run.seeds[0]}": run.trained(name, run.seeds[0]) for name in run.trainings
    }
    generators = {in_round("generator", number): run.generator(number) for number in run.rounds}
    return {**generators, **arms}


def given_options(run: RunFolder) -> dict[str, object]:
    """Return the options of a run that have a value or are switched on."""
    chosen = {**asdict(run.options), "budget": run.budget}
    return {name: value for name, value in chosen.items() if value is not None and value is not False}


def _settings(run: RunFolder, seconds: Mapping[str, float]) -> list[dict]:
    return [
        table("Seconds", ("step", "seconds"), [[name, f"{value:.0f}"] for name, value in seconds.items()]),
        table(
            "Derived sizes",
            ("value", ""),
            [
                [name.replace("_", " "), _text(value)]
                for name, value in {**asdict(run.plan), **asdict(run.schedule)}.items()
            ],
            [f"Change them in {run.configs.folder}, and run the same command again."],
        ),
        table(
            "Options", ("option", ""), [[name, _text(value)] for name, value in given_options(run).items()]
        ),
        table("Versions", ("package", ""), [[k, v] for k, v in package_versions().items() if v]),
    ]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
