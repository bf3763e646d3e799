"""The records of the paper in miniature: those of the present configs and weights, and frozen ones of earlier ones."""

import json
from pathlib import Path

import pytest
from pages import RESULTS

from detdiffusion.experiments.paper.jobs import SeedJobs, ordered_jobs
from detdiffusion.experiments.paper.report import markdown
from detdiffusion.experiments.paper.run import ResultFolder, run_jobs
from detdiffusion.experiments.paper.scales import SCALES
from detdiffusion.experiments.paper.scoreboard import scoreboard
from detdiffusion.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FROZEN = RESULTS / "miniature_zoo2"


def seed_jobs(work, seeds=(1, 2, 3), scale="cpu"):
    return [SeedJobs(ROOT, work / str(seed), SCALES[scale], seed) for seed in seeds]


def verdicts(board):
    return {row["claim"]: (row["n"], row["p"], row["verdict"]) for row in board["claims"]}


@pytest.mark.parametrize("folder", [RESULTS / "miniature", FROZEN], ids=lambda path: path.name)
def test_the_scoreboard_is_that_of_the_result_files(folder, tmp_path):
    """If configs or weights change what a job is, its records have to be made anew or frozen with their commit."""
    results = ResultFolder(folder)
    board = scoreboard(ordered_jobs(seed_jobs(tmp_path, results.seeds())), results, "run --only {claims}")
    files = [path for seed in results.seeds() for path in (folder / str(seed)).glob("*.json")]
    assert not results.stale and board["results"] == len(files)
    written = json.loads((folder / "scoreboard.json").read_text())
    assert verdicts(board) == verdicts(written)
    if folder != FROZEN:  # whose files are those of its commit
        assert board["settings"] == written["settings"] and not results.frozen
        assert (folder / "scoreboard.md").read_text() == markdown(written)


def test_records_of_earlier_configs_and_weights_are_frozen(tmp_path):
    """They are drawn, with their commit, and cannot be continued."""
    cpu = seed_jobs(tmp_path / "w")
    results = ResultFolder(FROZEN)
    board = scoreboard(ordered_jobs(cpu), results, "run --only {claims}")
    assert board["results"] == len(results.frozen) == 78
    assert any(f"78 results are records of commit {results.commit[:7]}" in note for note in board["notes"])
    known = {path.stem for path in (FROZEN / "1").glob("*.json")}
    assert run_jobs(ROOT, ordered_jobs(cpu, known), lambda _: tmp_path / "w", results, 1)
    further = ordered_jobs(seed_jobs(tmp_path / "w", [4]))
    with pytest.raises(
        UserError, match=f"{FROZEN}: records of commit d3ed8c4, .* another folder by --results"
    ):
        run_jobs(ROOT, further, lambda _: tmp_path / "w", results, 1)
    assert not (FROZEN / "4").exists() and not (tmp_path / "w").exists()


def test_a_frozen_record_is_one_that_is_listed_unchanged_and_of_the_jobs_sizes(tmp_path):
    [smoke], [cpu] = (seed_jobs(tmp_path, [1], scale) for scale in ("smoke", "cpu"))
    assert ResultFolder(FROZEN).read(smoke.jobs()["attr"]) is None
    copy = tmp_path / "1/attr.json"
    copy.parent.mkdir()
    record = json.loads((FROZEN / "1/attr.json").read_text())
    copy.write_text(json.dumps(record))
    assert ResultFolder(tmp_path).read(cpu.jobs()["attr"]) is None
    (tmp_path / "frozen.json").write_text(json.dumps(dict(commit="abc", keys=[record["key"]])))
    assert ResultFolder(tmp_path).read(cpu.jobs()["attr"]) == record
    record["facts"]["guidance_scale"] = 3.4
    copy.write_text(json.dumps(record))
    assert ResultFolder(tmp_path).read(cpu.jobs()["attr"]) is None
    (tmp_path / "frozen.json").write_text("[]")
    with pytest.raises(UserError, match="frozen.json: it must have a commit and a list of keys"):
        ResultFolder(tmp_path)
