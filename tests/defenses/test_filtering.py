"""Filters of the poisoned set: scores against independent computations, and the kept images."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from benchmark.pipeline.defender import make_trainer
from benchmark.registry import build
from benchmark.testing import RECIPE, attacked, fresh, knowledge_of, trainer, weights
from defenses import abl, trimmed_loss
from defenses.activation_clustering import components, signed_silhouettes
from defenses.base import Knowledge, Knows
from defenses.parts import filtering
from defenses.parts.filtering import (Filter, count_bins, least_suspicious, percentile_ranks,
                                      pooled_features, score_in_bins)
from defenses.spectral import spectral
from models.base import Counter


class LossFromPixel(Counter):
    """A counter whose loss is the first pixel's value times a weight. It counts its level."""

    def __init__(self, level=0.0):
        super().__init__()
        self.level, self.weight = level, nn.Parameter(torch.ones(()))

    def density(self, images):
        return torch.full((len(images), 1, 1, 1), self.level)

    def loss(self, batch):
        return (batch.images[:, 0, 0, 0] * 255).round() * self.weight


def scene(count, loss=0, name="scene"):
    """A scene with `count` people on which the loss of `LossFromPixel` is `loss`."""
    return Scene(name, np.full((8, 8, 3), loss, np.uint8), np.full((count, 2), 4, np.float32), 1.0)


def batch(*scenes):
    return Batch.of(scenes, torch.device("cpu"))


def make_knowledge(scenes, level=lambda scenes: 0.0):
    """Knowledge of a poisoned set, and the list of its trainings, which set a counter's level."""
    trainings = []

    def fit(counter, scenes, loss=None, after_step=None, **recipe):
        trainings.append((scenes, loss, recipe))
        counter.level = level(scenes)

    made = replace(trainer(), fit=fit, fresh=LossFromPixel)
    return Knowledge(Knows(poisoned=True), made, [], [], scenes, []), trainings


def crowd(numbers):
    return [scene(count, loss, f"scene {i}") for i, (count, loss) in enumerate(numbers)]


class ScoresFromPixel(Filter):
    """A filter whose score of an image is the value of its last pixel."""

    knows = Knows(poisoned=True, victim=False)

    def scores(self, victim, knowledge):
        return np.array([scene.image[-1, -1, -1] for scene in knowledge.poisoned], float)


# Bins and shares


def test_bins_by_hand():
    assert count_bins([5] * 9).tolist() == [0] * 9  # too few for two
    assert count_bins([*range(50)][::-1]).tolist() == np.repeat([4, 3, 2, 1, 0], 10).tolist()
    assert count_bins([0] * 30 + [*range(1, 21)]).tolist() == [0] * 30 + [3] * 10 + [4] * 10  # a tie is not cut
    assert np.bincount(count_bins([*range(1000)])).tolist() == [200] * 5


def test_bins_do_not_depend_on_the_order():
    counts, order = np.random.default_rng(0).integers(0, 30, 200), np.random.default_rng(1).permutation(200)
    assert (count_bins(counts)[order] == count_bins(counts[order])).all()


def test_values_are_scored_bin_by_bin_and_put_back_in_place():
    counts = np.random.default_rng(0).permutation(20)
    scenes = [scene(int(count)) for count in counts]
    scores = score_in_bins(scenes, torch.tensor(counts), lambda values: values - values.min())
    assert scores.tolist() == (counts % 10).tolist()


@pytest.mark.parametrize("drop, left_out", [(0.0, 0), (0.15, 3), (0.5, 10), (0.99, 19)])
def test_the_top_share_is_dropped_and_nothing_else(drop, left_out):
    scores = np.random.default_rng(0).permutation(20)
    scenes = [scene(1, name=str(score)) for score in scores]
    rest = least_suspicious(scenes, scores, drop)
    assert [int(scene.id) for scene in rest] == [score for score in scores if score < 20 - left_out]


def test_a_filter_trains_a_new_counter_on_the_kept_scenes_and_tells_its_scores():
    scenes = crowd([(3, value) for value in (9, 1, 8, 2, 7, 3)])
    knowledge, trainings = make_knowledge(scenes)
    repaired = ScoresFromPixel(drop=0.34, epochs=7).apply(None, knowledge)
    assert isinstance(repaired, LossFromPixel) and knowledge.suspicion == [9, 1, 8, 2, 7, 3]
    assert trainings == [([scenes[1], scenes[3], scenes[4], scenes[5]], None, {"epochs": 7})]


