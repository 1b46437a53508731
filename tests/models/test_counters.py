"""What single counters compute, against plain oracles written from their equations."""

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from benchmark.data.batches import Batch
from benchmark.registry import build
from models.bayesian import bayesian_loss
from models.can import Context
from models.parts.transport import transport


def counter(name, **settings):
    torch.manual_seed(0)
    return build("model", name, {"weights": "scratch"} | settings)


def heads(*numbers, size):
    """Heads of images of size (H, W), as many as asked for."""
    rng = np.random.default_rng(0)
    return [torch.tensor(rng.uniform(0, size[::-1], (number, 2)), dtype=torch.float32) for number in numbers]


# Bayesian Loss

def bayes(density, points, stride, margin):
    """Bayes+ of one image and its gradient, head by head and block by block, in float64."""
    sums, shares = np.zeros(len(points) + 1), np.zeros((len(points) + 1, *density.shape))
    for row, column in np.ndindex(density.shape):
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        squares = [(x - px) ** 2 + (y - py) ** 2 for px, py in points]
        squares.append(margin**2 / (min(squares) + 1e-5))
        likelihood = np.exp((min(squares) - np.array(squares)) / (2 * 8.0**2))
        shares[:, row, column] = likelihood / likelihood.sum()
        sums += shares[:, row, column] * density[row, column]
    off = sums - np.array([1.0] * len(points) + [0.0])
    return abs(off).sum(), (np.sign(off)[:, None, None] * shares).sum(axis=0)


@pytest.mark.parametrize("number", [1, 2, 60])
@pytest.mark.parametrize("blocks", [(8, 8), (6, 11)])
def test_the_bayesian_loss_is_that_of_the_equations(number, blocks):
    stride, size = 8, (blocks[0] * 8, blocks[1] * 8)
    points = heads(number, size=size)[0]
    density = torch.rand(blocks, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = bayesian_loss(density, points, stride, float(min(size)))
    found.backward()
    value, gradient = bayes(density.detach().double().numpy(), points.double().numpy(), stride, min(size))
    assert found.item() == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(density.grad.numpy(), gradient, atol=1e-4)


def test_a_head_on_the_centre_of_a_block_and_two_heads_at_one_place_have_a_bayesian_loss():
    points = torch.tensor([[12.0, 12.0], [12.0, 12.0]])
    density = torch.full((3, 4), 0.25)
    value, _ = bayes(density.double().numpy(), points.double().numpy(), 8, 24)
    assert bayesian_loss(density, points, 8, 24.0).item() == pytest.approx(value, rel=1e-5)


def test_an_image_without_heads_is_all_background():
    assert bayesian_loss(torch.full((3, 4), 0.25), torch.empty(0, 2), 8, 24.0).item() == 3.0


def test_the_bayesian_counter_takes_the_shorter_side_as_margin_and_each_image_alone():
    trained, images, points = counter("bayesian"), torch.rand(3, 3, 64, 96), heads(0, 1, 12, size=(64, 96))
    with torch.no_grad():
        losses = trained.loss(Batch(images, points, [torch.ones(len(p)) for p in points]))
        maps = trained(images)[:, 0]
    assert (maps >= 0).all()
    expected = [maps[0].sum(), *(bayes(blocks.double().numpy(), p.numpy(), 8, 64)[0]
                                 for blocks, p in zip(maps[1:], points[1:]))]
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-5)


