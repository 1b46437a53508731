"""The columns whose means are a cell's numbers, and their replicates, against `metrics.summary`."""

import numpy as np
import pytest
from factories import make_record

from benchmark.metrics import counting
from benchmark.results.result import Result
from benchmark.results.scenarios import settings_of

TRUTH = [0, 10, 20, 40, 80, 160, 50, 70]  # the first image shows nobody


def result_of(*records):
    return Result(settings_of(records[0]), records)


@pytest.mark.parametrize("target", ["add", "minus", "stay", None])
def test_a_replicate_of_all_images_once_is_the_number(target, monkeypatch):
    monkeypatch.setattr("benchmark.metrics.bootstrap._draws", lambda images, seeds, replicates, draw_seed: (
        np.ones((replicates, images)), np.repeat(np.arange(seeds)[:, None], replicates, axis=1)))
    result = result_of(*(make_record(target, seed=seed, truth=TRUTH, effect=0.3) for seed in range(3)))
    known = {key: values for key, values in result.replicates.items() if key != "squared"}
    assert {"rho_acc", "mae", "rmse"} <= known.keys() and ("easr" in known) == (target in ("add", "minus"))
    for key, values in known.items():
        assert values == pytest.approx(result.numbers[key], nan_ok=True), key


def test_shares_are_those_of_the_images_with_people():
    record = make_record("add", truth=TRUTH)
    images = record.images
    c, y, y_star = (np.array(column)[1:] for column in (images.truth, images.clean, images.triggered))
    result = result_of(record)
    assert result.successes("flip_rate").tolist() == [counting.flips(y_star, y, c, True).tolist()]
    assert result.successes("rho_acc").tolist() == [(counting.bands(y, c) == 0).tolist()]
    y0, y0_star = (np.array(column)[1:] for column in (images.reference_clean, images.reference_triggered))
    assert result.numbers["reference_flip_rate"] == counting.flips(y0_star, y0, c, True).mean()
    assert result_of(make_record(None)).successes("flip_rate").size == 0
    assert np.isnan(result_of(make_record(None)).interval("flip_rate")).all()