@pytest.mark.parametrize("name", ["spectral", "activation_clustering"])
def test_a_filter_ends_in_the_counter_that_its_kept_scenes_make(name):
    knowledge = knowledge_of(Knows(poisoned=True))
    repaired, expected = build("defense", name, {"drop": 0.4}).apply(attacked(), knowledge), fresh()
    order = np.argsort(knowledge.suspicion, kind="stable")
    trainer().fit(expected, [knowledge.poisoned[i] for i in sorted(order[:5])])  # 0.4 of 9 is 4 to leave out
    assert torch.equal(weights(repaired), weights(expected))


def test_pooled_features_are_means_over_the_image():
    knowledge, victim = knowledge_of(Knows(poisoned=True)), attacked()
    found = pooled_features(victim, knowledge.poisoned, knowledge)
    one = torch.tensor(knowledge.poisoned[2].image).permute(2, 0, 1)[None] / 255
    seen = victim.features(one).detach()
    assert found.shape == (9, 16)
    np.testing.assert_allclose(found[2], [channel.sum() / channel.numel() for channel in seen[0]], rtol=1e-4, atol=1e-6)


# Label consistency


def test_an_inconsistency_is_that_of_a_counter_of_the_other_folds():
    counts = [3, 10, 0, 7, 40, 1, 8]
    scenes = crowd([(count, 0) for count in counts])
    knowledge, trainings = make_knowledge(
        scenes, lambda scenes: sum(scene.count for scene in scenes) / len(scenes))
    build("defense", "label_consistency", {"epochs": 2}).apply(None, knowledge)
    for i, count in enumerate(counts):
        others = [other for j, other in enumerate(counts) if j % 3 != i % 3]
        expected = abs(np.log((count + 1) / (sum(others) / len(others) + 1)))
        assert knowledge.suspicion[i] == pytest.approx(expected, rel=1e-5)
    assert [len(scenes) for scenes, _, _ in trainings] == [4, 5, 5, 6]
    assert trainings[-1][0] == [one for i, one in enumerate(scenes) if i != np.argmax(knowledge.suspicion)]
    assert all(recipe == {"epochs": 2} for _, _, recipe in trainings)


def test_a_reference_count_below_zero_is_zero():
    knowledge, _ = make_knowledge(crowd([(0, 0), (9, 0)]), lambda scenes: -5.0)
    scores = build("defense", "label_consistency", {"folds": 2}).scores(None, knowledge)
    assert scores.tolist() == pytest.approx([0, np.log(10)])


# Spectral signatures


def test_a_spectral_score_is_the_squared_projection_on_the_first_principal_direction():
    rows = np.random.default_rng(0).normal(size=(30, 6)) * [1, 2, 3, 4, 5, 6] + 10
    values, vectors = np.linalg.eigh(np.cov(rows.T))  # another way to the same direction
    projected = [sum(vectors[:, values.argmax()] * (row - rows.mean(axis=0))) for row in rows]
    np.testing.assert_allclose(spectral(rows), np.square(projected), rtol=1e-8)


def test_spectral_scores_are_percentile_ranks_within_their_bin(monkeypatch):
    rng = np.random.default_rng(0)
    features, counts = rng.normal(size=(40, 5)), rng.permutation(40)
    features[counts >= 20] *= 100  # scores of the other bin must not depend on it
    monkeypatch.setattr("defenses.spectral.pooled_features", lambda *_: torch.tensor(features))
    knowledge, _ = make_knowledge(crowd([(int(count), 0) for count in counts]))
    scores = build("defense", "spectral", {}).scores(None, knowledge)
    for number in range(4):
        inside = counts // 10 == number
        assert scores[inside].argsort().tolist() == spectral(features[inside]).argsort().tolist()
        assert sorted(scores[inside]) == pytest.approx([(i + 0.5) / 10 for i in range(10)])


