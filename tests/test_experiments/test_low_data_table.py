"""The table of the low-data benchmark from result files; the oracle of its statistics is SciPy."""

import json

import numpy as np
import pytest
from scipy import stats

from detdiffusion.experiments.low_data.table import markdown, read_results, table_rows, write_table
from detdiffusion.experiments.low_data.worth import copy_paste_curve, plotted_arms, worth
from detdiffusion.utils.errors import UserError


def write_result(folder, seed, arms, look="dusk", settings=None, images=100, weights=None, copies=None):
    """A result of ATSS with the given AP by arm."""
    entries = {
        arm: dict(
            atss=dict(
                bbox_mAP=ap,
                bbox_mAP_50=ap + 0.2,
                bbox_mAP_75=ap - 0.1,
                iterations=500,
                seconds=60.0,
                seconds_in_all=120.0,
            )
        )
        for arm, ap in arms.items()
    }
    path = folder / f"{look}-{images}" / str(seed) / "result.json"
    path.parent.mkdir(parents=True)
    settings = dict(more_images=1000, **(settings or {}))
    result = dict(look=look, images=images, seed=seed, arms=entries, settings=settings)
    result |= dict(weights=weights or {}, near_copies=copies or {})
    path.write_text(json.dumps(result))
    return path


REAL, EDITED, ORACLE = (0.473, 0.463, 0.476), (0.526, 0.505, 0.524), (0.655, 0.640, 0.661)


@pytest.fixture
def results(tmp_path):
    for seed, real, edited, oracle in zip((11, 12, 13), REAL, EDITED, ORACLE):
        write_result(tmp_path, seed, {"real": real, "edited-origin": edited, "oracle": oracle})
    return tmp_path


