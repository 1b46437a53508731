"""BNP: its statistics and divergences against plain computations, and a channel that the training saw otherwise."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.data.batches import Batch
from benchmark.registry import build
from benchmark.testing import fresh, knowledge_of, scenes
from defenses.base import Knows
from defenses.bnp import divergence, divergences

ALL = Knows(clean=40, validation=True)


def as_trained(counter):
    """A counter whose running statistics are those of the clean images."""
    norms = [module for module in counter.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # an average over all batches
    counter.train()
    with torch.no_grad():
        for _ in range(20):  # a layer's statistics depend on those before it
            for norm in norms:
                norm.reset_running_stats()
            for scene in scenes("clean"):
                counter(Batch.of([scene], torch.device("cpu")).images)
    return counter.eval()


def test_the_divergence_is_that_of_two_normal_distributions():
    rng = np.random.default_rng(0)
    draws, mean, variance = rng.normal(1.5, 0.7, 400_000), 0.5, 2.0
    log_density = lambda x, m, v: -(x - m) ** 2 / (2 * v) - np.log(2 * np.pi * v) / 2  # noqa: E731
    by_chance = np.mean(log_density(draws, 1.5, 0.49) - log_density(draws, mean, variance))
    found = divergence(*(torch.tensor(value, dtype=torch.float64) for value in (1.5, 0.49, mean, variance)))
    assert float(found) == pytest.approx(by_chance, abs=0.01)
    assert float(divergence(*(torch.tensor(value) for value in (0.3, 2.0, 0.3, 2.0)))) == 0


def test_the_statistics_are_those_of_all_clean_images():
    counter = fresh("tiny").cpu().eval()
    scores = divergences(counter.copy(), knowledge_of(ALL))
    [layer] = [layer for layer in scores if layer.convolution == next(iter(scores)).convolution]
    inputs, norm = [], counter.get_submodule(layer.norm)
    norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        for scene in scenes("clean"):
            counter(Batch.of([scene], torch.device("cpu")).images)
    values = torch.cat([value.transpose(0, 1).flatten(1) for value in inputs], dim=1).double()
    expected = divergence(values.mean(dim=1), values.var(dim=1, correction=0), norm.running_mean.double(),
                          norm.running_var.double())
    torch.testing.assert_close(scores[layer], expected, rtol=1e-3, atol=1e-5)


def test_the_channel_that_had_other_inputs_in_the_training_is_pruned_and_no_other():
    counter = as_trained(fresh("tiny").cpu())
    layer = list(divergences(counter.copy(), knowledge_of(ALL)))[2]  # of 16 channels, one can be 3.75 deviations above the mean
    norm = counter.get_submodule(layer.norm)
    norm.running_mean[3] += 5 * norm.running_var[3].sqrt()
    repaired = build("defense", "bnp", {"u": 3.5}).apply(counter, knowledge_of(Knows(clean=40)))
    gone = {key: (value.flatten(1) == 0).all(dim=1).nonzero().flatten().tolist()
            for key, value in repaired.state_dict().items()
            if value.dim() == 4 and not torch.equal(value, counter.state_dict()[key])}
    assert gone == {f"{layer.convolution}.weight": [3]}


def test_a_counter_without_batchnorm_stays_as_it_is():
    counter = fresh("csrnet").cpu()
    repaired = build("defense", "bnp", {}).apply(counter, knowledge_of(ALL, "csrnet"))
    assert all(torch.equal(value, repaired.state_dict()[key]) for key, value in counter.state_dict().items())