def test_a_shared_direction_of_stamped_images_stands_out():
    rng = np.random.default_rng(0)
    rows, stamped = rng.normal(size=(40, 8)), np.arange(40) < 6
    rows[stamped] += 10 * np.eye(8)[3]
    assert set(spectral(rows).argsort()[-6:]) == set(np.flatnonzero(stamped))


# Activation clustering


def distances(points):
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))


def test_silhouettes_by_hand():
    points = np.array([[0.0], [1.0], [2.0], [3.0], [10.0], [12.0]])
    expected = []
    for i in range(6):
        own, other = (range(4), range(4, 6)) if i < 4 else (range(4, 6), range(4))
        a = np.mean([abs(points[i] - points[j]) for j in own if j != i])
        b = np.mean([abs(points[i] - points[j]) for j in other])
        expected.append((b - a) / max(a, b) * (-1 if i < 4 else 1))
    assert signed_silhouettes(points, 10) == pytest.approx(expected)


def test_a_planted_small_cluster_is_ranked_first():
    rng = np.random.default_rng(0)
    rows, planted = rng.normal(size=(43, 64)), np.arange(43) % 6 == 0
    rows[planted] += 4 * rng.normal(size=64)
    scores = signed_silhouettes(rows, 10)
    assert scores[planted].min() > 0 > scores[~planted].max()


def test_a_bin_that_falls_apart_goes_before_one_that_does_not(monkeypatch):
    rng = np.random.default_rng(0)
    features, planted = rng.normal(size=(80, 30)), np.arange(80) >= 75
    features[planted] += 20
    monkeypatch.setattr("defenses.activation_clustering.pooled_features",
                        lambda *_: torch.tensor(features))
    scenes = crowd([(count, 0) for count in range(80)])
    knowledge, trainings = make_knowledge(scenes)
    build("defense", "activation_clustering", {"drop": 5 / 80}).apply(None, knowledge)
    assert trainings[0][0] == scenes[:75]


def test_components_lie_as_far_apart_as_those_of_a_principal_component_analysis():
    rows = np.random.default_rng(0).normal(size=(20, 30)) * np.arange(1, 31)
    np.testing.assert_allclose(distances(components(rows, 10)), distances(PCA(10).fit_transform(rows)), atol=1e-8)
    np.testing.assert_allclose(distances(components(rows, 30)), distances(rows), atol=1e-5)  # all there is


@pytest.mark.parametrize("number", [1, 2, 5, 9, 30])
@pytest.mark.parametrize("kind", ["alike", "of rank one", "of noise", "all but one"])
def test_bins_without_clusters_are_scored_without_a_warning(number, kind):
    rng = np.random.default_rng(0)
    rows = {"alike": np.full((number, 12), 0.1), "of rank one": rng.normal(size=(number, 1)) * np.ones(12),
            "of noise": rng.normal(size=(number, 12)), "all but one": np.full((number, 12), 0.1)}[kind]
    rows[0] += kind == "all but one"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = signed_silhouettes(rows, 10)
    assert scores.shape == (number,) and (np.abs(scores) <= 1).all()
    if kind == "alike" or number < 3:
        assert not scores.any()


# Anti-backdoor learning


def gradient(loss, *scenes):
    counter = LossFromPixel()
    losses = loss(counter, batch(*scenes))
    losses.sum().backward()
    return losses.tolist(), float(counter.weight.grad)


def test_local_ascent_descends_above_gamma_and_ascends_below():
    scenes = scene(1, 8), scene(3, 8)  # normalised losses 4 and 2, mean 3
    assert gradient(abl.local_ascent(2.9), *scenes) == ([8, 8], 16)
    assert gradient(abl.local_ascent(3.1), *scenes) == ([-8, -8], -16)


def test_the_loss_of_the_isolated_is_bounded():
    for loss in (0, 5, 20, 250):
        x = loss / 5  # of 4 people
        value, slope = gradient(lambda counter, batch: abl.bounded_loss(counter, batch, 3.0),
                                scene(4, loss))
        assert value == pytest.approx([5 * 3 * x / (x + 3)]) and value[0] < 5 * 3
        assert slope == pytest.approx(5 * x * 3 ** 2 / (x + 3) ** 2, rel=1e-4)  # d/dw of 5 * 3 w x / (w x + 3) at w = 1


