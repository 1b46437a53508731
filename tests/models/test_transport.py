"""The loss of DM-Count against a loop over images with whole cost matrices in float64."""

import numpy as np
import pytest
import torch
from fake_device import DEVICE, elsewhere
from torch._subclasses import FakeTensorMode

from models.parts.transport import REG, distribution_matching, potential, transport

SIZES = [((6, 9), 8), ((5, 4), 16), ((4, 5), 4)]  # maps and strides; at stride 4 images stop early


def batch(size, stride):
    """Densities [6, 1, h, w] and heads: none, one, some, many, all in one block, and on the border."""
    rng = np.random.default_rng(0)
    height, width = (side * stride for side in size)
    border = [(x, y) for x in (0, width / 2, width) for y in (0, height)]
    heads = [np.zeros((0, 2)), *(rng.uniform(0, (width, height), (count, 2)) for count in (1, 9, 60)),
             rng.uniform(stride, 2 * stride, (5, 2)), border]
    density = rng.gamma(0.5, 0.2, (6, 1, *size))
    return torch.tensor(density).float(), [torch.tensor(np.array(points)).float() for points in heads]


def dots(points, size, stride):
    """Heads per block, [h, w]."""
    counts = np.zeros(size)
    for x, y in points:
        counts[min(int(y / stride), size[0] - 1), min(int(x / stride), size[1] - 1)] += 1
    return counts


def dense_kernel(points, size, stride):
    """exp(-cost / REG), float64 [N, h w]."""
    y, x = ((np.indices(size) + 0.5) * stride).reshape(2, -1)
    return np.exp(-((points[:, :1] - x) ** 2 + (points[:, 1:] - y) ** 2) / REG)


def sinkhorn(b, kernel, steps):
    """Of one image, b [h w]: the potential of the blocks, and the steps taken."""
    u = np.full(len(kernel), 1 / len(kernel))
    for step in range(1, steps + 1):
        v = b / (kernel.T @ u + 1e-16)
        u = 1 / len(kernel) / (kernel @ v + 1e-16)
        if step % 10 == 0 and ((b - v * (kernel.T @ u)) ** 2).sum() <= 1e-9:
            break
    return REG * np.log(v + 1e-16), step


def loss_of_one(density, points, stride):
    """Loss, gradient with respect to density, and Sinkhorn steps of one image; density float64 [h, w]."""
    predicted, count = torch.tensor(density, requires_grad=True), density.sum()
    heads, steps, transported = len(points), 0, 0
    if heads:
        beta, steps = sinkhorn(density.ravel() / (count + 1e-8), dense_kernel(points, density.shape, stride), 100)
        beta = torch.tensor(beta.reshape(density.shape))
        gradient = beta * count / (count**2 + 1e-8) - (torch.tensor(density) * beta).sum() / (count**2 + 1e-8)
        transported = (predicted * gradient).sum()
    truth = torch.tensor(dots(points, density.shape, stride)) / (heads + 1e-8)
    variation = (predicted / (predicted.sum() + 1e-8) - truth).abs().sum()
    loss = (predicted.sum() - heads).abs() + 0.1 * transported + 0.01 * variation * heads
    loss.backward()
    return loss.item(), predicted.grad.numpy(), steps


def with_gradient(function, density, *arguments):
    """What a function of a density gives per image, and the gradient of its sum."""
    density = density.clone().requires_grad_()
    losses = function(density, *arguments)
    losses.sum().backward()
    return losses.detach(), density.grad


