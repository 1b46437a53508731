"""The depth of convolutions on small networks, and that methods reach all branches of counters."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.registry import build, names
from benchmark.testing import MODELS, fresh, knowledge_of, scenes, weights
from benchmark.training.evaluation import count_people
from benchmark.utils.errors import UserError
from defenses.fine_pruning import last_spatial_layers
from defenses.fst import head
from defenses.nad import compared_layers, distance
from defenses.parts.depth import levels, trace
from defenses.parts.pruning import layers_of
from defenses.parts.tuning import inputs
from models.base import Counter


class Branched(Counter):
    """Two branches of unequal length that meet, a pooled summary, and a convolution that is idle."""

    name, stride, multiple = "branched", 1, 1

    def __init__(self):
        super().__init__()
        self.idle = nn.Conv2d(3, 3, 1)
        self.out = nn.Conv2d(4, 1, 1)
        self.long = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True),
                                  nn.Conv2d(4, 4, 3, padding=1))
        self.short = nn.Conv2d(3, 4, 1)
        self.summary = nn.Conv2d(4, 4, 1)

    def density(self, images):
        features = self.long(images) + self.short(images)
        return self.out(features + self.summary(F.adaptive_avg_pool2d(features, 1)))


def test_depth_is_the_longest_path_from_the_image():
    depth, sizes = trace(Branched(), 16)
    assert depth == {"long.0": 1, "long.2": 2, "short": 1, "summary": 3, "out": 4}
    assert sizes["summary"] == (1, 1) and sizes["out"] == (16, 16)


def test_what_reads_the_image_or_a_summary_is_left_out():
    assert levels(Branched()) == [["long.2"], ["out"]]


def test_tracing_leaves_the_counter_as_it_was():
    counter = Branched().train()
    before = weights(counter)
    levels(counter)
    assert counter.training and torch.equal(weights(counter), before)
    assert not any(module._forward_hooks for module in counter.modules())
    assert all(parameter.grad is None for parameter in counter.parameters())


def test_a_counter_of_one_convolution_is_refused():
    counter = Branched()
    counter.density = lambda images: counter.idle(images)[:, :1]
    with pytest.raises(UserError, match="none behind the first"):
        levels(counter)


def test_the_small_counters_cover_the_registry():
    assert sorted(MODELS) == names("model")


@pytest.mark.parametrize("model, expected", [
    ("csrnet", [["frontend.19"], ["backend.4"], ["output"]]),
    ("can", [["frontend.21"], ["backend.3"], ["output"]]),
    ("mcnn", [[f"columns.{column}.{place}" for column in range(3)] for place in (6, 8)]
     + [["output"]]),
    ("sfanet", [["frontend.34"], ["attention.steps.1.0", "people.steps.1.0"], ["output"]]),
    ("tiny", [["head.0.0"], ["head.2.0"], ["output"]])])
def test_nad_compares_three_depths_and_all_their_branches(model, expected):
    counter = build("model", model, MODELS[model])
    assert [sorted(names) for names in compared_layers(counter)] == expected


@pytest.mark.slow
@pytest.mark.parametrize("model", names("model"))
def test_two_random_counters_differ_at_every_layer_that_nad_compares(model):
    seen = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        counter = build("model", model, MODELS[model]).eval()
        counter.prepare(scenes("clean"))
        layers = [name for layer in compared_layers(counter) for name in layer]
        with inputs(counter, layers) as latest, torch.no_grad():
            counter.count(Batch.of(scenes("clean")[:2], torch.device("cpu")).images)
        seen.append(dict(latest))
    for name in layers:
        assert (distance(seen[0][name], seen[1][name]) > 1e-7).all(), name


@pytest.mark.parametrize("model, branches", [
    ("mcnn", ("columns.0.", "columns.1.", "columns.2.")), ("sfanet", ("people.", "attention."))])
def test_pruning_and_fst_reach_every_branch(model, branches):
    counter = build("model", model, MODELS[model])
    name_of = {module: name for name, module in counter.named_modules()}
    spatial = [layer.convolution for layer in last_spatial_layers(counter, 3)]
    heads = [name_of[layer] for layer in head(counter)]
    every = [layer.convolution for layer in layers_of(counter)]
    for branch in branches:
        for reached in (spatial, heads, every):
            assert any(name.startswith(branch) for name in reached), (branch, reached)


SETTINGS = {"fine_tune_few": {"epochs": 1, "lr": 1e-5}, "fst": {"epochs": 1, "lr": 1e-5},
            "ft_sam": {"epochs": 1, "lr": 1e-5, "rho": 0.1},
            "nad": {"epochs": 1, "lr": 1e-5, "teacher_epochs": 1},
            "fine_pruning": {"epochs": 1, "lr": 1e-5, "share": 0.3},
            "anp": {"steps": 1, "channels": 2}, "clp": {"u": 1.0},
            "i_bau": {"rounds": 1, "lr": 1e-5}, "sau": {"rounds": 1, "lr": 1e-5, "steps": 1},
            "drmguard": {"rounds": 1, "lr": 1e-5, "epochs": 1}}


# Counters with the layers of another one: repairs by gradients treat them alike, pruning goes by their layers.
ALIKE = {"bayesian", "dm_count", "dm_count_ebc", "csrnet_ebc", "csrnet_zip"}
BY_LAYERS = {"anp", "clp", "fine_pruning", "fst"}


@pytest.mark.slow
@pytest.mark.parametrize("defense, model", [
    (defense, model) for defense in SETTINGS for model in names("model")
    if model not in ALIKE or defense in BY_LAYERS | {"fine_tune_few"}])
def test_every_repair_changes_a_weight_of_every_counter(defense, model):
    victim, made = fresh(model), build("defense", defense, SETTINGS[defense])
    victim.prepare(scenes("clean"))
    before = weights(victim)
    repaired = made.apply(victim, knowledge_of(made.knows, model))
    assert repaired is not victim and not torch.equal(weights(repaired), before)
    assert np.isfinite(count_people(repaired, scenes("clean"), "fp32")).all() and torch.equal(weights(victim), before)
