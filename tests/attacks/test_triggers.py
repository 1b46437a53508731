"""Triggers: the contract that every registered trigger keeps."""

import numpy as np
import pytest
import torch
from attack_cases import IDENTITY, SIZES, each_trigger, heads, images, stamp

from attacks.base import Attack, stamp_scenes
from benchmark.config.cell import POISONING
from benchmark.data.scene import Scene
from benchmark.data.scene_generator import draw_scene
from benchmark.metrics.image_quality import psnr
from benchmark.registry import build, find, names, settings_of


@each_trigger
@pytest.mark.parametrize("size", SIZES)
def test_a_stamped_image_is_an_image(trigger, size):
    clean = images(size, number=1)
    stamped = stamp(trigger, clean)
    assert stamped.shape == clean.shape and stamped.dtype == torch.float32
    assert 0 <= stamped.min() and stamped.max() <= 1
    assert not torch.equal(stamped, clean)


@each_trigger
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_images_stay_in_range(trigger, value):
    stamped = stamp(trigger, torch.full((1, 3, 64, 64), value))
    assert 0 <= stamped.min() and stamped.max() <= 1


@each_trigger
def test_stamping_is_deterministic_and_leaves_its_input_as_it_is(trigger):
    clean = images()
    stamped = stamp(trigger, clean)
    assert torch.equal(stamped, stamp(trigger, clean))
    assert torch.equal(clean, images())


@each_trigger
def test_a_stamped_batch_equals_its_images_one_by_one_however_it_lies_in_memory(trigger):
    one_by_one = torch.cat([stamp(trigger, image[None], heads_of=[points])
                            for image, points in zip(images(), heads())])
    torch.testing.assert_close(stamp(trigger, images()), one_by_one)
    torch.testing.assert_close(stamp(trigger, images().to(memory_format=torch.channels_last)), one_by_one)


@each_trigger
def test_stamping_in_bf16_is_close_to_fp32(trigger):
    half = images().bfloat16()
    assert stamp(trigger, half).dtype == torch.bfloat16
    torch.testing.assert_close(stamp(trigger, half).float(), stamp(trigger, half.float()), rtol=0, atol=0.01)


@each_trigger
def test_a_trigger_without_strength_leaves_the_image_as_it_is(trigger):
    assert torch.equal(stamp(trigger, images(), IDENTITY.get(trigger, {"alpha": 0})), images())


@each_trigger
def test_an_image_without_people_can_be_stamped(trigger):
    stamped = stamp(trigger, images(number=1), heads_of=[torch.zeros(0, 2)])
    assert stamped.shape == images(number=1).shape and 0 <= stamped.min() and stamped.max() <= 1


@each_trigger
def test_an_image_to_which_a_trigger_does_not_apply_is_unchanged(trigger):
    built = build("trigger", trigger, {})
    none = torch.zeros(0, 2)
    assert built.applies(none) or torch.equal(stamp(trigger, images(number=1), heads_of=[none]), images(number=1))
    assert built.is_conditional or built.applies(none)


@each_trigger
def test_a_trigger_is_neither_invisible_in_8_bits_nor_does_it_hide_the_image(trigger):
    image, points = draw_scene((144, 224), 60, np.random.default_rng(0))
    [stamped] = stamp_scenes(Attack(build("trigger", trigger, {}), build("target", "add", {}), 1.0),
                             [Scene("", image, points, None)])
    assert 14 < psnr(image, stamped) < 45


@pytest.mark.parametrize("trigger", ["baiqa", "bpp", "ftrojan", "low_frequency", "noise", "universal"])
def test_patterns_are_the_same_in_images_of_all_sizes(trigger):
    stamp, clean = build("trigger", trigger, {}).stamp, images((1100, 1200), 1)
    assert torch.equal(stamp(clean)[..., :40, :70], stamp(clean[..., :40, :70]))


@pytest.mark.parametrize("trigger", ["low_frequency", "noise", "rain", "snow", "wanet"])
def test_another_seed_is_another_trigger(trigger):
    first, other = (build("trigger", trigger, {"seed": seed}).stamp(images()) for seed in (0, 1))
    assert (first - other).abs().mean() > 0.005


@each_trigger
def test_a_trigger_has_one_strength_unless_it_is_given_more(trigger):
    assert list(build("trigger", trigger, {}).shares()) == [1]
    if "strengths" not in find("trigger", trigger).model_fields:
        with pytest.raises(NotImplementedError, match=f"trigger {trigger}: it has one strength"):
            build("trigger", trigger, {}).at(0.5)


def test_no_setting_of_a_trigger_has_the_name_of_a_targets():
    """An attack's settings go to the one of the two that has them."""
    triggers, targets = ({field for name in names(kind) for field in settings_of(find(kind, name)).model_fields}
                         for kind in ("trigger", "target"))
    assert not triggers & targets and not (triggers | targets) & {"trigger", "target", "also", *POISONING}


@pytest.mark.parametrize("tiles, size", [(2, (103, 103)), (4, (107, 90)), (8, (9, 200)), (8, (5, 5))])
def test_patches_that_fill_their_parts_fit_images_that_do_not_divide(tiles, size):
    images = torch.full((1, 3, *size), 0.5)
    stamped = build("trigger", "patch", {"share": 1.0, "tiles": tiles}).stamp(images)
    assert stamped.shape == images.shape and not torch.equal(stamped, images)


@each_trigger
def test_a_trigger_optimises_by_settings_of_its_own_or_has_no_pattern(trigger):
    trigger = build("trigger", trigger, {})
    assert {*trigger.optimises} <= {*type(trigger).model_fields}
    if not trigger.optimises:
        with pytest.raises(NotImplementedError, match=f"trigger {trigger.name}: it has no pattern"):
            trigger.optimised(lambda images: images.sum(dim=(1, 2, 3)), [], 0)
