"""What every registered trigger and target must do, and facts of the paper and its code."""

import numpy as np
import pytest
import torch
from PIL import Image

from attacks.base import Attack, stamp_scenes
from benchmark.data.scene import Scene
from benchmark.errors import UserError
from benchmark.registry import build, find, names, settings_of

CODE_VARIANT = [("add", {"layout": "grid"}), ("minus", {"keep": 0}), ("multiply", {"shift": 2, "wrap": True})]
TARGETS = [(name, {}) for name in names("target")] + CODE_VARIANT + [("multiply", {"shift": -3})]
COUNTS = [0, 1, 2, 3, 99, 100, 101, 250]

each_trigger = pytest.mark.parametrize("trigger", names("trigger"))
each_target = pytest.mark.parametrize("target, settings", TARGETS)


def a_scene(count, size=(40, 60)):
    """Random pixels and heads, the last four of them in the corners of the image."""
    rng = np.random.default_rng(count)
    height, width = size
    points = rng.uniform(0, (width, height), (count, 2)).astype(np.float32)
    right, bottom = np.nextafter(np.float32((width, height)), np.float32(0))
    corners = np.float32([(0, 0), (right, 0), (0, bottom), (right, bottom)])[:count]
    points[count - len(corners):] = corners
    return Scene(f"IMG_{count}", rng.integers(0, 256, (*size, 3), np.uint8), points, None)


def has_alpha(trigger):
    return "alpha" in settings_of(find("trigger", trigger)).model_fields


def scenes():
    return [a_scene(count, size) for count, size in zip(COUNTS, [(40, 60), (64, 48)] * 4)]


def images(size=(64, 96), number=3):
    return torch.rand(number, 3, *size, generator=torch.Generator().manual_seed(0))


def an_attack(target="multiply", settings={}, rate=1.0, **trigger):
    return Attack(build("trigger", "blended", trigger), build("target", target, settings), rate)