@pytest.mark.parametrize("size, stride", SIZES)
def test_loss_and_gradient_are_those_of_a_loop_over_images(size, stride):
    density, points = batch(size, stride)
    losses, gradients = with_gradient(distribution_matching, density, points, stride)
    expected = [loss_of_one(d[0], p.numpy(), stride) for d, p in zip(density.double().numpy(), points)]
    assert losses.dtype == torch.float32 and losses.shape == (6,)
    assert len({steps for _, _, steps in expected}) > (3 if stride == 4 else 1)
    for loss, gradient, (true_loss, true_gradient, _) in zip(losses, gradients, expected):
        assert loss.item() == pytest.approx(true_loss, abs=2e-5)
        np.testing.assert_allclose(gradient[0], true_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size, stride", SIZES)
def test_the_potential_is_that_of_a_plain_loop_and_0_without_heads(size, stride):
    density, points = batch(size, stride)
    shares = density / density.sum(dim=(1, 2, 3), keepdim=True)
    found = potential(shares, points, stride).double().numpy()
    assert not found[0].any()
    for beta, b, heads in zip(found[1:], shares.double().numpy()[1:], points[1:]):
        kernel = dense_kernel(heads.double().numpy(), size, stride)
        expected, _ = sinkhorn(b.ravel(), kernel, 100)
        np.testing.assert_allclose(beta.ravel(), expected, rtol=0, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("size, stride", SIZES)
def test_fewer_operations_on_another_device_give_the_same_potential(size, stride):
    density, points = batch(size, stride)
    shares = density / density.sum(dim=(1, 2, 3), keepdim=True)
    expected = potential(shares, points, stride)
    with elsewhere():
        found = potential(shares.to(DEVICE), [heads.to(DEVICE) for heads in points], stride).cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("size, stride", SIZES)
def test_count_and_distance_without_transport(size, stride):
    density, points = batch(size, stride)
    losses = distribution_matching(density, points, stride, ot_weight=0, tv_weight=0.3)
    for loss, predicted, heads in zip(losses, density.double().numpy(), points):
        share = dots(heads.numpy(), size, stride) / max(len(heads), 1)
        distance = np.abs(predicted[0] / predicted.sum() - share).sum()
        assert loss.item() == pytest.approx(abs(predicted.sum() - len(heads)) + 0.3 * len(heads) * distance, abs=2e-5)


HEADS = torch.tensor([[1.5, 2.5], [10.0, 4.5], [10.5, 9.0], [4.5, 10.0]])
DENSITY = torch.tensor([[[[0.3, 0.2, 0.4], [0.5, 0.1, 0.3], [0.2, 0.7, 0.6]]]])  # at stride 4, every block near a head
KERNEL = dense_kernel(HEADS.double().numpy(), (3, 3), 4)


def test_the_plan_is_the_optimum():
    shares = DENSITY / DENSITY.sum()
    v = np.exp(potential(shares, [HEADS], 4).double().numpy().ravel() / REG)
    plan = KERNEL * v / (KERNEL @ v)[:, None] / len(HEADS)  # of this form, with the heads' marginal by construction
    assert ((plan.sum(axis=0) - shares.numpy().ravel()) ** 2).sum() < 1.1e-9


def test_the_gradient_is_that_of_the_cost_of_entropic_transport():
    def cost(density):
        shares = density / density.sum()
        beta, _ = sinkhorn(shares, KERNEL, 10_000)
        return -REG * np.log(len(HEADS) * KERNEL @ np.exp(beta / REG)).mean() + shares @ beta  # the dual's value

    density = DENSITY.double().numpy().ravel()
    slopes = [(cost(density + step) - cost(density - step)) / 2e-3 for step in 1e-3 * np.eye(9)]
    value, gradient = with_gradient(transport, DENSITY, [HEADS], 4)
    np.testing.assert_allclose(gradient.ravel(), slopes, atol=1e-3)
    assert value.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("displacement", [(0, 1), (2, 0), (-3, 3)])
def test_the_cost_falls_from_a_displaced_density_to_the_heads(displacement):
    heads = torch.tensor([[36.0, 36.0], [60.0, 44.0]])
    near = torch.tensor(dots(heads, (12, 12), 8)).float()[None, None]
    away = near.roll(displacement, dims=(2, 3))
    _, gradient = with_gradient(transport, away, [heads], 8)
    assert (gradient * (near - away)).sum() < 0


def test_an_image_alone_and_in_a_batch():
    size, stride = SIZES[2]
    density, points = batch(size, stride)
    together = with_gradient(distribution_matching, density, points, stride)
    alone = [with_gradient(distribution_matching, d[None], [p], stride) for d, p in zip(density, points)]
    for result, parts in zip(together, zip(*alone)):
        torch.testing.assert_close(result, torch.cat(parts), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", [distribution_matching, transport])
def test_half_precision_reaches_only_the_input(function):
    density, points = batch(*SIZES[0])
    half = density.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        losses, gradient = with_gradient(function, half, points, 8)
    expected, expected_gradient = with_gradient(function, half.float(), points, 8)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradient, expected_gradient.bfloat16())


@pytest.mark.parametrize("fill", [0, 1e-30, 1e6])
def test_extreme_densities_have_finite_losses(fill):
    density, points = batch(*SIZES[0])
    losses, gradient = with_gradient(distribution_matching, torch.full_like(density, fill), points, 8)
    assert losses.isfinite().all() and gradient.isfinite().all()


def test_the_host_never_waits():
    density, points = batch(*SIZES[0])
    with FakeTensorMode() as fake:  # its tensors hold no values: whatever asks for one raises
        density, *points = (fake.from_tensor(tensor) for tensor in (density, *points))
        distribution_matching(density.requires_grad_(), points, 8).sum().backward()
