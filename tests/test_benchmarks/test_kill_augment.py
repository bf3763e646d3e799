"""The comparison of a killed run with an undisturbed one: times and logs do not count, all else does."""

import json
import shutil
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CACHES = "synthetic/hard/annotations_gated.predictions"


def write_run(folder, seconds=1.0, weight=0.5, box=3, key="a1", found="2 boxes"):
    """The kinds of files of a run."""
    for name in ("stamps", "logs", "generator/20261126_010203", "attributes"):
        (folder / name).mkdir(parents=True)
    (folder / "stamps/check.json").write_text(
        json.dumps(dict(key="a", seconds=seconds, finished=True), indent=1)
    )
    (folder / "summary.json").write_text(
        json.dumps(dict(sentence="no answer", seconds=dict(check=seconds)), indent=1)
    )
    page = f"<p>{seconds:.1f} minutes in all steps.</p><h2>Seconds</h2><table><td>{seconds}</td></table><p>end</p>"
    (folder / "report.html").write_text(page)
    (folder / "logs/check.log").write_text(str(seconds))
    (folder / "generator/20261126_010203/run.log").write_text(str(seconds))
    (folder / "attributes/train.json").write_text(json.dumps(dict(box=box)))
    cache = folder / CACHES / key
    cache.mkdir(parents=True)
    (cache / "000000.npz").write_text(found)
    weights = dict(state_dict={"w": torch.full((2,), weight)})
    torch.save(weights, folder / "generator/iter_4.pth")
    return folder


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        (dict(seconds=7.0), []),
        (dict(weight=0.25), ["generator/iter_4.pth"]),
        (dict(box=4), ["attributes/train.json"]),
        (dict(key="b2"), []),
        (dict(found="3 boxes"), ["synthetic/hard/annotations_gated.predictions/KEY/000000.npz"]),
    ],
)
def test_what_counts_as_a_difference(tmp_path, monkeypatch, changes, differing):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import kill_augment

    whole, killed = (
        kill_augment.contents(write_run(tmp_path / n, **c)) for n, c in (("a", {}), ("b", changes))
    )
    found = kill_augment.compare(whole, killed)
    twice = write_run(tmp_path / "c", key="c3")
    shutil.copytree(twice / CACHES / "c3", twice / CACHES / "a0")  # written again under another key
    assert kill_augment.contents(twice) == whole
    assert found["differing"] == differing and found["files"] == 6
    del killed["report.html"]
    assert "report.html" in kill_augment.compare(whole, killed)["differing"]
