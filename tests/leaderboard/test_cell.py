"""The columns whose means are a cell's numbers, and their replicates, against `metrics.summary`."""

import numpy as np
import pytest
from test_tables import make

from benchmark.metrics import counting as metrics
from benchmark.results.result import Cell
from benchmark.results.scenarios import settings_of

TRUTH = [0, 10, 20, 40, 80, 160, 50, 70]  # the first image shows nobody


def cell_of(*records):
    return Cell(settings_of(records[0]), records)


@pytest.mark.parametrize("target", ["add", "minus", "stay", None])
def test_a_replicate_of_all_images_once_is_the_number(target, monkeypatch):
    monkeypatch.setattr("benchmark.metrics.significance._draws", lambda images, seeds, replicates, rng: (
        np.ones((replicates, images)), np.repeat(np.arange(seeds)[:, None], replicates, axis=1)))
    cell = cell_of(*(make(target, seed=seed, truth=TRUTH, effect=0.3) for seed in range(3)))
    known = {key: values for key, values in cell.replicates.items() if key != "squared"}
    assert {"rho_acc", "mae", "rmse"} <= known.keys() and ("easr" in known) == (target in ("add", "minus"))
    for key, values in known.items():
        assert values == pytest.approx(cell.numbers[key], nan_ok=True), key


def test_shares_are_those_of_the_images_with_people():
    record = make("add", truth=TRUTH)
    images = record.images
    c, y, y_star = (np.array(column)[1:] for column in (images.truth, images.clean, images.triggered))
    cell = cell_of(record)
    assert cell.successes("flip_rate").tolist() == [metrics.flips(y_star, y, c, True).tolist()]
    assert cell.successes("rho_acc").tolist() == [(metrics.bands(y, c) == 0).tolist()]
    y0, y0_star = (np.array(column)[1:] for column in (images.reference_clean, images.reference_triggered))
    assert cell.numbers["reference_flip_rate"] == metrics.flips(y0_star, y0, c, True).mean()
    assert cell_of(make(None)).successes("flip_rate").size == 0
    assert np.isnan(cell_of(make(None)).interval("flip_rate")).all()
