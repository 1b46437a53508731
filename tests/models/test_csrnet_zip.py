"""CSRNet with a zero-inflated Poisson: its density and loss against plain computations, and the files it starts from."""

import math

import pytest
import torch
from safetensors.torch import save_file

from benchmark.data.batches import Batch
from benchmark.registry import build
from benchmark.utils.errors import UserError
from models.csrnet_zip import errors_in_windows


def counter(seed=0, **settings):
    torch.manual_seed(seed)
    return build("model", "csrnet_zip", {"weights": "scratch", "last_anchor": 4.5} | settings).eval()


def views():
    torch.manual_seed(1)
    points = [torch.rand(number, 2) * torch.tensor([90.0, 64]) for number in (30, 0, 1)]
    points[0] = torch.cat([points[0], torch.full((6, 2), 20.0)])  # six in one block
    return Batch(torch.rand(3, 3, 64, 90), points, [torch.ones(len(p)) for p in points])


def counts_of(points):
    """People per block of 8 pixels, [8, 12]."""
    counts = torch.zeros(8, 12)
    for x, y in points.tolist():
        counts[int(y // 8), int(x // 8)] += 1
    return counts


@torch.no_grad()
def test_the_density_is_the_share_that_is_not_empty_times_the_expected_anchor():
    tested, images = counter(), views().images
    logits = tested.apply_layers(images, tested.logits)
    empty = logits[:, 0].exp() / (logits[:, 0].exp() + logits[:, 1].exp())
    shares = logits[:, 2:].exp() / logits[:, 2:].exp().sum(dim=1, keepdim=True)
    rate = sum(anchor * shares[:, place] for place, anchor in enumerate((1, 2, 3, 4.5)))
    torch.testing.assert_close(tested(images)[:, 0], (1 - empty) * rate)
    torch.testing.assert_close(tested.rate(logits)[:, 0], rate)


@torch.no_grad()
def test_the_loss_is_the_sum_of_its_four_terms_for_each_image_alone():
    tested, batch = counter(), views()
    losses = tested.loss(batch)
    logits = tested.apply_layers(batch.images, tested.logits)
    rates, densities = tested.rate(logits)[:, 0], tested(batch.images)[:, 0]
    for image, points in enumerate(batch.points):
        counts, rate, density = counts_of(points), rates[image], densities[image]
        occupied = logits[image, :2].softmax(dim=0)[1]
        poisson = torch.distributions.Poisson(rate)
        likelihood = occupied * poisson.log_prob(counts).exp() + (1 - occupied) * (counts == 0)
        constant = torch.lgamma(counts + 1)
        expected = -(likelihood.log() + constant).sum()
        for row, column in counts.nonzero().tolist():
            bin = min(int(counts[row, column]), 4) - 1
            expected -= logits[image, 2:, row, column].log_softmax(dim=0)[bin]
        expected += (density - counts).abs().sum() / 4
        for side, weight in ((2, 0.5), (4, 1)):
            for row in range(0, 8, side):
                for column in range(0, 12, side):
                    window = (slice(row, row + side), slice(column, column + side))
                    expected += weight * (density[window] - counts[window]).mean().abs()
        expected += (density.sum() - len(points)).abs()
        torch.testing.assert_close(losses[image], expected, rtol=1e-4, atol=1e-3)


def test_windows_that_are_larger_than_the_map_are_left_out():
    difference = torch.ones(2, 1, 3, 5)
    assert errors_in_windows(difference).tolist() == [15 / 4 + 2 / 2] * 2


def test_a_confident_mistake_still_has_a_gradient():
    tested, batch = counter(), views()
    logits = torch.zeros(1, 6, 8, 12)
    logits[:, 0] = 200  # sure that all blocks are empty
    logits.requires_grad_()
    loss = tested.negative_log_likelihood(logits, counts_of(batch.points[0])[None, None])
    gradient, = torch.autograd.grad(loss.sum(), logits)
    assert loss.isfinite().all() and (gradient[0, 1][counts_of(batch.points[0]) > 0] < -0.9).all()


def test_a_csrnet_gives_the_front_end_and_five_layers_of_the_back_end(tmp_path):
    torch.manual_seed(3)
    csrnet = build("model", "csrnet", {"weights": "scratch"})
    save_file(csrnet.state_dict(), tmp_path / "csrnet.safetensors")
    started = counter(weights=str(tmp_path / "csrnet.safetensors"))
    assert started.weights_note.startswith("front and back end: csrnet.safetensors sha256 ")
    given = csrnet.state_dict()
    for part in ("frontend", "backend"):
        for key, tensor in getattr(started, part).state_dict().items():
            assert torch.equal(tensor, given[f"{part}.{key}"])


def test_a_file_of_the_public_code_has_its_anchors(tmp_path):
    public = counter().public_state()
    assert public["bin_centers"].shape == (1, 5, 1, 1)
    torch.save({"config": {"model_name": "csrnet", "bins": [(0.0, 0.0), (4.0, math.inf)]}, "weights": public},
               tmp_path / "zip.pth")
    read = build("model", "csrnet_zip", {"weights": str(tmp_path / "zip.pth")}).eval()
    assert read.anchors.tolist() == [0, 1, 2, 3, 4.5]
    with torch.no_grad():
        assert torch.equal(read(views().images), counter()(views().images))
    torch.save({key: value for key, value in public.items() if key != "bin_centers"}, tmp_path / "none.pth")
    with pytest.raises(UserError, match="last_anchor"):
        build("model", "csrnet_zip", {"weights": str(tmp_path / "none.pth")})


def test_the_layers_are_those_of_the_public_code():
    tested = counter()
    shapes = [(layer.out_channels, layer.dilation) for layer in tested.backend if hasattr(layer, "dilation")]
    assert shapes == [(width, (2, 2)) for width in (512, 512, 512, 256, 128)]
    assert tested.classifier.weight.shape == (4, 128, 1, 1) and tested.emptiness.weight.shape == (2, 128, 1, 1)
