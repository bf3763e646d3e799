"""Files of the scoreboard of the paper in miniature: json, Markdown, csv and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from detdiffusion.utils.files import write_atomic

from .arms import STRATEGIES
from .jobs import SeedJobs
from .verdicts import BESIDE, EQUAL, MIN_SEEDS


def write_scoreboard(board: dict, folder: Path) -> list[Path]:
    """Write ``scoreboard.json``, ``.md``, ``.csv`` and ``.png`` to a folder."""
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
    """Write ``strategies.png``: real, easy, origin and hard images of the first layouts of the first available seed.

    Returns:
        The file, or an empty list if the images of no seed are available; an existing file is then kept.
    """
    for seed in seeds:
        sets = {strategy: seed.synthetic("detdiffusion", "val", strategy) for strategy in STRATEGIES}
        if all((path / "annotations.json").is_file() for path in sets.values()):
            from detdiffusion.visualization.grids import contact_sheet, side_by_side

            things = seed.make.annotations("val")[0]
            picture = io.BytesIO()
            contact_sheet(side_by_side(things, seed.data_dir / "val" / "images", sets, layouts)).save(
                picture, "png", optimize=True
            )
            write_atomic(folder / "strategies.png", picture.getvalue())
            return [folder / "strategies.png"]
    return []


def markdown(board: dict) -> str:
    """Format the scoreboard as Markdown: equal iterations, claims, rule, comparisons, cost, notes."""
    compared = [(row, one) for row in board["claims"] for one in row["comparisons"] if one["n"]]
    equal = [pair for pair in compared if pair[1]["role"] == EQUAL]
    others = [pair for pair in compared if pair[1]["role"] != EQUAL]
    lines = [
        "# The paper in miniature",
        "",
        f"{board['results']} of {board['jobs']} jobs, seeds {', '.join(map(str, board['seeds']))}, "
        f"{board['date'][:10]}. AP in percent; mean ± sample deviation over seeds; p is one-sided, "
        "that of a claim its largest.",
        "",
        *(_comparison_lines(equal, "at equal iterations") if equal else ()),
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
    lines += ["", *_comparison_lines(others, "comparison")]
    lines += ["| minutes a seed | wall clock | processor |", "|---|---|---|"]
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
    """Format a claim; every quantity is listed once, in the order of the comparisons."""
    here: dict[str, str] = {}
    paper: dict[str, str] = {}
    for one in row["comparisons"]:
        if one["role"] in BESIDE:
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


def _comparison_lines(compared: Sequence[tuple[dict, dict]], title: str) -> list[str]:
    """Format comparisons, each with its claim, as a table."""
    head = [f"| {title} | paper | here | difference | n | p |", "|---|---|---|---|---|---|"]
    return [*head, *(_comparison_line(row, one) for row, one in compared), ""]


def _comparison_line(row: dict, one: dict) -> str:
    sign = "≥" if one["role"] == "order" else ">"
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
    """Format all comparisons as CSV, one per line."""
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
