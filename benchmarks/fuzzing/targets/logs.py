"""``tools/compare_trainability.py`` on damaged logs."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..case import Case, Run
from ..json_damage import damage_value
from ..reading import is_number
from ..verdict import Account
from .target import KINDS, Target, damage_some


def damage_log(path: Path, rng) -> str:
    """Change one thing in one line of a log of json lines."""
    lines = path.read_text().split("\n")
    k = rng.choice([k for k, line in enumerate(lines) if line.strip()])
    entry = json.loads(lines[k])
    said = damage_value(entry, rng)
    lines[k] = json.dumps(entry)
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    return f"{path.name}, line {k + 1}: {said}"


KINDS["log"] = (damage_log, damage_log, damage_log, *KINDS["text"])


class CompareTrainability(Target):
    """Two work dirs of detector trainings."""

    name, tool = "compare_trainability", "compare_trainability.py"
    imports = ("detdiffusion.apis.trainability", "matplotlib.pyplot", "mmengine.config", "scipy.stats")

    def prepare(self, base: Path) -> None:
        for name, score in (("real", 0.30), ("hard", 0.35)):
            folder = base / name / "20260101_000000" / "vis_data"
            folder.mkdir(parents=True)
            lines = []
            for k in (1, 2):
                lines.append(dict(lr=0.001, loss=2.0 / k, iter=50 * k, step=50 * k))
                lines.append({
                    "coco/bbox_mAP": round(score - 0.1 / k, 3), "coco/bbox_mAP_50": 0.5, "coco/bbox_mAP_s": 0.1,
                    "coco/ball_precision": score, "coco/pine tree_precision": 0.2, "step": 50 * k,
                })  # fmt: skip
            (folder / "scalars.json").write_text("\n".join(map(json.dumps, lines)) + "\n")
            (folder / "config.py").write_text(
                "model = dict(type='mmdet.ATSS')\nrandomness = dict(seed=0)\n"
                "val_dataloader = dict(dataset=dict(ann_file='val.json'))\n"
            )

    def damage(self, case: Case) -> None:
        damage_some(case, {"log": ["*/*/vis_data/scalars.json"] * 4, "text": ["*/*/vis_data/config.py"]})

    def arguments(self, case: Case) -> list[str]:
        return [f"{name}={case.source / name}" for name in ("real", "hard")] + ["--out", str(case.out)]

    def judge(self, case: Case, run: Run) -> Account:
        """Check that each row has the last AP of its log, and that unreadable lines are reported."""
        account = Account(counted=sum(map(int, re.findall(r"(\d+) × line", run.output))))
        rows = {row["name"]: row for row in json.loads((case.out / "comparison.json").read_text())["rows"]}
        for name in ("real", "hard"):
            log = case.source / name / "20260101_000000/vis_data/scalars.json"
            entries, torn = read_log(log)
            scores = [e[k] for e in entries for k in e if k.endswith("/bbox_mAP") or k == "bbox_mAP"]
            if name not in rows:
                account.lose(f"run {name}", name)
                continue
            if not scores or not is_number(scores[-1]):
                account.wrong.append(f"{name}: has a row, though its last bbox_mAP is {scores[-1:]}")
            elif rows[name]["bbox_mAP"] is None or abs(rows[name]["bbox_mAP"] - scores[-1]) > 1e-9:
                account.wrong.append(f"{name}: {rows[name]['bbox_mAP']} in place of {scores[-1]}")
            for line in torn:
                account.lose(f"line {line} of {name}")
        return account


def read_log(path: Path) -> tuple[list[dict], list[int]]:
    """Return the entries of a log, and the numbers of lines before the last that are not json objects."""
    entries, torn = [], []
    lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n") if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            entries.append(entry)
        elif line.strip("\0 \r\t") and any(rest.strip("\0 \r\n") for rest in lines[number:]):
            torn.append(number)
    return entries, torn
