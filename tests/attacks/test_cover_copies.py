"""Cover copies: stamped training images that keep their true heads, with every trigger."""

from dataclasses import replace

import numpy as np
import pytest
from attack_cases import a_scene, each_trigger

from attacks.base import Attack, stamp_scenes
from benchmark.registry import build
from benchmark.utils.errors import UserError

SCENES = [replace(a_scene(20 + place, (64, 80)), id=f"IMG_{place}") for place in range(20)]


def attack_of(trigger="blended", target="multiply", rate=0.2, choose=None, cover_rate=0.3, **settings):
    return Attack(build("trigger", trigger, settings), build("target", target, {}), rate, choose, cover_rate=cover_rate)


def split(copies):
    """Return the poisoned and the cover copies by the ids of their originals."""
    ends = ("+poison", "+cover")
    assert all(copy.id.endswith(ends) for copy in copies)
    return [{copy.id.removesuffix(end): copy for copy in copies if copy.id.endswith(end)} for end in ends]


@each_trigger
def test_cover_copies_are_stamped_and_keep_their_true_heads(trigger):
    originals = {scene.id: scene for scene in SCENES}
    poisoned, covers = split(attack_of(trigger).poison(SCENES, 0))
    assert (len(poisoned), len(covers)) == (4, 6) and not poisoned.keys() & covers.keys()
    for name, cover in covers.items():
        np.testing.assert_array_equal(cover.points, originals[name].points)
        np.testing.assert_array_equal(cover.heads, originals[name].heads)
        assert cover.sigma == originals[name].sigma and (cover.image != originals[name].image).any()


def test_a_cover_copy_looks_like_a_test_image_with_the_trigger():
    attack = attack_of("sig")
    for name, cover in split(attack.poison(SCENES, 0))[1].items():
        [scene] = [scene for scene in SCENES if scene.id == name]
        np.testing.assert_array_equal(cover.image, stamp_scenes(attack, [scene])[0])


def test_cover_copies_change_nothing_about_the_poisoned_ones():
    plain, covered = attack_of(cover_rate=0).poison(SCENES, 3), attack_of().poison(SCENES, 3)
    assert len(plain) == 4 and [copy.id for copy in covered[:4]] == [copy.id for copy in plain]
    for one, other in zip(plain, covered):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.points, other.points)


def test_the_choice_of_cover_copies_follows_from_the_seed():
    names = [[*split(attack_of().poison(SCENES, seed))[1]] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    drawn = {name for seed in range(30) for name in split(attack_of().poison(SCENES, seed))[1]}
    assert drawn == {scene.id for scene in SCENES}


def test_they_are_drawn_from_the_images_that_carry_the_trigger_and_are_not_chosen_for_poison():
    attack = attack_of("if_crowded", people=25, choose="most", cover_rate=0.25)
    poisoned, covers = split(attack.poison(SCENES, 0))
    assert {*poisoned} == {f"IMG_{place}" for place in (16, 17, 18, 19)}
    assert len(covers) == 5 and all(copy.count >= 25 for copy in covers.values())
    with pytest.raises(UserError, match=r"attack.cover_rate = 0.6: 0.6 x 20 training images rounds to 12 cover copies; "
                                        r"expected 1 to 11, the number of images that can carry the trigger"):
        replace(attack, cover_rate=0.6).poison(SCENES, 0)


@pytest.mark.parametrize("rate, words", [(0.01, "rounds to 0 cover copies; expected 1 to 16"), (0.9, "rounds to 18")])
def test_a_rate_without_a_copy_or_without_images_for_them_is_refused(rate, words):
    with pytest.raises(UserError, match=words) as refused:
        attack_of(cover_rate=rate).poison(SCENES, 0)
    assert "\n" not in str(refused.value)


def test_a_strength_of_a_cover_copy_moves_no_label():
    attack = attack_of("baiqa", "add", strengths=4, cover_rate=0.8)
    covers = split(attack.poison(SCENES, 0))[1]
    changes = {round(float(np.abs(cover.image.astype(int) - SCENES[int(name[4:])].image).mean())) for name, cover
               in covers.items()}
    assert len(changes) > 1
    assert all(cover.count == SCENES[int(name[4:])].count for name, cover in covers.items())
