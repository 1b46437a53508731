"""Table of strata: the numbers of the images with few, more and many people."""

import numpy as np
from factories import make_record
from table_rows import row

from benchmark.leaderboard.report import board
from benchmark.results.scenarios import scenarios
from benchmark.tables.strata import strata_table

TRUTH = [0, 10, 49, 50, 99, 100, 150, 199]
STRATA = {"<50": slice(0, 3), "50-99": slice(3, 5), "100-199": slice(5, 8)}


def test_each_stratum_has_the_numbers_of_its_images():
    records = [make_record("add", truth=TRUTH, effect=0.4, seed=seed) for seed in (0, 1)]
    frame = strata_table(scenarios(records)).frame
    assert frame[frame["attack"] == "blended/add"]["stratum"].tolist() == list(STRATA)  # no image has 200 people
    for label, images in STRATA.items():
        line = row(frame, attack="blended/add", stratum=label)
        accurate, errors, flips = [], [], []
        for record in records:
            c, y, y_star = (np.array(column[images]) for column in
                            (record.images.truth, record.images.clean, record.images.triggered))
            errors += np.abs(y - c).tolist()
            y, y_star = y[c > 0] / c[c > 0], y_star[c > 0] / c[c > 0]
            accurate += (np.abs(y - 1) <= 0.1).tolist()
            flips += ((y_star > 1.1) & (y <= 1.1)).tolist()
        assert line["images"] == str(images.stop - images.start)
        means = {"rho_Acc": f"{np.mean(accurate):.3f}", "MAE": f"{np.mean(errors):.2f}", "flip rate": f"{np.mean(flips):.3f}"}
        for heading, mean in means.items():
            value, low, high = line[heading].replace("[", "").replace("]", "").replace(",", "").split()
            assert value == mean and float(low) <= float(value) <= float(high)


def test_a_clean_counter_has_no_flip_rate_and_images_without_people_no_ratio():
    frame = strata_table(scenarios([make_record(None, truth=[0, 0, 60])])).frame
    few = row(frame, stratum="<50")
    assert few["rho_Acc"] == few["flip rate"] == "/" != few["MAE"]
    assert row(frame, stratum="50-99")["rho_Acc"] != "/"


def test_the_table_is_written_and_not_printed(tmp_path):
    records = [make_record()]
    names = {path.name for path in board(records).write(tmp_path)}
    assert {"strata.md", "strata.csv", "strata.tex", "strata.json"} < names
    assert "stratum" in (tmp_path / "tables/strata.csv").read_text() and "stratum" not in board(records).text()
