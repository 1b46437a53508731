"""P2PNet: its count, its gradient, its matching and its loss against plain computations."""

from itertools import permutations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.registry import build, find
from models.parts.points import match


def counter(seed=0, **settings):
    torch.manual_seed(seed)
    return build("model", "p2pnet", {"weights": "scratch"} | settings).eval()


def batch(*heads, size=(48, 64)):
    torch.manual_seed(1)
    points = [torch.rand(number, 2) * torch.tensor([size[1], size[0]]) for number in heads]
    return Batch(torch.rand(len(heads), 3, *size), points, [torch.ones(number) for number in heads])


def features_of(tested, images):
    """The features at stride 8, joined with the upsampled ones of stride 16, layer by layer."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (tested.mean, tested.std))
    x, fine = (images - mean) / std, None
    for number, layer in enumerate(tested.frontend):
        fine = x if number == 33 else fine
        x = layer(x.clone())
    upsampled = tested.coarse(x).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return tested.merged(tested.fine(fine) + upsampled)


def scores_of(tested, images):
    """The score of each proposal, [B, 4, h, w]: the logistic function of a difference of logits."""
    logits = tested.scores(features_of(tested, images))
    return torch.sigmoid(logits[:, 1::2] - logits[:, ::2])


def test_the_count_is_the_number_of_proposals_with_a_score_above_one_half():
    tested, images = counter(), batch(0, 0).images
    with torch.no_grad():
        scores, counts, density = scores_of(tested, images), tested.count(images), tested(images)
    assert 0 < (scores > 0.5).float().mean() < 1
    assert counts.tolist() == [float(number) for number in (scores > 0.5).sum(dim=(1, 2, 3))]
    torch.testing.assert_close(density[:, 0], (scores > 0.5).float().sum(dim=1))


def test_the_gradient_of_the_count_is_that_of_the_sum_of_the_scores():
    tested = counter()
    images = batch(0).images.requires_grad_()
    ours = torch.autograd.grad(tested.count(images).sum(), images)[0]
    plain = torch.autograd.grad(scores_of(tested, images).sum(), images)[0]
    assert plain.abs().max() > 0
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6 * float(plain.abs().max()))


@pytest.mark.parametrize("heads, proposals", [(3, 5), (5, 3), (0, 4)])
def test_heads_and_proposals_are_matched_at_the_smallest_cost(heads, proposals):
    torch.manual_seed(heads)
    places, logits, points = 20 * torch.rand(proposals, 2), torch.randn(proposals, 2), 20 * torch.rand(heads, 2)
    cost = 0.05 * (points[:, None] - places).norm(dim=2) - logits.softmax(dim=1)[:, 1]
    [matched] = match(places[None], logits[None], [points])
    number = min(heads, proposals)
    assert matched.shape == (2, number) and all(len(row.unique()) == number for row in matched)
    if number:
        few, many = (range(heads), range(proposals)) if heads <= proposals else (range(proposals), range(heads))
        turned = cost if heads <= proposals else cost.T
        smallest = min(sum(turned[row, column] for row, column in zip(few, chosen))
                       for chosen in permutations(many, number))
        torch.testing.assert_close(cost[matched[0], matched[1]].sum(), smallest)


def test_the_loss_is_that_of_the_paper_for_each_image_alone():
    tested, views = counter(point_weight=0.01), batch(4, 0, 9)
    losses = tested.loss(views)
    features = features_of(tested, views.images)
    offsets, logits = 100 * tested.offsets(features), tested.scores(features)
    for image, heads in enumerate(views.points):
        places, pairs = [], []
        for row in range(6):
            for column in range(8):
                for number, (x, y) in enumerate([(-2, -2), (2, -2), (-2, 2), (2, 2)]):
                    shift = offsets[image, 2 * number : 2 * number + 2, row, column]
                    places.append(torch.tensor([8 * column + 4 + x, 8 * row + 4 + y]) + shift)
                    pairs.append(logits[image, 2 * number : 2 * number + 2, row, column])
        places, pairs = torch.stack(places), torch.stack(pairs)
        matched, chosen = match(places[None].detach(), pairs[None].detach(), [heads])[0]
        log = pairs.log_softmax(dim=1)
        empty = torch.ones(len(places), dtype=torch.bool).index_fill_(0, chosen, False)
        entropy = -(log[chosen, 1].sum() + 0.5 * log[empty, 0].sum()) / (len(chosen) + 0.5 * empty.sum())
        located = (places[chosen] - heads[matched]).square().sum() / max(len(heads), 1)
        torch.testing.assert_close(losses[image], entropy + 0.01 * located, rtol=1e-4, atol=1e-4)


def test_a_training_that_diverged_has_a_loss_that_is_no_number():
    tested = counter()
    nn.init.constant_(tested.scores[-1].bias, float("nan"))
    assert tested.loss(batch(3)).isnan().all()


def test_heads_outside_of_a_padded_image_are_no_proposals():
    tested, images = counter(), batch(0, size=(43, 61)).images
    with torch.no_grad():
        padded = F.pad((images - torch.tensor(tested.mean)[:, None, None])
                       / torch.tensor(tested.std)[:, None, None], (0, 3, 0, 5))
        whole = tested.density(padded)
    assert whole.shape[-2:] == (6, 8)
    torch.testing.assert_close(tested(images), whole[..., :6, :8])


@pytest.mark.slow
def test_a_few_steps_on_four_images_halve_the_error_of_the_counts():
    tested, views = counter(), batch(3, 6, 9, 12, size=(64, 64))
    tested.train()
    optimizer = torch.optim.Adam(tested.parameters(), lr=1e-4)
    truth = torch.tensor([3.0, 6, 9, 12])
    before, errors = tested.loss(views).mean().item(), [(tested.count(views.images) - truth).abs().mean().item()]
    for _ in range(12):
        optimizer.zero_grad()
        loss = tested.loss(views).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(tested.parameters(), find("model", "p2pnet").recipe.clip)
        optimizer.step()
    errors.append((tested.count(views.images) - truth).abs().mean().item())
    assert loss.item() < before and errors[1] < errors[0] / 2
