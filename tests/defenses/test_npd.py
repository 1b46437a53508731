"""The neural polarizer: it starts as nothing, its perturbations and one step by hand, and what it learns."""

import pytest
import torch
from torch import nn

from benchmark.data.batches import Batch
from benchmark.testing import MODELS, attacked, fresh, knowledge_of, run, scenes
from defenses.base import Knows
from defenses.npd import NPD, RATES, Polarizer, polarized_layers
from defenses.parts.moments import input_moments
from defenses.parts.tuning import inputs
from models.base import Counter

IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def clean(model="tiny"):
    return knowledge_of(Knows(clean=6), model)


def polarized(model="tiny"):
    """A trained counter with the layer, which is still the identity."""
    victim = attacked(model).copy().cpu().eval()
    names = polarized_layers(victim)
    counter = NPD().wrap(victim.copy())
    for name, moments in zip(names, input_moments(victim, names, clean(model))):
        counter.get_submodule(f"{name}.0").become_identity(*moments)
    return counter.eval()


@pytest.mark.parametrize("model", MODELS)
def test_the_layer_stands_in_every_branch_and_changes_nothing_at_first(model):
    victim = fresh(model).cpu().eval()
    victim.prepare(scenes("clean"))
    names = polarized_layers(victim)
    if model in ("tiny", "mcnn", "csrnet", "clip_ebc", "sfanet"):
        assert names == {"tiny": ["head.2.0"], "csrnet": ["backend.8"], "clip_ebc": ["decoder.0.conv2"],
                         "mcnn": ["columns.0.6", "columns.1.6", "columns.2.6"],
                         "sfanet": ["attention.steps.2.6", "people.steps.2.6"]}[model]
    counter = NPD().wrap(victim.copy()).eval()
    for name, moments in zip(names, input_moments(victim, names, clean(model))):
        counter.get_submodule(f"{name}.0").become_identity(*moments)
    with torch.no_grad():
        torch.testing.assert_close(counter(IMAGES), victim(IMAGES), rtol=1e-3, atol=1e-4)
    kinds = [type(module) for module in counter.modules()]
    assert kinds.count(Polarizer) == len(names)


def test_moments_are_those_of_the_features_of_the_clean_images():
    victim, seen = attacked().copy().cpu().eval(), []
    with inputs(victim, ["head.2.0"]) as features, torch.no_grad():
        for scene in scenes("clean"):
            victim.count(torch.tensor(scene.image).permute(2, 0, 1)[None] / 255)
            seen.append(features["head.2.0"][0].flatten(1))
    every = torch.cat(seen, dim=1)
    (mean, variance), = input_moments(victim, ["head.2.0"], clean())
    torch.testing.assert_close(mean, every.mean(dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(variance, every.var(dim=1, correction=0), rtol=1e-3, atol=1e-5)


class Linear(Counter):
    """Its count is a weighted sum of its pixels, and then some."""

    stride = multiple = 1
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, slope=1.0):
        super().__init__()
        self.weight = nn.Parameter(slope * torch.tensor([2e-3, -1e-3, 5e-4]))

    def density(self, images):
        return torch.einsum("bchw,c->bhw", images, self.weight)[:, None] + 0.01


def test_perturbations_of_a_linear_counter_are_the_corners_that_raise_and_lower_its_count():
    torch.manual_seed(0)
    images = torch.full((20, 3, 8, 8), 0.5)
    change = NPD(bound=0.03).perturbed(Linear(), images) - images
    corner = 0.03 * torch.tensor([1.0, -1, 1])[:, None, None].expand(3, 8, 8)
    up = [torch.allclose(one, corner, atol=1e-6) for one in change]
    down = [torch.allclose(one, -corner, atol=1e-6) for one in change]
    assert all(a != b for a, b in zip(up, down)) and 4 < sum(up) < 16


@pytest.mark.parametrize("bound, step", [(0.05, 0.1), (0.05, 0.01), (0.3, 0.2)])
def test_perturbations_are_bounded_and_images_stay_in_their_range(bound, step):
    torch.manual_seed(0)
    images, counter = torch.rand(4, 3, 32, 48), attacked().copy().cpu().eval()
    perturbed = NPD(bound=bound, step=step).perturbed(counter, images)
    size = (perturbed - images).square().mean(dim=(1, 2, 3)).sqrt()
    assert (size <= bound * 1.0001).all() and (size > 0.5 * min(bound, step)).all()
    assert perturbed.min() >= 0 and perturbed.max() <= 1 and not perturbed.requires_grad
    before, after = (counter.count(one).detach() for one in (images, perturbed))
    assert ((after - before).abs() > 0.1).all()


def test_a_step_is_one_of_sgd_on_the_layer_alone():
    torch.manual_seed(3)
    repaired = NPD(epochs=1, weight=0.7).repaired(attacked(), clean(), 0.05)
    torch.manual_seed(3)
    counter = polarized()
    batch = next(iter(clean().trainer.batches(counter, scenes("clean"), batch_size=8)))
    perturbed = Batch(NPD().perturbed(counter, batch.images), batch.points, batch.sigmas)
    (counter.loss(batch).mean().log() + 0.7 * counter.loss(perturbed).mean().log()).backward()
    ours = dict(repaired.cpu().named_parameters())
    for name, parameter in counter.named_parameters():
        expected = parameter.detach()
        if name.startswith("head.2.0.0."):
            expected = expected - 0.05 * (parameter.grad + 5e-4 * expected)
        torch.testing.assert_close(ours[name].detach(), expected, rtol=1e-3, atol=1e-5, msg=name)
    for name, buffer in counter.named_buffers():  # no statistics move
        torch.testing.assert_close(dict(repaired.named_buffers())[name], buffer, msg=name)


@pytest.mark.slow
def test_the_layer_makes_perturbations_weaker_than_they_were():
    def shift(counter, seed):
        torch.manual_seed(seed)
        images = torch.stack([torch.tensor(scene.image).permute(2, 0, 1) / 255 for scene in scenes("clean")])
        before, after = (counter.count(one).detach().clamp(min=0) for one in (images, NPD().perturbed(counter, images)))
        return float(((after + 1) / (before + 1)).log().abs().mean())

    torch.manual_seed(0)
    repaired = NPD(epochs=100).repaired(attacked(), clean(), 0.05).cpu().eval()
    victim = attacked().copy().cpu().eval()
    assert sum(shift(repaired, seed) for seed in range(3)) < 0.8 * sum(shift(victim, seed) for seed in range(3))


def test_the_rates_are_tried_and_a_given_one_needs_no_validation():
    _, knowledge, _ = run(NPD(epochs=1), "tiny")
    (choice,) = knowledge.strengths
    assert [trial.settings for trial in choice.tried] == [{"lr": lr} for lr in RATES]
    assert NPD().knows == Knows(clean=40, validation=True) and NPD(lr=0.1, images=20).knows == Knows(clean=20)