def test_table_agrees_with_scipy(results):
    rows = {row["arm"]: row for row in table_rows(read_results(results))}
    assert list(rows) == ["real", "edited-origin", "oracle"]
    gains = 100 * (np.array(EDITED) - np.array(REAL))
    test = stats.ttest_rel(EDITED, REAL)
    interval = stats.t.interval(0.95, 2, loc=gains.mean(), scale=stats.sem(gains))
    row = rows["edited-origin"]
    assert row["gain"] == pytest.approx(gains.mean()) and row["p"] == pytest.approx(test.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(interval)
    assert row["bbox_mAP"] == pytest.approx(100 * np.mean(EDITED))
    assert row["std"] == pytest.approx(100 * np.std(EDITED, ddof=1))
    assert row["share"] == pytest.approx(gains.mean() / (100 * (np.mean(ORACLE) - np.mean(REAL))))
    assert row["minutes"] == 2 and row["seeds"] == [11, 12, 13]
    assert rows["oracle"]["share"] == 1 and rows["real"]["gain"] is rows["real"]["share"] is None


def test_gain_over_copy_paste(tmp_path):
    pasted = (0.50, 0.48, 0.51)
    for seed, real, edited, other in zip((1, 2, 3), REAL, EDITED, pasted):
        write_result(tmp_path, seed, {"real": real, "edited-origin": edited, "copy-paste": other})
    rows = {row["arm"]: row for row in table_rows(read_results(tmp_path))}
    gains = 100 * (np.array(EDITED) - np.array(pasted))
    found = rows["edited-origin"]["over_copy_paste"]
    assert found["gain"] == pytest.approx(gains.mean())
    assert found["p"] == pytest.approx(stats.ttest_rel(EDITED, pasted).pvalue)
    assert (found["low"], found["high"]) == pytest.approx(
        stats.t.interval(0.95, 2, loc=gains.mean(), scale=stats.sem(gains))
    )
    assert rows["copy-paste"]["over_copy_paste"] is None
    assert rows["real"]["over_copy_paste"]["gain"] == pytest.approx(100 * np.mean(np.array(REAL) - pasted))


def test_gains_are_paired_by_the_seeds_that_both_have(results):
    write_result(results, 14, {"real": 0.9, "oracle": 0.95})
    write_result(results, 15, {"edited-origin": 0.1})
    row = next(row for row in table_rows(read_results(results)) if row["arm"] == "edited-origin")
    gains = 100 * (np.array(EDITED) - np.array(REAL))
    assert row["gain"] == pytest.approx(gains.mean()) and row["seeds"] == [11, 12, 13]
    assert row["bbox_mAP"] == pytest.approx(100 * np.mean(EDITED))
    assert row["share"] == pytest.approx(gains.mean() / (100 * (np.mean(ORACLE) - np.mean(REAL))))


@pytest.mark.parametrize("oracle", [0.3005, 0.2])
def test_nothing_is_a_share_of_an_oracle_that_hardly_gains(results, oracle):
    write_result(results, 11, {"real": 0.3, "hard": 0.25, "oracle": oracle}, look="xray")
    rows = {row["arm"]: row for row in table_rows(read_results(results)) if row["look"] == "xray"}
    assert rows["hard"]["gain"] == pytest.approx(-5) and rows["hard"]["share"] is None


def test_how_many_real_images_an_arm_is_worth(tmp_path):
    """Halfway between the AP of 100 and 400 real images with copy-paste lies that of 200; the curve ends at the oracle
    of the most."""
    for images, pasted, edited, oracle in ((100, 0.4, 0.5, 0.8), (400, 0.6, 0.7, 0.9)):
        arms = {"real": 0.3, "copy-paste": pasted, "edited-copy-paste": edited, "oracle-copy-paste": oracle}
        write_result(tmp_path, 1, arms, images=images, look="xray")
    write_result(tmp_path, 1, {"copy-paste": 0.4, "edited-copy-paste": 0.5})  # another look, with no curve
    rows = table_rows(read_results(tmp_path))
    xray = [row for row in rows if row["look"] == "xray"]
    curve = copy_paste_curve(xray)
    assert curve == [(100, pytest.approx(40)), (400, pytest.approx(60)), (1400, pytest.approx(90))]
    few, many = (row["worth"] for row in xray if row["arm"] == "edited-copy-paste")
    assert few == pytest.approx(200) and many == pytest.approx(400 * (1400 / 400) ** (1 / 3))
    arm = "edited-copy-paste"
    assert {row["worth"] for row in rows if row["arm"] != arm or row["look"] == "dusk"} == {None}
    assert worth(40, curve) == pytest.approx(100) and worth(39, curve) is worth(91, curve) is None
    assert plotted_arms(xray) == {
        "real": [(100, 30), (400, 30)],
        arm: [(100, pytest.approx(50)), (400, pytest.approx(70))],
    }
    falling = [dict(row, bbox_mAP=100 - row["bbox_mAP"]) for row in xray]
    assert copy_paste_curve(falling) is None
    text, paths = write_table(tmp_path)
    assert paths[2].name == "worth.png" and paths[2].read_bytes().startswith(b"\x89PNG")
    assert "| – | 200 | – | 2.0 | 1 |" in text


def test_near_copies_are_those_of_the_set_that_an_arm_trains_on(tmp_path):
    for seed, share in ((1, 0.01), (2, 0.03), (3, None)):
        copies = {"sample": dict(features=share, pixels=2 * share)} if share else {}
        write_result(tmp_path, seed, {"real": 0.4, "sample-copy-paste": 0.5}, copies=copies)
    write_result(
        tmp_path, 4, {"sample-copy-paste": 0.5}, copies={"sample": dict(features=1, pixels=1)}
    )  # no pair
    text, _ = write_table(tmp_path)
    rows = {row["arm"]: row["near_copies"] for row in table_rows(read_results(tmp_path))}
    assert rows == {"real": None, "sample-copy-paste": pytest.approx(dict(features=0.02, pixels=0.04))}
    assert "| 2.0%, 4.0% | 2.0 | 3 |" in text


def test_one_seed_has_no_interval_and_looks_have_rows_of_their_own(results):
    write_result(results, 11, {"real": 0.3, "hard": 0.25}, look="xray")
    text, paths = write_table(results)
    row = next(line for line in text.splitlines() if "| xray | 100 | atss | hard |" in line)
    assert "| 25.0 | 45.0 | 15.0 | −5.0 | – | – | – | – | – | 2.0 | 1 |" in row
    assert [path.name for path in paths] == ["table.md", "table.json"]
    assert markdown(json.loads(paths[1].read_text())["rows"]) + "\n" == paths[0].read_text()


def test_results_of_other_settings_are_not_mixed_in(results):
    path = write_result(results, 14, {"real": 0.5}, settings=dict(learner_iters=4))
    with pytest.raises(UserError, match="its settings are not those of .*learner_iters 4 and None"):
        read_results(results)
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_results(results)


def test_a_base_is_compared_where_arms_start_from_it(tmp_path):
    write_result(tmp_path, 11, {"real": 0.5}, weights=dict(layout="a", base=None))
    for seed in (12, 14):
        write_result(tmp_path, seed, {"base-edited-hard": 0.5}, weights=dict(layout="a", base="b"))
    write_result(tmp_path, 13, {"real": 0.5}, weights=dict(layout="a", base=None))
    assert len(read_results(tmp_path)) == 4
    path = write_result(tmp_path, 15, {"base-edited-hard": 0.5}, weights=dict(layout="a", base="c"))
    with pytest.raises(UserError, match="its weights are not those of .*11/result.json.*: base 'c' and 'b'"):
        read_results(tmp_path)
    path.write_text(path.read_text().replace('"c"', "null").replace('"a"', '"d"'))
    with pytest.raises(UserError, match="layout 'd' and 'a'"):
        read_results(tmp_path)


def test_no_results_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no results"):
        write_table(tmp_path)
