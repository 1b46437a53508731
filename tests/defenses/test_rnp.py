"""Reconstructive neuron pruning: its two steps written out, when it stops, and what it prunes."""

from dataclasses import replace

import pytest
import torch

from benchmark.data.batches import Batch
from benchmark.testing import attacked, knowledge_of, run, scenes
from defenses import rnp
from defenses.base import Knows
from defenses.parts.neurons import Neurons
from defenses.parts.pruning import layers_of
from defenses.parts.tuning import log_losses
from defenses.rnp import RNP, accuracy
from models.base import Counter


def ready():
    """A trained counter of our own."""
    return attacked().copy().cpu()


def clean():
    return knowledge_of(Knows(clean=6))


def first_batch():
    """The augmented batch of all six scenes that the first training loop of a defense is given."""
    return next(iter(clean().trainer.batches(ready(), scenes("clean"), batch_size=8)))


def loss_by_hand(counter, batch):
    people = torch.tensor([float(len(points)) for points in batch.points])
    return torch.log(1 + counter.loss(batch) / (people + 1)).mean()


def test_the_logarithm_of_a_loss_is_taken_for_each_person():
    counter, batch = ready(), first_batch()
    torch.testing.assert_close(log_losses(counter, batch).mean(), loss_by_hand(counter, batch))


def test_unlearning_ascends_the_loss_by_a_step_of_sgd():
    counter, expected = ready(), ready().train()
    loss_by_hand(expected, first_batch()).backward()
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter += 0.05 * (parameter.grad - 5e-4 * parameter)
    RNP(epochs=1, unlearning_lr=0.05, threshold=0).unlearn(counter, clean())
    for (name, ours), by_hand in zip(counter.named_parameters(), expected.parameters()):
        torch.testing.assert_close(ours, by_hand, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("accuracies, steps", [([0.5, 0.3, 0.11, 0.09], 3), ([0.5, 0.0], 1), ([0.0, 0.0], 1),
                                               ([0.5] * 6, 5)])
def test_unlearning_ends_at_a_share_of_the_victims_accuracy(accuracies, steps, monkeypatch):
    measured, knowledge, taken = iter(accuracies), clean(), []

    def batches(counter, scenes, epochs, batch_size):
        assert (epochs, batch_size) == (5, 8)
        for _ in range(epochs):
            taken.append(first_batch())
            yield taken[-1]

    knowledge.trainer = replace(knowledge.trainer, batches=batches)
    monkeypatch.setattr(rnp, "accuracy", lambda *_: next(measured))
    RNP(epochs=5).unlearn(ready(), knowledge)
    assert len(taken) == steps


class Ratio(Counter):
    """Counts the people of the first scene of ours, whatever it sees, but for a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def density(self, images):
        return torch.full((len(images), 1, images.shape[-2] // 8, images.shape[-1] // 8), self.factor / 24)


@pytest.mark.parametrize("factor, right", [(5.0, 1), (5.39, 1), (5.45, 2), (5.51, 1), (20.0, 0)])
def test_a_count_is_right_within_a_tenth(factor, right):
    counts = [scene.count for scene in scenes("clean")]
    assert counts == [3, 4, 5, 6, 7, 8]
    assert right == sum(abs(factor - count) <= count / 10 for count in counts)
    assert accuracy(Ratio(factor), clean()) == pytest.approx(right / 6)


def test_a_step_of_the_recovery_is_one_of_gradient_descent_on_the_masks():
    counter, scale = ready(), torch.ones(4, requires_grad=True)
    masks = RNP(epochs=1, recovering_lr=1.0, alpha=0.3).recover(counter.copy(), clean())
    layer = layers_of(counter)[0]
    norm = counter.train().get_submodule(layer.norm)
    weight = norm.weight.detach().clone()
    del norm.weight
    norm.weight = weight * scale  # the bias is not masked
    loss_by_hand(counter, first_batch()).backward()
    assert scale.grad.min() < -1e-3 and scale.grad.max() > 1e-3  # one would rise above 1
    torch.testing.assert_close(masks[layer], (1 - 0.3 * scale.grad).clamp(0, 1), rtol=1e-4, atol=1e-6)


def test_channels_that_clean_images_need_keep_their_masks_and_harmful_ones_lose_them():
    counter = ready()
    only = torch.arange(16) == 5  # one channel counts, and far too much
    counter.output.weight.data.copy_(100.0 * only.view(1, -1, 1, 1))
    masks = RNP().recover(counter, clean())
    layer = layers_of(counter)[-1]
    assert masks[layer][only] < 0.5 and (masks[layer][~only] == 1).all()
    assert all((mask >= 0).all() and (mask <= 1).all() for mask in masks.values())


def test_the_victim_itself_is_pruned_where_the_masks_of_its_unlearned_copy_are_low():
    defense, victim = RNP(epochs=2, channels=7), attacked()
    repaired, knowledge, _ = run(defense, "tiny")
    torch.manual_seed(0)
    unlearned, again = victim.copy(), knowledge_of(defense.knows)
    defense.unlearn(unlearned, again)
    assert not torch.equal(unlearned.output.weight, victim.output.weight)
    masks = defense.recover(unlearned, again)
    lowest = torch.cat(list(masks.values())).argsort(stable=True)[:7]
    pruned = torch.zeros(sum(map(len, masks.values())), dtype=torch.bool)
    pruned[lowest] = True
    expected = {name: value.clone() for name, value in victim.state_dict().items()}
    for layer, channels in zip(masks, pruned.split([len(mask) for mask in masks.values()])):
        expected[f"{layer.convolution}.weight"][channels] = 0
        expected[f"{layer.norm}.weight"][channels] = 0
    for name, value in repaired.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert knowledge.strengths[0].trial.channels == 7 and not defense.knows.validation


def test_more_channels_are_tried_and_validation_images_choose():
    _, knowledge, _ = run(RNP(), "tiny")
    (choice,) = knowledge.strengths
    numbers = [trial.channels for trial in choice.tried]
    assert numbers == sorted(numbers) and numbers[0] == 1
    errors = [trial.validation_mae for trial in choice.tried]
    assert choice.kept == max(i for i, error in enumerate(errors) if error <= 1.2 * min(errors))


def test_the_masks_of_a_counter_without_batchnorm_are_those_of_its_convolutions():
    counter = attacked("csrnet").copy().cpu()
    masks = RNP(epochs=1).recover(counter, knowledge_of(Knows(clean=6), "csrnet"))
    assert len(masks) == 16 and all(layer.norm is None for layer in masks)
    assert [len(mask) for mask in masks.values()] == Neurons(counter).sizes


def test_images_of_several_sizes_and_without_people_are_unlearned():
    batch = Batch(torch.rand(2, 3, 32, 48), [torch.zeros(0, 2)] * 2, [torch.zeros(0)] * 2)
    assert log_losses(ready(), batch).isfinite().all()