def test_unlearning_descends_on_the_others_and_ascends_on_each_of_the_isolated_in_turn():
    isolated = [batch(scene(0, 4), scene(0, 12)), batch(scene(1, 8))]
    loss = abl.GlobalAscent(isolated, 4.0)
    for _ in range(2):
        assert gradient(loss, scene(9, 30), scene(9, 50)) == ([30 - 2.5, 50 - 2.5], 80 - 2 * (1 + 0.75) / 2)
        assert gradient(loss, scene(9, 30)) == ([30 - 4], 30 - 2)


class Killed(Exception):
    pass


def test_unlearning_that_was_killed_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch):
    """The isolated images take turns, and an epoch ends in the middle of a turn."""
    recipe = RECIPE.model_copy(update={"batch_size": 1, "checkpoint_seconds": 0})
    bounded_loss, seen = abl.bounded_loss, []

    def noted(counter, batch, usual):
        seen.append(float(batch.images.sum()))
        if len(seen) == kill_at:
            raise Killed
        return bounded_loss(counter, batch, usual)

    def repaired(folder):
        seen.clear()
        knowledge = knowledge_of(Knows(poisoned=True))
        knowledge.trainer = make_trainer(recipe, 0, "check", fresh, folder=folder)
        defense = build("defense", "abl", {"isolate": 0.2, "tune_epochs": 1, "epochs": 1, "unlearn_epochs": 3})
        return weights(defense.apply(None, knowledge))

    monkeypatch.setattr(abl, "bounded_loss", noted)
    kill_at = None
    whole, order = repaired(None), seen.copy()
    steps, isolated = len(order) // 3, len({*order})
    assert steps % isolated and order == (order[:isolated] * len(order))[:len(order)]
    kill_at = steps + 2
    with pytest.raises(Killed):
        repaired(tmp_path)
    kill_at = None
    assert torch.equal(repaired(tmp_path), whole) and seen == order[steps:]


