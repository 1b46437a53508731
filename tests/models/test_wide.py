"""The wide convolution is torch's, in value and gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.parts.wide import WideConv3x3


def results(layer, images, gradient):
    """Output, gradient of the images, gradient of the weight."""
    images = images.clone().requires_grad_()
    out = layer(images)
    out.backward(gradient.to(out.dtype))
    return out.detach(), images.grad, layer.weight.grad


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (5, 9), (1, 1), (2, 3)])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_value_and_gradients_are_those_of_a_convolution(size, dtype, tolerance):
    torch.manual_seed(0)
    layer, plain = WideConv3x3(24), nn.Conv2d(24, 24, 3, padding=1, bias=False).double()
    plain.load_state_dict(layer.state_dict())
    images, gradient = torch.randn(2, 3, 24, *size)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        found = results(layer, images, gradient)
    for one, other in zip(found, results(plain, images.double(), gradient.double())):
        assert (one.double() - other).norm() < tolerance * other.norm()


def test_inference_and_a_frozen_weight_take_torchs_own():
    layer, images = WideConv3x3(24), torch.randn(1, 24, 6, 6)
    expected = F.conv2d(images, layer.weight, padding=1).detach()
    with torch.no_grad():
        assert torch.equal(layer(images), expected)
    assert torch.equal(layer.requires_grad_(False)(images), expected)