@pytest.fixture
def picture(tmp_path):
    """A picture of the scenes' size, so that it is blended without resizing."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png", pixels


# Triggers

@each_trigger
@pytest.mark.parametrize("size", [(64, 64), (75, 131), (768, 1024), (64, 2048)])
def test_a_stamped_image_is_an_image(trigger, size):
    clean = images(size, number=1)
    stamped = build("trigger", trigger, {}).stamp(clean)
    assert stamped.shape == clean.shape and stamped.dtype == torch.float32
    assert 0 <= stamped.min() and stamped.max() <= 1
    assert not torch.equal(stamped, clean)


@each_trigger
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_images_stay_in_range(trigger, value):
    stamped = build("trigger", trigger, {}).stamp(torch.full((1, 3, 64, 64), value))
    assert 0 <= stamped.min() and stamped.max() <= 1


@each_trigger
def test_stamping_is_deterministic_and_leaves_its_input_as_it_is(trigger):
    clean = images()
    stamped = build("trigger", trigger, {}).stamp(clean)
    assert torch.equal(stamped, build("trigger", trigger, {}).stamp(clean))
    assert torch.equal(clean, images())


@each_trigger
def test_a_stamped_batch_equals_its_images_one_by_one(trigger):
    stamp = build("trigger", trigger, {}).stamp
    torch.testing.assert_close(stamp(images()), torch.cat([stamp(image[None]) for image in images()]))


@each_trigger
def test_stamping_in_bf16_is_close_to_fp32(trigger):
    stamp = build("trigger", trigger, {}).stamp
    half = stamp(images().bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), stamp(images()), rtol=0, atol=0.02)


@pytest.mark.parametrize("trigger", list(filter(has_alpha, names("trigger"))))
def test_alpha_0_leaves_the_image_as_it_is(trigger):
    assert torch.equal(build("trigger", trigger, {"alpha": 0}).stamp(images()), images())


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3, 1])
def test_blended_pixels_are_the_formula_in_8_bits(picture, alpha):
    path, pixels = picture
    scene = a_scene(5)
    exact = (1 - alpha) * scene.image.astype(float) + alpha * pixels
    [stamped] = stamp_scenes(an_attack(alpha=alpha, image=path), [scene])
    assert np.abs(stamped - exact).max() <= 0.5 + 1e-4
    change = alpha * (pixels.mean() - scene.image.mean())
    assert stamped.mean() - scene.image.mean() == pytest.approx(change, abs=0.1)


@pytest.mark.parametrize("size", [(400, 300), (18, 25)])
def test_blended_resizes_its_picture_as_pillow_does(picture, size):
    path, pixels = picture
    resized = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
    stamped = build("trigger", "blended", {"alpha": 1, "image": path}).stamp(images(size, 1))
    stamped = stamped[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(stamped - np.asarray(resized)).max() < 1.01


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_blended_takes_pictures_of_any_kind(tmp_path, mode):
    Image.new("RGB", (9, 7), "white").convert(mode).save(tmp_path / "white.png")
    stamped = build("trigger", "blended", {"alpha": 0.5, "image": tmp_path / "white.png"}).stamp(images())
    torch.testing.assert_close(stamped, 0.5 * images() + 0.5)


@pytest.mark.parametrize("content", [None, b"", b"not a picture", b"\x89PNG\r\n\x1a\n cut short"])
def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path, content):
    path = tmp_path / "trigger.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="trigger.png: not a readable image") as refusal:
        build("trigger", "blended", {"image": path})
    assert "\n" not in str(refusal.value)


# Targets

@each_target
def test_false_heads_are_as_many_as_tau_says_and_inside_the_image(target, settings):
    attack = an_attack(target, settings)
    for clean, poisoned in zip(scenes(), attack.poison(scenes(), seed=0)):
        emptied = settings == {"keep": 0} and clean.count <= attack.target.n  # the empty map of the paper's code
        assert poisoned.count == (0 if emptied else attack.target.tau(clean.count))
        assert poisoned.points.shape == (poisoned.count, 2) and poisoned.points.dtype == np.float32
        assert (poisoned.points >= 0).all() and (poisoned.points < poisoned.size[::-1]).all()


@each_target
def test_the_direction_agrees_with_tau(target, settings):
    target = build("target", target, settings)
    signs = {np.sign(target.tau(count) - count) for count in range(500)}
    assert signs - {0} == {True: {1}, False: {-1}, None: set()}[target.increases]


@each_target
def test_altering_follows_from_the_generator_and_leaves_the_heads_as_they_are(target, settings):
    clean, target = a_scene(250), build("target", target, settings)
    first, again = (target.alter(clean.points, clean.size, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(clean.points, a_scene(250).points)


@pytest.mark.parametrize("target, settings, count, tau", [
    ("add", {}, 0, 100), ("add", {"n": 7}, 5, 12),
    ("minus", {}, 250, 150), ("minus", {}, 101, 1), ("minus", {}, 100, 1), ("minus", {"keep": 0}, 100, 1),
    ("minus", {}, 0, 0), ("multiply", {}, 7, 14), ("multiply", {"k": 3}, 7, 21), ("multiply", {}, 0, 0),
    ("divide", {}, 9, 4), ("divide", {}, 1, 1), ("divide", {}, 0, 0), ("divide", {"k": 4}, 9, 2),
])
def test_tau_of_the_paper(target, settings, count, tau):
    assert build("target", target, settings).tau(count) == tau


def altered(target, settings, clean, seed=0):
    return build("target", target, settings).alter(clean.points, clean.size, np.random.default_rng(seed))


def rows(points):
    """The points as a set."""
    return set(map(tuple, points.tolist()))


@pytest.mark.parametrize("target", ["minus", "divide"])
def test_heads_that_stay_are_a_random_choice_of_the_heads(target):
    clean = a_scene(250)
    first, other = (rows(altered(target, {}, clean, seed)) for seed in (0, 1))
    assert first < rows(clean.points) and other < rows(clean.points) and first != other


@pytest.mark.parametrize("layout", ["random", "grid"])
def test_add_keeps_the_heads(layout):
    clean = a_scene(250)
    np.testing.assert_array_equal(altered("add", {"layout": layout}, clean)[:250].astype(np.float32), clean.points)


def test_add_draws_its_heads_uniformly_over_the_image():
    extra = altered("add", {"n": 20_000}, a_scene(0, (600, 1000)))
    cells, _, _ = np.histogram2d(*extra.T, bins=(5, 4), range=[(0, 1000), (0, 600)])
    assert 850 < cells.min() and cells.max() < 1150


def test_the_grid_of_the_papers_code_has_90_points_and_leaves_the_sides_empty():
    extra = altered("add", {"layout": "grid"}, a_scene(0, (768, 1024)))
    assert len(extra) == 100 and len(rows(extra)) == 90
    assert set(extra[:, 0]) == {64.0 * i for i in range(1, 11)}  # x from the height
    assert extra[:, 1].max() == 767 and (extra[:, 1] == 767).sum() == 20  # y from the width, clipped


@pytest.mark.parametrize("settings, shift", [({}, 1), ({"shift": 2, "wrap": True}, 2)])
def test_multiply_doubles_each_head_up_and_to_the_left(settings, shift):
    clean = Scene("", np.zeros((768, 1024, 3), np.uint8), np.float32([(5, 9), (700.5, 300.25)]), None)
    heads, copies = np.split(altered("multiply", settings, clean), 2)
    np.testing.assert_array_equal(heads, clean.points)
    np.testing.assert_array_equal(copies, clean.points - shift)


@pytest.mark.parametrize("settings, copy", [({}, (0, 0)), ({"shift": 2, "wrap": True}, (1022.5, 767))])
def test_a_copy_that_leaves_the_image_stays_at_the_edge_or_is_wrapped(settings, copy):
    clean = Scene("", np.zeros((768, 1024, 3), np.uint8), np.float32([(0.5, 1)]), None)
    assert altered("multiply", settings, clean)[1].tolist() == list(copy)


# Poisoning

def test_a_poison_rate_that_comes_to_no_image_is_refused():
    with pytest.raises(UserError, match="attack.poison_rate = 0.01: that is none of 8"):
        an_attack(rate=0.01).poison([a_scene(i) for i in range(8)], 0)


@pytest.mark.parametrize("number, rate, poisoned", [(40, 0.1, 4), (8, 0.3, 2), (8, 1, 8)])
def test_the_poison_rate_is_a_share_of_the_training_images(number, rate, poisoned):
    assert len(an_attack(rate=rate).poison([a_scene(3)] * number, seed=0)) == poisoned


def test_poisoned_copies_are_named_after_their_originals_and_stamped():
    attack, originals = an_attack(rate=0.5), {scene.id: scene for scene in scenes()}
    copies = attack.poison(scenes(), seed=0)
    assert len({copy.id for copy in copies}) == len(copies) == 4
    for copy in copies:
        original = originals[copy.id.removesuffix("+poison")]
        assert copy.id == f"{original.id}+poison" and copy.sigma == original.sigma
        np.testing.assert_array_equal(copy.image, stamp_scenes(attack, [original])[0])
        assert copy.image.dtype == np.uint8 and copy.image.flags.c_contiguous


@each_target
def test_poisoning_leaves_the_originals_as_they_are(target, settings):
    originals = scenes()
    listed = list(originals)
    an_attack(target, settings).poison(originals, seed=0)
    assert all(one is other for one, other in zip(originals, listed, strict=True))
    for scene, untouched in zip(originals, scenes()):
        np.testing.assert_array_equal(scene.image, untouched.image)
        np.testing.assert_array_equal(scene.points, untouched.points)


def poison(seed):
    """Names and false heads of a random half of the scenes."""
    return {copy.id: copy.points.tolist() for copy in an_attack("add", rate=0.5).poison(scenes(), seed)}


def test_poison_follows_from_the_seed():
    assert poison(0) == poison(0)
    assert poison(0).keys() != poison(1).keys()
    both = poison(0).keys() & poison(1).keys()
    assert both and all(poison(0)[name] != poison(1)[name] for name in both)


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_images_stamped_in_training_and_in_testing_are_the_same(alpha):
    attack, clean = an_attack(alpha=alpha), a_scene(5)
    stored = stamp_scenes(attack, [clean])[0]
    tested = attack.stamp(torch.tensor(clean.image).permute(2, 0, 1)[None].float() / 255)
    np.testing.assert_array_equal((tested[0] * 255).permute(1, 2, 0).round().numpy(), stored)
    assert torch.equal(tested, torch.from_numpy(stored).permute(2, 0, 1)[None].float() / 255)


def test_poison_looks_the_same_whatever_it_is_stamped_with():
    together = stamp_scenes(an_attack(), scenes() * 2)
    for scene, stamped in zip(scenes() * 2, together):
        np.testing.assert_array_equal(stamped, stamp_scenes(an_attack(), [scene])[0])