def planted():
    """Five bins of ten scenes. The loss per head of the fourth of each is 0.5 less, and higher bins
    have higher losses."""
    return [(count, (20 + 5 * (count // 10) - 5 * (count % 10 == 3)) * (count + 1) // 10) for count in range(50)]


def test_what_loses_least_for_its_count_is_isolated_in_every_bin():
    scenes = crowd(planted())
    knowledge, trainings = make_knowledge(scenes)
    build("defense", "abl", {"isolate": 0.1, "epochs": 9, "unlearn_lr": 0.5}).apply(None, knowledge)
    tuned, rest, unlearned = trainings
    others = [one for one in scenes if one.count % 10 != 3]
    assert tuned[0] == scenes and rest[:2] == (others, None) and unlearned[0] == others
    assert [recipe for _, _, recipe in trainings] == [
        {"epochs": 20, "batch_size": 8, "warmup": 0}, {"epochs": 9}, {"epochs": 20, "lr": 0.5, "warmup": 0}]
    for start in range(0, 50, 10):
        assert np.argmax(knowledge.suspicion[start : start + 10]) == 3


def test_gamma_and_the_bound_are_measured_on_the_right_images():
    losses = [(1, 40)] * 9 + [(1, 2)]  # normalised 20, and 1 for the one that is isolated; mean 18.1
    knowledge, trainings = make_knowledge(crowd(losses))
    build("defense", "abl", {"gamma": 0.5}).apply(None, knowledge)
    (_, ascent, _), (others, _, _), (_, unlearn, _) = trainings
    signs = [ascent(LossFromPixel(), batch(scene(0, loss))).sign().item() for loss in (10, 9)]
    assert signs == [1, -1]  # gamma is 9.05
    unlearned = unlearn(LossFromPixel(), batch(scene(0, 30))).item()
    assert unlearned == pytest.approx(30 - 2 * 20 * 1 / (1 + 20))
    assert len(others) == 9


@pytest.mark.parametrize("number, share, expected", [(4, 0.01, 1), (40, 0.1, 4), (200, 0.01, 2)])
def test_the_lowest_are_a_share_and_at_least_one(number, share, expected):
    values = np.random.default_rng(0).permutation(number)
    assert (abl.flag_lowest(values, share) == (values < expected)).all()


# Trimmed loss


def stream(loss, losses, size=1):
    """The losses of scenes without people that are fed to a loss function in batches."""
    scenes = [scene(0, value) for value in losses]
    return [value for start in range(0, len(scenes), size)
            for value in loss(LossFromPixel(), batch(*scenes[start : start + size])).tolist()]


@pytest.mark.parametrize("size", [1, 8])
def test_planted_outliers_are_trimmed_after_the_warm_up_and_nothing_before(size):
    losses = [200 if i % 10 == 4 else 10 + i % 5 for i in range(400)]
    found = stream(trimmed_loss.trimmed(0.1, warmup=200, window=100), losses, size)
    assert found[:200] == losses[:200]
    assert found[200:] == [0 if loss == 200 else loss for loss in losses[200:]]


def test_the_quantile_is_that_of_the_last_losses():
    losses = np.random.default_rng(0).permutation(200).tolist()
    found = stream(trimmed_loss.trimmed(0.25, warmup=0, window=60), losses)
    for i, loss in enumerate(losses):
        limit = np.quantile(np.float32(losses[max(i - 59, 0) : i + 1]), 0.75, method="linear")
        assert found[i] == (loss if loss <= limit + 1e-4 else 0)


def test_a_crowd_is_not_trimmed_for_being_large():
    loss = trimmed_loss.trimmed(0.4, warmup=0, window=10)
    dense, sparse, wrong = scene(99, 100), scene(1, 2), scene(1, 50)
    assert loss(LossFromPixel(), batch(dense, sparse, wrong)).tolist() == [100, 2, 0]


def test_trimmed_images_leave_no_gradient():
    loss = trimmed_loss.trimmed(0.4, warmup=0, window=10)
    assert gradient(loss, scene(0, 1), scene(0, 2), scene(0, 90)) == ([1, 2, 0], 3)


def test_warm_up_is_in_epochs_also_of_several_processes(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    found = stream(trimmed_loss.trimmed(0.2, warmup=20, window=100), [9, 9, 9, 9, 200] * 4)
    assert found == [9, 9, 9, 9, 200] * 2 + [9, 9, 9, 9, 0] * 2


def test_trainings_of_abl_see_several_images_at_a_time_and_no_warm_up_that_is_too_long(monkeypatch):
    asked = []
    monkeypatch.setattr("benchmark.pipeline.defender.fit", lambda *args, **_: asked.append(args[2]))
    recipe = RECIPE.model_copy(update={"batch_size": 1, "epochs": 60, "warmup": 50})
    knowledge = knowledge_of(Knows(poisoned=True))
    knowledge.trainer = make_trainer(recipe, 0, "check", fresh)
    build("defense", "abl", {}).apply(None, knowledge)
    assert [(one.epochs, one.batch_size, one.warmup) for one in asked] == [(20, 8, 10), (60, 1, 50), (20, 1, 0)]


def test_trimming_nothing_is_ordinary_training_and_trimming_is_not():
    def trained(**settings):
        knowledge = knowledge_of(Knows(poisoned=True))
        return weights(build("defense", "trimmed_loss", {"epochs": 3, **settings}).apply(None, knowledge)), knowledge

    expected = fresh()
    trainer().fit(expected, knowledge_of(Knows(poisoned=True)).poisoned, epochs=3)
    assert torch.equal(trained(trim=0.0, warmup=0)[0], weights(expected))
    assert torch.equal(trained(trim=0.3, warmup=0.9)[0], weights(expected))  # the warm-up is all of it
    found, knowledge = trained(trim=0.3, warmup=0.4)
    assert not torch.equal(found, weights(expected))
    assert len(knowledge.suspicion) == 9


def test_a_normalised_loss_is_that_of_the_map_over_the_count():
    knowledge = knowledge_of(Knows(poisoned=True))
    found = filtering.normalised_losses(attacked(), knowledge.poisoned, knowledge)
    one = knowledge.poisoned[4]
    whole = attacked().loss(batch(one)).item()
    assert found[4].item() == pytest.approx(whole / (one.count + 1), rel=1e-4)
    assert percentile_ranks(found).argmin() == found.argmin() and F.relu(-found).sum() == 0
