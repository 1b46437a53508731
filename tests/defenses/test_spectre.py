"""SPECTRE: its scores against the formula, its robust estimate against whole matrices, and planted images."""

import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import expm, fractional_matrix_power
from sklearn.metrics import roc_auc_score

from benchmark.data.scene import Scene
from benchmark.registry import build
from benchmark.testing import knowledge_of
from defenses.base import Knows
from defenses.spectral import spectral
from defenses.spectre import best_scores, deviations, inverse_root, que, typical


def centred(number, k, seed=0):
    rows = np.random.default_rng(seed).normal(size=(number, k)) * np.arange(1, k + 1)
    return rows - rows.mean(axis=0)


def normal(number=40, k=5):
    """Rows whose covariance is the identity, but for chance."""
    return np.random.default_rng(1).normal(size=(number, k))


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("alpha", [0, 4.0, 30.0])
def test_a_score_is_the_formula_of_the_paper(k, alpha):
    rows, usual = centred(40, k), np.arange(40) % 5 > 0
    spread = np.atleast_2d(np.cov(rows[usual].T, bias=True))
    white = np.array([fractional_matrix_power(spread, -0.5) @ row for row in rows])
    covariance = sum(np.outer(row, row) for row in white - white.mean(axis=0)) / 40
    most = np.linalg.norm(covariance, 2)
    matrix = expm(alpha * (covariance - np.eye(k)) / (most - 1)) if k > 1 else np.eye(1)
    expected = [row @ matrix @ row / np.trace(matrix) for row in white]
    scores, excess = que(rows, usual, alpha)
    np.testing.assert_allclose(scores, expected, rtol=1e-8)
    assert excess == pytest.approx(np.trace(covariance @ matrix) / np.trace(matrix))


def test_without_alpha_a_score_is_a_length_and_with_a_large_one_a_projection():
    rows, usual = centred(40, 3), np.arange(40) % 5 > 0
    white = rows @ inverse_root(np.cov(rows[usual].T, bias=True))
    np.testing.assert_allclose(que(rows, usual, 0)[0], (white**2).sum(axis=1) / 3)
    values, vectors = np.linalg.eigh(np.cov(white.T))
    np.testing.assert_allclose(que(rows, usual, 1e4)[0], (white @ vectors[:, -1]) ** 2, rtol=1e-6)


def test_an_inverse_root_whitens_and_leaves_out_directions_without_variance():
    rows = centred(30, 4)
    rows[:, 3] = rows[:, 0]
    root = inverse_root(np.cov(rows.T, bias=True))
    values = np.linalg.eigvalsh(np.cov((rows @ root).T, bias=True))
    np.testing.assert_allclose(values, [0, 1, 1, 1], atol=1e-8)


@pytest.mark.parametrize("number, k", [(40, 3), (12, 4), (5, 4), (30, 1)])
def test_a_deviation_is_that_in_the_main_direction_of_the_whole_matrix_of_products(number, k):
    white, identity = centred(number, k) / k, np.eye(k)
    whole = np.zeros((k * k, k * k))
    for row in white:
        whole += np.outer(np.kron(row, row), np.kron(row, row)) / number
    whole -= np.outer(identity.flatten(), identity.flatten())
    values, vectors = np.linalg.eigh(whole)
    direction = vectors[:, -1].reshape(k, k)
    along = np.array([row @ direction @ row - np.trace(direction) for row in white]) / np.sqrt(2)
    found, variance = deviations(white)
    np.testing.assert_allclose(found, abs(along - np.median(along)), rtol=1e-6, atol=1e-8)
    assert variance == pytest.approx(values[-1], abs=1e-8)


def test_normal_rows_are_all_usual_and_planted_ones_are_not():
    rows, planted = normal(200, 3), np.arange(200) < 12
    assert typical(rows, 0.1).all()
    rows[planted] += 12
    usual = typical(rows, 0.1)
    assert not usual[planted].any() and usual.sum() >= 200 - round(2 * 0.1 * 200)


@pytest.mark.parametrize("share, most", [(0.0, 0), (0.02, 2), (0.1, 12), (0.5, 30)])
def test_at_most_twice_as_many_rows_are_ignored_as_are_expected_to_be_poisoned(share, most):
    rows = np.random.default_rng(0).standard_t(1.2, size=(60, 2))  # a heavy tail: many are far out
    ignored = (~typical(rows - rows.mean(axis=0), share)).sum()
    assert ignored <= most and (ignored > 0) == (share > 0)


def test_a_signature_in_a_direction_of_small_variance_is_found():
    rng, planted = np.random.default_rng(0), np.arange(120) < 12
    rows = rng.normal(size=(120, 6)) * [30, 20, 10, 5, 1, 1]
    rows[planted, 4] += 8  # nothing beside the variance of the others
    assert roc_auc_score(planted, spectral(rows)) < 0.7
    assert roc_auc_score(planted, best_scores(rows, 0.15, 4.0)) > 0.9


def test_scores_do_not_depend_on_the_scale_of_a_feature_or_on_a_rotation():
    rows = centred(100, 5)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    np.testing.assert_allclose(best_scores(7 * rows @ turn + 3, 0.15, 4.0), best_scores(rows, 0.15, 4.0), rtol=1e-6)


def test_scores_are_percentile_ranks_within_their_bin(monkeypatch):
    rng = np.random.default_rng(0)
    features, counts = rng.normal(size=(40, 5)), rng.permutation(40)
    features[counts >= 20] *= 100  # scores of the other bin must not depend on it
    monkeypatch.setattr("defenses.spectre.pooled_features", lambda *_: torch.tensor(features))
    knowledge = knowledge_of(Knows(poisoned=True))
    scenes = [Scene(str(count), np.zeros((8, 8, 3), np.uint8), np.zeros((count, 2), np.float32), 1.0)
              for count in counts]
    knowledge._scenes["poisoned"] = scenes
    scores = build("defense", "spectre", {}).scores(None, knowledge)
    for number in range(4):
        inside = counts // 10 == number
        assert scores[inside].argsort().tolist() == best_scores(features[inside], 0.15, 4.0).argsort().tolist()
        assert sorted(scores[inside]) == pytest.approx([(i + 0.5) / 10 for i in range(10)])


@pytest.mark.parametrize("number", [1, 2, 5, 30])
@pytest.mark.parametrize("kind", ["alike", "of rank one", "all but one"])
@pytest.mark.parametrize("drop", [0.0, 0.15, 0.9])
def test_bins_without_variance_are_scored_without_a_warning(number, kind, drop):
    rows = {"alike": np.full((number, 12), 0.1), "all but one": np.full((number, 12), 0.1),
            "of rank one": np.random.default_rng(0).normal(size=(number, 1)) * np.ones(12)}[kind]
    rows[0] += kind == "all but one"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = best_scores(rows, drop, 4.0)
    assert scores.shape == (number,) and np.isfinite(scores).all()
    if kind == "all but one" and number == 30:
        assert scores.argmax() == 0
