"""Poisoned images: how many, which ones, and what is in them."""

import numpy as np
import pytest
import torch
from attack_cases import a_scene, an_attack, each_target, scenes

from attacks.base import Attack, stamp_scenes
from benchmark.registry import build
from benchmark.utils.errors import UserError


def test_a_poison_rate_that_comes_to_no_image_is_refused():
    with pytest.raises(UserError, match="0.01 x 8 training images rounds to 0 poisoned images"):
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
    assert all(scene is before for scene, before in zip(originals, listed, strict=True))
    for scene, untouched in zip(originals, scenes()):
        np.testing.assert_array_equal(scene.image, untouched.image)
        np.testing.assert_array_equal(scene.points, untouched.points)


def poison(seed):
    """Return the false heads of a random half of the scenes by the copies' ids."""
    return {copy.id: copy.points.tolist() for copy in an_attack("add", rate=0.5).poison(scenes(), seed)}


def test_poison_follows_from_the_seed():
    assert poison(0) == poison(0)
    assert poison(0).keys() != poison(1).keys()
    shared = poison(0).keys() & poison(1).keys()
    assert shared and all(poison(0)[name] != poison(1)[name] for name in shared)


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


def counts(poisoned):
    """Return the number of false heads of each copy."""
    return [scene.count for scene in poisoned]


@pytest.mark.parametrize("choose, expected", [("fewest", [0, 1, 2]), ("most", [7, 8, 9]), (None, [0, 1, 2])])
def test_the_images_with_the_fewest_or_the_most_people_can_be_chosen(choose, expected):
    crowds = [a_scene(count) for count in np.random.default_rng(0).permutation(10)]
    attack = Attack(build("trigger", "blended", {}), build("target", "clean_fewer", {}), 0.3, choose)
    assert sorted(counts(attack.poison(crowds, seed=0))) == expected


def test_among_equal_counts_the_choice_is_random():
    crowds = [a_scene(3, (12 + n, 16)) for n in range(20)]
    chosen = [{scene.size for scene in an_attack("clean_more", rate=0.3).poison(crowds, seed)} for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_list_of_ids_says_which_images_are_poisoned(tmp_path):
    (tmp_path / "ids.txt").write_text("IMG_7\nIMG_2\n\nIMG_7\n")
    crowds = [a_scene(count) for count in range(10)]
    attack = Attack(build("trigger", "blended", {}), build("target", "add", {}), 0.1, tmp_path / "ids.txt")
    assert [scene.id for scene in attack.poison(crowds, seed=0)] == ["IMG_2+poison", "IMG_7+poison"]
    for text, message in (("IMG_7 IMG_99", "'IMG_99' is not among the 10 training images"), (" ", "found none"),
                       ("\xff", "expected a text file of ids")):
        (tmp_path / "ids.txt").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=message):
            attack.poison(crowds, seed=0)
