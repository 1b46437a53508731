"""SAU and DRMGuard: what they look for, against plain computations, and whether they take it away."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.pipeline.defender import make_trainer
from benchmark.registry import build
from benchmark.testing import RECIPE, attacked, fresh, knowledge_of, scenes
from defenses.base import Knows
from defenses.drmguard import DRMGuard
from defenses.inversion import Inversion
from defenses.parts.ratios import log_ratio
from defenses.parts.universal import UniversalPerturbation
from defenses.sau import SAU
from models.base import Counter

KNOWN = Knows(clean=40)


class Light(Counter):
    """Counts `gain` people for each pixel's worth of red light."""

    stride = multiple = 1
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))

    def density(self, images: Tensor) -> Tensor:
        return self.gain * images[:, :1]


def batch(number=2):
    torch.manual_seed(0)
    images = 0.4 + 0.2 * torch.rand(number, 3, 8, 8)
    points = [torch.rand(count, 2) * 8 for count in range(1, number + 1)]
    return Batch(images, points, [torch.ones(len(heads)) for heads in points])


def shift(counter, images, change):
    return log_ratio(counter.count(images + change), counter.count(images))


def test_the_change_of_sau_moves_both_counts_alike_within_its_bound():
    views, ours, theirs = batch(), Light(2.0), Light(0.5)
    counts = [counter.count(views.images).detach() for counter in (ours, theirs)]
    change = SAU(bound=0.3).shared(ours, theirs, views.images, counts)
    assert change.abs().max() <= 0.3 + 1e-6 and not change.requires_grad
    for counter in (ours, theirs):
        assert (shift(counter, views.images, change).abs() > 0.4).all()  # so much its bound allows


def test_a_step_of_the_change_follows_the_gradient_of_the_formula():
    views, ours, theirs = batch(), Light(2.0), Light(0.5)
    counts = [counter.count(views.images).detach() for counter in (ours, theirs)]
    found = SAU(bound=0.02, steps=1, step=0.5, beta=3.0, shift=0.1).shared(ours, theirs, views.images, counts)
    start = torch.full_like(views.images, 0.02, requires_grad=True)
    own, of_victim = shift(ours, views.images, start), shift(theirs, views.images, start)
    assert max(own.abs().max(), of_victim.abs().max()) < math.log(1.1)
    aim = 3.0 * (own.abs() + of_victim.abs()) / 2 - (own - of_victim).square()
    gradient, = torch.autograd.grad(aim.sum(), start)
    torch.testing.assert_close(found, (start.detach() + 0.01 * gradient.sign()).clamp(-0.02, 0.02))


def test_the_loss_of_sau_is_the_clean_loss_and_the_share_that_is_left_of_the_victims_shift():
    views, victim = batch(), Light()
    knowledge, defense = knowledge_of(KNOWN), SAU(weight=2.0)
    usual = knowledge.trainer.per_image(victim, knowledge.clean, victim.loss).mean()
    defense._usual_loss = float(usual)
    for counter, left in ((victim.copy(), 1.0), (Light(1e-6), 0.0)):
        loss = defense.objective(counter, victim.requires_grad_(False), knowledge)(views)
        expected = counter.loss(views) + 2.0 * usual * left
        torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)


def test_sau_measures_the_victims_mean_loss_once_for_all_rates_and_rounds():
    victim, knowledge, measured = attacked().copy(), knowledge_of(Knows(clean=40, validation=True)), []
    per_image = knowledge.trainer.per_image

    def noted(counter, scenes, measure):
        values = per_image(counter, scenes, measure)
        if measure == counter.loss:
            measured.append(values)
        return values

    knowledge.trainer = replace(knowledge.trainer, per_image=noted)
    defense = SAU(rounds=2)
    defense.apply(victim, knowledge)
    (losses,) = measured
    assert torch.equal(losses, per_image(victim, scenes("clean"), victim.loss))
    assert defense._usual_loss == float(losses.mean())


def moved_by(counter, change):
    counter = counter.cpu().eval()
    images = torch.cat([Batch.of([scene], torch.device("cpu")).images for scene in scenes("clean")])
    with torch.no_grad():
        return float(log_ratio(counter.count(change(images)), counter.count(images)).abs().mean())


@pytest.mark.slow
@pytest.mark.parametrize("defense", [SAU(rounds=4, lr=1e-3), DRMGuard(rounds=4, lr=1e-3, epochs=20)])
def test_a_change_that_moved_the_victims_counts_moves_them_less_after_the_repair(defense):
    victim, knowledge = attacked().copy(), knowledge_of(KNOWN)
    torch.manual_seed(0)
    _, change = Inversion().inverted(victim.copy().requires_grad_(False).eval(), knowledge)
    repaired = defense.apply(victim, knowledge)
    assert moved_by(repaired, change) < 0.8 * moved_by(victim, change)


def test_the_inversion_returns_the_perturbation_of_the_larger_suspicion():
    victim, knowledge = attacked().copy().requires_grad_(False).eval(), knowledge_of(KNOWN)
    detector = Inversion(epochs=1)
    torch.manual_seed(0)
    suspicion, change = detector.inverted(victim, knowledge)
    moved = [shift(victim.cpu(), images, change.cpu()(images) - images) for images in
             (Batch.of([scene], torch.device("cpu")).images for scene in knowledge.clean)]
    moved = torch.cat(moved).detach()
    assert abs(float(moved.mean() / (moved.std() + 0.1))) == pytest.approx(suspicion, rel=1e-3)
    torch.manual_seed(0)
    assert detector.suspicion(victim, knowledge_of(KNOWN)) == suspicion


@pytest.mark.parametrize("name, settings", [
    ("inversion", {"epochs": 1}), ("i_bau", {"rounds": 1, "lr": 1e-4}), ("drmguard", {"epochs": 1, "rounds": 1, "lr": 1e-4})])
def test_a_change_of_whole_images_is_sought_and_unlearned_on_whole_images(name, settings, monkeypatch):
    """Also where the counter is trained on crops, since a trigger is stamped on whole images."""
    shapes, forward = set(), UniversalPerturbation.forward

    def seen(self, images):
        shapes.add(tuple(images.shape[-2:]))
        return forward(self, images)

    monkeypatch.setattr(UniversalPerturbation, "forward", seen)
    recipe = RECIPE.model_copy(update={"crop": 16, "zoom_max": 1.5})
    knowledge = knowledge_of(Knows(clean=8))
    knowledge.trainer = make_trainer(recipe, 0, "check", fresh)
    built = build("defense", name, {"images": 8, **settings})
    (built.suspicion if name == "inversion" else built.apply)(attacked("tiny"), knowledge)
    assert shapes == {scene.size for scene in knowledge.clean}
