"""Patchwork: patches that take their maps along, maps with the annotated counts, and what the victim is asked."""

import pytest
import torch

from benchmark.data.batches import Batch
from benchmark.data.density import density_maps
from benchmark.registry import build
from benchmark.testing import attacked, check_defense, fresh, knowledge_of, scenes, weights
from defenses import patchwork
from defenses.parts.patches import patched
from defenses.patchwork import with_counts


def coded(number, rows, columns, stride):
    """Images and maps whose every block, in all its pixels, holds a number of its own."""
    maps = torch.arange(1.0, 1 + number * rows * columns).view(number, 1, rows, columns)
    return maps.repeat_interleave(stride, 2).repeat_interleave(stride, 3).expand(-1, 3, -1, -1), maps


def test_a_patch_takes_its_part_of_the_map_along():
    images, maps = coded(4, 5, 7, stride=4)
    lenders, moved = set(), 0
    for _ in range(30):
        changed, changed_maps = patched(images, maps, 4, most=3)
        assert torch.equal(changed, changed_maps.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(-1, 3, -1, -1))
        lent = (changed_maps - 1).long() // 35
        lenders |= {(target, int(source)) for target in range(4) for source in lent[target].unique()}
        moved += ((changed_maps - maps) % 35 != 0).sum()  # 35 blocks an image: the same place is a multiple away
    assert len(lenders) == 16, "every image lends patches to every image"
    assert moved > 100
    assert torch.equal(images, coded(4, 5, 7, 4)[0]) and torch.equal(maps, coded(4, 5, 7, 4)[1])


@pytest.mark.parametrize("size", [(3, 30), (9, 9), (8, 8)])
def test_a_strip_without_a_whole_block_is_left_as_it_is(size):
    images = torch.rand(3, 3, *size)
    maps = torch.rand(3, 1, -(-size[0] // 8), -(-size[1] // 8))
    rows, columns = (side // 8 for side in size)
    for _ in range(10):
        changed, changed_maps = patched(images, maps, 8, most=4)
        assert torch.equal(changed[..., 8 * rows:, :], images[..., 8 * rows:, :])
        assert torch.equal(changed[..., 8 * columns:], images[..., 8 * columns:])
        assert torch.equal(changed_maps[:, :, rows:], maps[:, :, rows:])
        assert torch.equal(changed_maps[..., columns:], maps[..., columns:])


def test_a_map_is_scaled_to_its_count_but_not_by_more_than_two():
    maps = torch.ones(4, 1, 2, 5)
    counts = torch.tensor([10.0, 15.0, 100.0, 0.0])
    assert with_counts(maps, counts).sum(dim=(1, 2, 3)).tolist() == pytest.approx([10, 15, 20, 5])
    assert with_counts(-maps, counts).isfinite().all()


def losses_of(monkeypatch, batch, victim, **settings):
    """The losses of a batch for an untrained student, with no patch."""
    found = []
    monkeypatch.setattr("benchmark.pipeline.defender.fit",
                        lambda counter, *_, loss, **__: found.append(loss(counter.eval(), batch).detach()))
    monkeypatch.setattr(patchwork, "patched", lambda images, maps, stride, most: (images, maps))
    made = build("defense", "patchwork", settings)
    student = made.apply(victim, knowledge_of(made.knows))
    assert torch.equal(weights(student), weights(fresh()))
    return found[0]


def test_the_loss_is_the_distance_to_the_victims_map_with_the_annotated_count(monkeypatch):
    batch = Batch.of(scenes("clean")[:3], torch.device("cpu"))
    victim, student = attacked().copy(), fresh().eval()
    maps = victim(batch.images).detach()
    wanted = with_counts(maps, torch.tensor([float(scene.count) for scene in scenes("clean")[:3]]))
    assert not torch.allclose(wanted, maps)
    expected = (student(batch.images) - wanted).square().sum(dim=(1, 2, 3))
    assert losses_of(monkeypatch, batch, victim, zoom=1, alpha=0).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_as_a_control_it_learns_annotated_maps_and_asks_no_victim(monkeypatch):
    batch = Batch.of(scenes("clean")[:3], torch.device("cpu"))
    wanted = density_maps(batch.points, batch.sigmas, batch.images.shape[-2:], 8)
    expected = (fresh().eval()(batch.images) - wanted).square().sum(dim=(1, 2, 3))
    losses = losses_of(monkeypatch, batch, victim=None, zoom=1, alpha=0, maps="annotated")
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    check_defense("patchwork", {"epochs": 1, "maps": "annotated"})


def test_every_second_batch_has_another_size_and_every_second_image_a_picture():
    made, images = build("defense", "patchwork", {}), torch.full((40, 3, 40, 60), 0.5)
    batch = Batch(images[:1], [torch.tensor([[60.0, 20.0]])], [torch.tensor([3.0])])
    zoomed = [made.zoomed(batch) for _ in range(200)]
    for view in zoomed:  # heads and their widths go along
        height, width = view.images.shape[-2:]
        assert view.points[0].tolist() == [pytest.approx([width, height / 2])]
        assert view.sigmas[0].tolist() == pytest.approx([3 * width / 60])
    sizes = [tuple(view.images.shape[-2:]) for view in zoomed]
    assert 60 < sizes.count((40, 60)) < 140
    assert min(sizes) >= (30, 45) and max(sizes) <= (53, 80) and len(set(sizes)) > 10
    change = (made.overlaid(images) - images).abs().amax(dim=(1, 2, 3))
    assert 8 < (change == 0).sum() < 32 and change.max() <= 0.15 / 2 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("model", ["csrnet_ebc", "p2pnet"])
def test_it_works_on_counters_whose_maps_are_made_otherwise(model):
    check_defense("patchwork", {"epochs": 1}, model)
