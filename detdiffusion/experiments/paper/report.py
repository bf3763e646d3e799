"""The scoreboard of the paper in miniature, from result files alone."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

from detdiffusion.utils.files import write_atomic

from .claims import CLAIMS, quantities
from .jobs import STRATEGIES, SeedJobs
from .run import ResultFolder
from .scales import Job
from .verdicts import LEVEL, MIN_SEEDS, judge

RULE = (
    f"A comparison holds if its mean difference over seeds is positive and the one-sided paired t test gives "
    f"p < {LEVEL}; it does not hold if the mean is zero or negative; else it is undecided. A claim of several "
    f"comparisons holds if each does, and does not if one does not. “≥” asks of the means alone. Below "
    f"{MIN_SEEDS} complete seeds everything is undecided. With n = 3 the t test has two degrees of freedom, and "
    "the exact Wilcoxon test cannot go below p = 0.125 (n = 5: 0.031). Verdicts are not corrected for their "
    f"number: of {len(CLAIMS)} claims without any effect at least one would hold by chance in up to "
    f"{1 - (1 - LEVEL) ** len(CLAIMS):.0%} of all scoreboards."
)


def scoreboard(jobs: Sequence[Job], results: ResultFolder, command: str) -> dict:
    """All claims, judged by the result files that are there.

    Args:
        jobs: every job of every seed.
        results: their folder.
        command: that does the work, with ``--only {claims}`` for a part of it.

    Returns:
        ``claims`` (see :func:`detdiffusion.experiments.paper.verdicts.judge`; those that want seeds with their command,
        ``continue``), ``continue`` for all of these together, ``command`` that does it all, ``values`` seed ->
        quantity -> value, ``cost``, ``machines``, ``settings``, ``notes``.
    """
    found: dict[int, dict[str, dict]] = {job.seed: {} for job in jobs}
    for job in jobs:
        if (result := results.read(job)) is not None:
            found[job.seed][job.name] = result
    values = {
        seed: quantities({name: result["figures"] for name, result in done.items()})
        for seed, done in found.items()
    }
    claims = [judge(claim, values) for claim in CLAIMS]
    missing = [row for row in claims if row["n"] < MIN_SEEDS]
    for row in missing:
        row["continue"] = command.format(claims=row["claim"])
    every = [result for done in found.values() for result in done.values()]
    return dict(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seeds=sorted(found),
        rule=RULE,
        claims=claims,
        **{"continue": command.format(claims=",".join(row["claim"] for row in missing)) if missing else None},
        command=command.replace(" --only {claims}", ""),
        values=values,
        results=len(every),
        jobs=len(jobs),
        cost=_cost(jobs, found),
        machines=_distinct(result["machine"] for result in every),
        versions=_distinct(result["versions"] for result in every),
        settings=_settings(every),
        notes=_notes(found, results),
    )


def _cost(jobs: Sequence[Job], found: Mapping[int, Mapping[str, dict]]) -> dict:
    """Minutes, wall clock and processor, of each step in the mean over seeds, summed by job and for a whole seed."""
    steps: dict[str, tuple[list[float], list[float]]] = {}
    for done in found.values():
        wall: dict[str, float] = {}
        processor: dict[str, float] = {}
        for result in done.values():
            wall |= result["seconds"]
            processor |= {k: v for k, v in result["processor_seconds"].items() if v is not None}
        for name, seconds in wall.items():
            steps.setdefault(name, ([], []))[0].append(seconds)
        for name, seconds in processor.items():
            steps[name][1].append(seconds)
    means = {name: tuple(statistics.fmean(v) if v else None for v in pair) for name, pair in steps.items()}
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(job.name, job)
    rows, owned = {}, set()
    for name, job in first.items():
        own = [step.name for step in job.steps]
        owned |= set(own)
        if own:
            rows[name] = _sum(own, means)
    shared = {step.name for job in first.values() for step in job.chain} - owned
    rows["synthetic training sets"] = _sum(sorted(shared), means)
    whole = [row for row in rows.values() if row["wall"] is not None]
    complete = len(whole) == len(rows)
    total = dict(
        wall=sum(row["wall"] for row in whole) if complete else None,
        processor=sum(row["processor"] for row in whole)
        if complete and all(row["processor"] is not None for row in whole)
        else None,
    )
    return dict(jobs=rows, seed=total)


def _sum(names: Sequence[str], means: Mapping[str, tuple]) -> dict:
    """Minutes of some steps; None as long as one of them is not measured."""
    result = {}
    for index, kind in enumerate(("wall", "processor")):
        parts = [means.get(name, (None, None))[index] for name in names]
        result[kind] = None if not parts or None in parts else sum(parts) / 60
    return result


def _settings(every: Sequence[dict]) -> dict:
    """The facts that all results share, in one dict; those of single arms are in the files."""
    merged: dict = {}
    for result in every:
        for key, value in result["facts"].items():
            merged.setdefault(key, set()).add(json.dumps(value, sort_keys=True))
    own = {"seed", "arm", "configs", "data", "trained"}
    return {
        key: json.loads(next(iter(values)))
        for key, values in sorted(merged.items())
        if len(values) == 1 and key not in own
    }


def _notes(found: Mapping[int, Mapping[str, dict]], results: ResultFolder) -> list[str]:
    notes = []
    for seed, done in sorted(found.items()):
        bounds = {
            name: result["figures"]["sets"]["real"]["bbox_mAP"]
            for name, result in done.items()
            if "sets" in result["figures"]
        }
        if len(set(bounds.values())) > 1:
            listed = ", ".join(f"{name} {100 * value:.2f}" for name, value in bounds.items())
            notes.append(
                f"seed {seed}: arms were scored by detectors that differ (AP on real images: {listed})"
            )
        if len({result.get("code") for result in done.values()}) > 1:
            notes.append(
                f"seed {seed}: not all results are of the same state of the code (`code` in the files)"
            )
    if results.frozen:
        notes.append(
            f"{len(results.frozen)} results are records of commit {results.commit[:7]}, with the configs that it has"
        )
    for path in sorted(results.stale):
        notes.append(f"{path.parent.name}/{path.name} was made with other settings and is left out")
    validity = [r["figures"]["validity"] for done in found.values() if (r := done.get("factors"))]
    for measure in validity[0] if validity else ():
        known = [row[measure] for row in validity if row[measure] is not None]
        if known:
            notes.append(
                f"M2's measure of {measure}: rank correlation {statistics.fmean(known):+.2f} with the hidden "
                "factor on the real images"
            )
    return notes


def _distinct(items) -> list:
    return [json.loads(text) for text in sorted({json.dumps(item, sort_keys=True) for item in items})]


def write_scoreboard(board: dict, folder: Path) -> list[Path]:
    """Writes ``scoreboard.json``, ``.md``, ``.csv`` and ``.png`` into a folder."""
    files = {
        "json": json.dumps(board, indent=1, ensure_ascii=False).encode() + b"\n",
        "md": markdown(board).encode(),
        "csv": _csv(board).encode(),
    }
    from .plot import plot_differences

    if (picture := plot_differences(board)) is not None:
        files["png"] = picture
    paths = []
    for ending, data in files.items():
        paths.append(folder / f"scoreboard.{ending}")
        write_atomic(paths[-1], data)
    return paths


def write_strategies(seeds: Sequence[SeedJobs], folder: Path, layouts: int = 4) -> list[Path]:
    """``strategies.png``: the first layouts of the first seed whose images are there, real, easy, origin and hard.

    Returns:
        The file, or nothing where no seed's images are there; an earlier file stays as it is.
    """
    for seed in seeds:
        sets = {strategy: seed.synthetic("detdiffusion", "val", strategy) for strategy in STRATEGIES}
        if all((path / "annotations.json").is_file() for path in sets.values()):
            from detdiffusion.visualization.grids import contact_sheet, side_by_side

            things = seed.make.annotations("val")[0]
            picture = BytesIO()
            contact_sheet(side_by_side(things, seed.data_dir / "val" / "images", sets, layouts)).save(
                picture, "png", optimize=True
            )
            write_atomic(folder / "strategies.png", picture.getvalue())
            return [folder / "strategies.png"]
    return []


def markdown(board: dict) -> str:
    """The scoreboard as Markdown: claims, rule, comparisons, cost, notes."""
    lines = [
        "# The paper in miniature",
        "",
        f"{board['results']} of {board['jobs']} jobs, seeds {', '.join(map(str, board['seeds']))}, "
        f"{board['date'][:10]}. AP in percent; mean ± sample deviation over seeds; p is the largest of a claim's.",
        "",
        "| claim | paper | here | n | p | verdict |",
        "|---|---|---|---|---|---|",
        *(_claim_line(row) for row in board["claims"]),
        "",
        board["rule"],
    ]
    reasons = [row for row in board["claims"] if row["reason"] and "continue" not in row]
    lines += ["", *(f"- {row['claim']}: {row['reason']}." for row in reasons)] if reasons else []
    if board["continue"]:
        lines += ["", f"To go on where seeds are missing: `{board['continue']}`"]
    lines += ["", "| comparison | paper | here | difference | n | p |", "|---|---|---|---|---|---|"]
    for row in board["claims"]:
        lines += [_comparison_line(row, one) for one in row["comparisons"] if one["n"]]
    lines += ["", "| minutes a seed | wall clock | processor |", "|---|---|---|"]
    for name, cost in [*board["cost"]["jobs"].items(), ("**a full seed**", board["cost"]["seed"])]:
        lines.append(f"| {name} | {_minutes(cost['wall'])} | {_minutes(cost['processor'])} |")
    if board["notes"]:
        lines += ["", *(f"- {note}" for note in board["notes"])]
    for machine in board["machines"]:
        gpus = ", ".join(machine["gpus"]) or "no GPU"
        lines += ["", f"Machine: {machine['processor']}, {machine['cores']} cores, {gpus}, "]
        lines[-1] += (
            f"{machine['threads']} thread{'s' * (machine['threads'] != 1)} a job. Command: `{board['command']}`"
        )
    settings = ", ".join(f"{key} {_short(value)}" for key, value in board["settings"].items())
    lines += ["", f"Settings, the same for all arms: {settings}."] if settings else []
    return "\n".join(lines) + "\n"


def _claim_line(row: dict) -> str:
    """Every quantity once, in the order of the comparisons."""
    here: dict[str, str] = {}
    paper: dict[str, str] = {}
    for one in row["comparisons"]:
        if one["role"] == "note":
            continue
        for side, published in zip(("higher", "lower"), one["paper"] or (None, None)):
            name = one[side]["quantity"]
            if isinstance(name, str):
                here.setdefault(name, _spread(one[side], *row["unit"]))
                paper.setdefault(name, "–" if published is None else str(published))
    known = any(value != "–" for value in paper.values())
    values = "<br>".join(f"{name} {value}" for name, value in here.items())
    published = "<br>".join(f"{name} {value}" for name, value in paper.items()) if known else "–"
    verdict = row["verdict"] if row["n"] >= MIN_SEEDS else f"undecided, n = {row['n']}"
    head = f"**{row['claim']}** {row['statement']} ({row['source']})"
    return f"| {head} | {published} | {values} | {row['n']} | {_p(row['p'])} | **{verdict}** |"


def _comparison_line(row: dict, one: dict) -> str:
    sign = {"test": ">", "order": "≥", "note": ">"}[one["role"]]
    higher, lower = one["higher"], one["lower"]
    name = f"{row['claim']} {higher['quantity']} {sign} {lower['quantity']}"
    name += " (beside the claim)" if one["role"] == "note" else ""
    paper = f"{one['paper'][0]} {sign} {one['paper'][1]}" if one["paper"] else "–"
    sides = [_spread(side, *row["unit"]) for side in (higher, lower) if isinstance(side["quantity"], str)]
    difference = _spread(one["difference"], *row["unit"], "+")
    return f"| {name} | {paper} | {', '.join(sides)} | {difference} | {one['n']} | {_p(one['p'])} |"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _spread(value: dict, factor: float, digits: int, sign: str = "") -> str:
    if value["mean"] is None:
        return "–"
    deviation = "" if value["std"] is None else f" ± {factor * value['std']:.{digits}f}"
    return f"{factor * value['mean']:{sign}.{digits}f}{deviation}"


def _minutes(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)


def _csv(board: dict) -> str:
    """One line a comparison."""
    text = io.StringIO()
    fields = ["claim", "verdict", "role", "higher", "lower", "n", "mean_higher", "std_higher", "mean_lower"]
    fields += [
        "std_lower",
        "mean_difference",
        "std_difference",
        "p",
        "p_wilcoxon",
        "paper_higher",
        "paper_lower",
    ]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for row in board["claims"]:
        for one in row["comparisons"]:
            spreads = [
                one[side][kind] for side in ("higher", "lower", "difference") for kind in ("mean", "std")
            ]
            names = [one[side]["quantity"] for side in ("higher", "lower")]
            head = [row["claim"], one["verdict"], one["role"], *names, one["n"]]
            writer.writerow([*head, *spreads, one["p"], one["p_wilcoxon"], *(one["paper"] or (None, None))])
    return text.getvalue()
