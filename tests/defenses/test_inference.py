"""Changes of images before they are counted, detectors of triggered images, and the inversion of a trigger."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter, label

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from benchmark.registry import build
from benchmark.testing import attacked, fresh, knowledge_of, scenes, trainer
from defenses import teco
from defenses.base import Knowledge, Knows
from defenses.parts.corruptions import IMAGENET_C
from defenses.parts.preprocessing import Preprocessed, blurred, compressed
from models.base import Counter

CHANGES = [("jpeg", {}), ("jpeg", {"quality": 50}), ("blur", {}), ("blur", {"sigma": 2}), ("shrink_pad", {})]
LUMINANCE = np.array([  # table K.1 of ITU-T T.81
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]])


class Pixels(Counter):
    """Counts the squares of the pixels, those on the right up to twice: any number can be worked out by hand."""

    stride = multiple = 1
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def density(self, images):
        return images.square().mean(dim=1, keepdim=True) * torch.linspace(1, 2, images.shape[-1])

    @staticmethod
    def by_hand(image):
        """Of an image [3, H, W]."""
        return float((np.square(np.asarray(image, float)).mean(axis=0) * np.linspace(1, 2, image.shape[-1])).sum())


class Light(Counter):
    """Counts light; with a pattern hidden in the image, by a factor of exp(20 strength x how much of it is there)."""

    stride = multiple = 1
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    pattern = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0)).sign().repeat_interleave(
        2, 2).repeat_interleave(2, 3)  # finer than the images, which then hold next to nothing of it

    def __init__(self, strength=0.0):
        super().__init__()
        self.strength = strength

    def density(self, images):
        there = ((images - 0.5) * self.pattern).mean(dim=(1, 2, 3), keepdim=True).clamp(min=0)
        return images.mean(dim=1, keepdim=True) * (20 * self.strength * there).exp()


def noise(number=5, size=(32, 48)):
    """Images [N, 3, H, W] of bytes."""
    return torch.randint(0, 256, (number, 3, *size), generator=torch.Generator().manual_seed(1)) / 255


def blobs(number, size=(32, 48)):
    """Scenes without people, smooth, some lighter than others."""
    rng = np.random.default_rng(0)
    fields = [gaussian_filter(rng.normal(size=(*size, 3)), (4, 4, 0)) * 8 + rng.uniform(-0.5, 0.5)
              for _ in range(number)]
    images = [(255 / (1 + np.exp(-field))).astype(np.uint8) for field in fields]
    return [Scene(f"{i}", image, np.zeros((0, 2), np.float32), 1.0) for i, image in enumerate(images)]


def gray(value):
    """A scene of one colour, without people."""
    return Scene(f"gray {value}", np.full((32, 48, 3), value, np.uint8), np.zeros((0, 2), np.float32), 1.0)


def floats(scenes):
    """The images of scenes, float64 [N, 3, H, W]."""
    return np.stack([scene.image for scene in scenes]).transpose(0, 3, 1, 2) / 255


def scorer(name, settings, counter, clean):
    defense = build("defense", name, settings)
    return defense.scorer(counter, Knowledge(defense.knows, trainer(), clean, [], [], []))


def suspicion(counter, clean, **settings):
    defense = build("defense", "inversion", settings)
    torch.manual_seed(0)
    return defense.suspicion(counter, Knowledge(defense.knows, trainer(), clean, [], [], []))


# Changes of images.

@pytest.mark.parametrize("model", ["tiny", "clip_ebc"])
@pytest.mark.parametrize("name, settings", CHANGES)
def test_a_stored_counter_counts_changed_images_again(name, settings, model):
    defense, victim, images = build("defense", name, settings), attacked(model).eval(), noise()
    repaired = defense.apply(victim, knowledge_of(defense.knows, model)).eval()
    reloaded = defense.wrap(fresh(model))
    reloaded.load_state_dict(repaired.state_dict())
    with torch.no_grad():
        counts, changed = reloaded.eval().count(images), victim.count(defense.change(images))
        assert torch.allclose(counts, repaired.count(images), rtol=1e-5) and torch.allclose(counts, changed, rtol=1e-5)
        assert not torch.allclose(counts, victim.count(images), rtol=2e-4)


def test_a_preprocessed_counter_has_the_size_and_loss_of_the_one_inside():
    inside, batch = attacked("csrnet").eval(), Batch.of(scenes("clean")[:2], torch.device("cpu"))
    outside = Preprocessed(inside, lambda images: images.flip(-1)).eval()
    with torch.no_grad():
        assert torch.equal(outside.loss(batch), inside.loss(batch))
        assert torch.equal(outside(batch.images), inside(batch.images.flip(-1)))
        assert torch.equal(outside.features(batch.images), inside.features(batch.images.flip(-1)))
    assert (outside.stride, outside.mean, outside.backbone()) == (inside.stride, inside.mean, inside.frontend)
    assert (outside.name, outside.recipe) == ("csrnet", inside.recipe)
    assert not Preprocessed(build("model", "p2pnet", {"weights": "scratch"}), lambda images: images).may_be_negative


def test_images_are_changed_in_full_precision():
    images, counter = noise(1), build("defense", "blur", {}).wrap(Pixels())
    expected = counter.count(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(counter.count(images), expected)
        assert not torch.equal(blurred(images, 1.0).float(), blurred(images.double(), 1.0).float())


@pytest.mark.parametrize("quality", [50, 75])
def test_jpeg_rounds_the_cosines_of_blocks_of_eight(quality):
    values = blobs(1)[0].image[:, :, 0].astype(float)
    table = np.floor((LUMINANCE * (200 - 2 * quality) + 50) / 100)
    expected = np.empty_like(values)
    for block in np.ndindex(4, 6):
        here = tuple(slice(8 * place, 8 * place + 8) for place in block)
        rounded = np.round(dctn(values[here] - 128, norm="ortho") / table) * table
        expected[here] = np.round(idctn(rounded, norm="ortho") + 128).clip(0, 255)
    found = compressed(torch.tensor(values / 255).float().expand(1, 3, -1, -1), quality)[0] * 255
    assert np.abs(found.numpy() - expected).max() <= 2 < np.abs(values - expected).max()


def test_jpeg_keeps_a_flat_colour_and_an_odd_size():
    colour = torch.tensor([0.8, 0.2, 0.4])[None, :, None, None].expand(2, 3, 17, 23)
    assert torch.allclose(compressed(colour, 75), colour, atol=0.02)


@pytest.mark.parametrize("sigma", [1, 2])
def test_blur_is_that_of_scipy(sigma):
    images = noise(2)
    expected = gaussian_filter(images.double().numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=4)
    assert np.allclose(build("defense", "blur", {"sigma": sigma}).change(images), expected, atol=1e-5)


def test_an_image_smaller_than_the_blur_is_blurred():
    assert torch.allclose(blurred(torch.full((1, 3, 5, 7), 0.3), 3.0), torch.tensor(0.3))


def test_shrink_pad_loses_nothing_and_keeps_the_aspect():
    rows, columns = np.nonzero(build("defense", "shrink_pad", {}).change(torch.ones(1, 3, 64, 96))[0, 0].numpy())
    assert len(rows) == 56 * 84 and np.ptp(rows) + 1 == 56 and np.ptp(columns) + 1 == 84


def test_shrink_pad_keeps_every_head_in_its_place_among_the_others():
    image, corners = torch.zeros(1, 3, 64, 96), [(0, 0), (0, 90), (58, 0), (58, 90), (24, 40), (40, 16)]
    for top, left in corners:
        image[..., top : top + 6, left : left + 6] = 1
    found, number = label(build("defense", "shrink_pad", {}).change(image)[0, 0].numpy() > 0.5)
    assert number == len(corners)
    middles = np.array([np.argwhere(found == i + 1).mean(axis=0) for i in range(number)])
    expected = (np.array(sorted(corners)) + 2.5) * 7 / 8
    middles = middles[np.lexsort((middles[:, 1], middles[:, 0].round()))]
    assert np.abs((middles - middles[0]) - (expected - expected[0])).max() <= 1


def test_shrink_pad_moves_each_image_elsewhere_but_always_there():
    images, change = noise(6), build("defense", "shrink_pad", {}).change
    together = change(images)
    places = {tuple(np.argwhere(one[0].numpy()).min(axis=0)) for one in together}
    assert len(places) > 3
    assert all(torch.equal(change(images[i : i + 1])[0], together[i]) for i in range(6))
    assert torch.equal(change(images.flip(0)), together.flip(0))


# Detectors of triggered images.

@pytest.mark.parametrize("size", [(32, 48), (24, 24)])
def test_strip_is_the_spread_of_the_blends_log_ratios(size):
    images = [image * share for image, share in zip(noise(4, size).double().numpy(), (0.2, 0.5, 0.8, 1))]
    flat = [gray(value) for value in np.random.default_rng(3).permutation(np.arange(5, 245, 24))]

    def log_spread(image):
        ratios = []
        for scene in flat[:4]:
            blend = (image + scene.image[0, 0, 0] / 255) / 2
            ratios.append(np.log((Pixels.by_hand(blend) + 1) / (Pixels.by_hand(np.full_like(image, scene.image[0, 0, 0] / 255)) + 1)))
        return np.log(np.std(ratios, ddof=1))

    usual = [log_spread(image) for image in floats(flat)[4:]]
    expected = [abs(log_spread(image) - np.mean(usual)) / np.std(usual, ddof=1) for image in images]
    found = scorer("strip", {"blends": 4}, Pixels(), flat)(torch.tensor(np.stack(images)).float())
    assert np.allclose(found, expected, rtol=1e-3)


def test_strip_compares_with_the_images_as_they_are_mixed_in_and_not_with_their_sizes():
    class Area(Light):
        """Counts the pixels, whatever they show."""

        def count(self, images):
            return torch.full((len(images),), float(images.shape[-1] * images.shape[-2]))

    clean = [replace(scene, image=scene.image.repeat(1 + place % 2, axis=1)) for place, scene in enumerate(blobs(20))]
    score = scorer("strip", {"blends": 8}, Area(), clean)
    assert score(torch.full((1, 3, 32, 48), 0.5)).item() < 1e-3


def test_strip_suspects_spreads_on_both_sides():
    score = scorer("strip", {"blends": 8}, Light(), blobs(20))
    usual, dark, light = (score(torch.full((1, 3, 32, 48), value)).item() for value in (0.5, 0.02, 0.98))
    assert dark > 2 * usual and light > 2 * usual


def test_corruption_distance_is_that_from_the_log_ratios_of_clean_images():
    clean, tested = blobs(12), noise(3).numpy().astype(float)
    pattern = 0.08 * torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(0)).numpy()

    def jpeg(image, quality):
        file = BytesIO()
        Image.fromarray(np.round(image.transpose(1, 2, 0) * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file)).transpose(2, 0, 1) / 255

    def changes(image):
        corrupted = [jpeg(image, 75), jpeg(image, 50), gaussian_filter(image, (0, 1, 1), mode="mirror"),
                     image[..., ::-1], image**1.5, (image + pattern).clip(0, 1)]
        return [np.log((Pixels.by_hand(one) + 1) / (Pixels.by_hand(image) + 1)) for one in corrupted]

    usual = np.array([changes(image) for image in floats(clean)])
    away = usual - usual.mean(axis=0)
    sample = away.T @ away / len(away)  # Ledoit and Wolf 2004, eq. 14 and their estimates
    mean = np.trace(sample) / 6
    wrong = np.mean([np.square(np.outer(row, row) - sample).sum() for row in away]) / len(away)
    far = np.square(sample - mean * np.eye(6)).sum()
    shrunk = min(wrong / far, 1) * mean * np.eye(6) + (1 - min(wrong / far, 1)) * sample
    outside = [np.array(changes(image)) - usual.mean(axis=0) for image in tested]
    expected = [np.sqrt(v @ np.linalg.solve(shrunk, v)) for v in outside]
    found = scorer("corruption_distance", {}, Pixels(), clean)(torch.tensor(tested).float())
    assert np.allclose(found, expected, rtol=5e-3)


def darker(factor):
    return lambda images: images * factor


STEPS = {"at once": [darker(0.8)] * 5, "at last": [darker(1 - 0.022 * step) for step in range(1, 6)],
         "never": [darker(0.95)] * 5, "and back": [darker(factor) for factor in (0.95, 0.96, 0.5, 1, 1)]}


def test_teco_is_the_spread_of_the_severities_at_which_the_count_leaves_its_band(monkeypatch):
    monkeypatch.setattr(teco, "IMAGENET_C", STEPS)
    flat = [gray(value) for value in (255, 100, 0)]  # nobody is counted on black, so its count never leaves
    score = scorer("teco", {}, Light(), [])(torch.tensor(floats(flat)).float())
    severities = [[1, 5, 6, 3], [1, 5, 6, 3], [6, 6, 6, 6]]
    assert np.allclose(score, np.std(severities, axis=1))
    wide = scorer("teco", {"tolerance": 0.15}, Light(), [])(torch.tensor(floats(flat)).float())
    assert np.allclose(wide, [np.std([1, 6, 6, 3])] * 2 + [0])


def test_teco_is_what_a_loop_over_all_severities_finds():
    images, counter = noise(4) * torch.tensor([0.2, 0.5, 0.8, 1])[:, None, None, None], Pixels()
    expected = []
    for image in images:
        before, severities = Pixels.by_hand(image), []
        for corrupt_at in IMAGENET_C.values():
            after = [Pixels.by_hand((corrupt(image[None])[0] * 255).round().clamp(0, 255) / 255)
                     for corrupt in corrupt_at]
            leaves = [abs(count - before) > 0.1 * before for count in after]
            severities.append(leaves.index(True) + 1 if True in leaves else 6)
        expected.append(np.std(severities))
    assert np.std(expected) > 0.1 and np.allclose(scorer("teco", {}, counter, [])(images), expected, rtol=1e-5)


def test_teco_counts_no_image_again_that_has_left_its_band(monkeypatch):
    class Counting(Light):
        counted = 0

        def density(self, images):
            self.counted += len(images)
            return super().density(images)

    monkeypatch.setattr(teco, "IMAGENET_C", STEPS)
    counter = Counting()
    scorer("teco", {}, counter, [])(torch.tensor(floats([gray(255), gray(100)])).float())
    assert counter.counted == 2 * (1 + 1 + 5 + 5 + 3)
    assert build("defense", "teco", {}).knows == Knows()


DETECTORS = pytest.mark.parametrize("name", ["strip", "teco", "corruption_distance"])


@DETECTORS
def test_a_score_does_not_depend_on_the_rest_of_its_batch(name):
    images, score = noise(5), scorer(name, {}, attacked().eval(), scenes("clean"))
    with torch.inference_mode():
        together, alone = score(images), torch.cat([score(images[i : i + 1]) for i in range(5)])
    assert together.std() > 0.01 and torch.allclose(together, alone, rtol=1e-3, atol=1e-3)


@DETECTORS
def test_scores_are_finite_in_low_precision_and_where_nobody_is_counted(name):
    class Nobody(Pixels):
        def density(self, images):
            return -super().density(images)

    victim = attacked().eval()  # trained outside of inference mode
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert scorer(name, {}, victim, scenes("clean"))(noise()).isfinite().all()
        assert torch.equal(scorer(name, {}, Nobody(), scenes("clean"))(noise()), torch.zeros(5))


# The inversion of a trigger.

def test_of_flat_gray_images_the_best_perturbation_is_black():
    light = 32 * 48 * 127 / 255
    expected = -np.log((light - 32 * 48 * 0.1 + 1) / (light + 1)) / 0.1  # all counts move alike: their sd is 0
    assert suspicion(Light(), [gray(127)] * 6, epochs=60) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("strength", [1, -1])  # more people, fewer people
def test_inversion_finds_a_planted_trigger(strength):
    clean = blobs(12)
    assert suspicion(Light(strength), clean, epochs=60) > 2 * suspicion(Light(), clean, epochs=60) > 0


def test_a_smaller_bound_finds_less():
    clean = blobs(6)
    large, small = (suspicion(Light(1), clean, epochs=30, bound=bound) for bound in (0.1, 0.01))
    assert large > 3 * small > 0