def test_the_bayesian_loss_is_not_rounded_under_autocast():
    density, points = torch.rand(8, 8), heads(20, size=(64, 64))[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = bayesian_loss(density, points, 8, 64.0)
    assert found == bayesian_loss(density, points, 8, 64.0)


# DM-Count

def test_the_weight_of_the_transport_in_dm_count_is_a_setting():
    views = Batch(torch.rand(2, 3, 64, 96), heads(3, 12, size=(64, 96)), [torch.ones(3), torch.ones(12)])

    def slope(settings, loss):
        """The gradient of a loss in the weights of the last convolution; the transport itself is always 0."""
        trained = counter("dm_count", **settings)
        return torch.autograd.grad(loss(trained).sum(), [*trained.parameters()][-2])[0]

    usual, none, public = (slope(settings, lambda trained: trained.loss(views))
                           for settings in ({}, {"ot_weight": 1e-9}, {"ot_weight": 1.0}))
    transported = slope({}, lambda trained: transport(trained(views.images), views.points, 8))
    assert transported.abs().max() > 0.1
    torch.testing.assert_close(usual - none, 0.1 * transported, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(public - none, transported, rtol=1e-3, atol=1e-3)


# CAN

def pooled(features, regions):
    """Means over regions x regions of [C, h, w]; a region that ends inside a pixel holds all of it."""
    height, width = features.shape[1:]
    edges = [[(n * side // regions, -(-(n + 1) * side // regions)) for n in range(regions)] for side in (height, width)]
    return np.array([[features[:, a:b, c:d].mean(axis=(1, 2)) for c, d in edges[1]] for a, b in edges[0]])


def enlarged(grid, size):
    """Bilinear, pixel centres at halves, the border kept: [r, r, C] -> [C, h, w]."""
    def weights(side):
        places = np.clip((np.arange(side) + 0.5) * len(grid) / side - 0.5, 0, len(grid) - 1)
        return np.maximum(0, 1 - abs(places[:, None] - np.arange(len(grid))))
    return np.einsum("yi,xj,ijc->cyx", weights(size[0]), weights(size[1]), grid)


@pytest.mark.parametrize("size", [(12, 18), (7, 10), (3, 5)])
def test_the_context_of_can_is_that_of_the_equations(size):
    torch.manual_seed(0)
    module, features = Context(5).double(), torch.randn(5, *size, dtype=torch.double)
    weight = {name: parameter.detach().numpy().squeeze() for name, parameter in module.named_parameters()}
    x = features.numpy()
    above = below = 0
    for number, regions in enumerate((1, 2, 3, 6)):
        scale = enlarged(pooled(x, regions) @ weight[f"scales.{number}.1.weight"].T, size)
        logit = (np.tensordot(weight["weight_net.weight"], x - scale, 1) + weight["weight_net.bias"][:, None, None])
        w = 1 / (1 + np.exp(-logit))
        above, below = above + w * scale, below + w
    joined = np.concatenate([above / below, x])
    out = np.tensordot(weight["bottleneck.weight"], joined, 1) + weight["bottleneck.bias"][:, None, None]
    np.testing.assert_allclose(module(features[None])[0].detach().numpy(), np.maximum(out, 0), atol=1e-12)


# SFANet

def test_the_loss_of_sfanet_is_that_of_its_two_maps():
    trained, size = counter("sfanet"), (64, 70)
    images, points = torch.rand(2, 3, *size), heads(0, 9, size=size)
    with torch.no_grad():
        losses = trained.loss(Batch(images, points, [torch.full((len(p),), 15.0) for p in points]))
        maps = trained.apply_layers(images, trained.density_and_attention).double().numpy()
    for found, (density, logits), centres in zip(losses, maps, points):
        pixels = np.zeros(size)
        for px, py in centres.double().numpy():
            one = np.outer(*(np.diff(ndtr((np.arange(side + 1) - at) / 5)) for side, at in zip(size, (py, px))))
            pixels += one / one.sum()
        truth = pixels.reshape(32, 2, 35, 2).sum(axis=(1, 3))
        share = 1 / (1 + np.exp(-logits))
        entropy = -np.where(truth / 4 > 0.001, np.log(share), np.log(1 - share))
        expected = ((density - truth) ** 2).sum() + 0.1 * entropy.sum()
        assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_attention_of_sfanet_weighs_its_density():
    tested = counter("sfanet").eval()
    with torch.no_grad():
        tested.gate[1].bias.fill_(-1e4)
        closed = tested(torch.rand(1, 3, 48, 32))
    assert torch.equal(closed, torch.full_like(closed, tested.output.bias.item()))
