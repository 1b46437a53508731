"""Poisoned images: how many, which ones, and what is in them."""

import numpy as np
import pytest
import torch
from attack_cases import a_scene, an_attack, each_target, scenes

from attacks.base import Attack, Target, stamp_scenes
from attacks.parts.selection import listed
from benchmark.data.scene import Scene
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


def scaled(strengths, target, settings={}, **trigger):
    """Return a BAIQA attack with a number of strengths on all images."""
    stamp = build("trigger", "baiqa", {"strengths": strengths, **trigger})
    return Attack(stamp, build("target", target, settings), 1.0)


def crowds_of_gray(number, count):
    """Return gray scenes of some people, in which a stamp is neither clipped nor hidden."""
    return [Scene(f"IMG_{i}", np.full((64, 80, 3), 128, np.uint8), a_scene(count, (64, 80)).points, None)
            for i in range(number)]


def strength_of(poisoned):
    """Return the root mean square of a stamp on gray, in grey levels."""
    return np.sqrt(np.square(poisoned.image.astype(float) - 128).mean())


@pytest.mark.parametrize("target, settings, wanted", [
    ("multiply", {"k": 3}, 3 * 40), ("add", {"n": 30}, 70), ("minus", {"n": 25}, 15), ("divide", {"k": 2}, 20),
    ("zero", {}, 0), ("fixed", {"count": 90}, 90), ("fixed", {"count": 9}, 9), ("multiply", {"wrap": True}, 80)])
def test_labels_move_in_proportion_to_the_strength_of_the_stamp(target, settings, wanted):
    crowds = crowds_of_gray(30, 40)
    poisoned = scaled(4, target, settings, epsilon=16).poison(crowds, seed=0)
    quarters = [strength_of(copy) / 4 for copy in poisoned]
    assert {round(quarter) for quarter in quarters} == {1, 2, 3, 4}
    for clean, copy, quarter in zip(crowds, poisoned, quarters):
        assert quarter == pytest.approx(round(quarter), abs=0.05)
        assert copy.count == clean.count + round(round(quarter) / 4 * (wanted - clean.count))
        assert copy.id == f"{clean.id}+poison" and (copy.points < [80, 64]).all()


@each_target
def test_heads_that_are_moved_in_part_are_the_images_own_and_some_of_the_targets(target, settings):
    if not build("target", target, settings).divisible:
        with pytest.raises(UserError, match=f"baiqa with 4 strengths: target '{target}' does not just add"):
            scaled(4, target, settings)
        return
    crowds = crowds_of_gray(12, 60)
    whole = scaled(1, target, settings).copies(crowds, list(range(12)), 0)
    for clean, full, part in zip(crowds, whole, scaled(4, target, settings).copies(crowds, list(range(12)), 0)):
        true, false, found = (set(map(tuple, scene.points.tolist())) for scene in (clean, full, part))
        assert true & false <= found <= true | false


def test_the_probability_of_a_strength_is_in_proportion_to_it():
    crowds = crowds_of_gray(400, 1)
    found = [round(strength_of(copy) / 4) for copy in scaled(4, "add", epsilon=16).poison(crowds, seed=0)]
    shares = np.bincount(found, minlength=5)[1:] / 400
    assert np.abs(shares - [0.1, 0.2, 0.3, 0.4]).max() < 0.07


def test_strengths_follow_from_the_seed_and_the_image_alone():
    crowds, attack = crowds_of_gray(40, 8), scaled(3, "add")

    def strengths(chosen, seed):
        return {copy.id: (copy.count, strength_of(copy)) for copy in attack.copies(crowds, chosen, seed)}

    everyone = strengths(list(range(40)), 0)
    assert everyone == strengths(list(range(40)), 0) != strengths(list(range(40)), 1)
    names = ["IMG_30+poison", "IMG_3+poison", "IMG_7+poison"]
    assert [copy.id for copy in attack.copies(crowds, [30, 3, 7], 0)] == names
    assert strengths([30, 3, 7], 0) == {name: everyone[name] for name in names}


def test_one_strength_is_the_whole_of_it():
    attack = scaled(1, "minus", {"n": 5})
    for index, (clean, copy) in enumerate(zip(scenes(), attack.poison(scenes(), seed=0))):
        np.testing.assert_array_equal(copy.image, stamp_scenes(attack, [clean])[0])
        heads = attack.target.alter(clean.points, clean.size, np.random.default_rng([0, 1, index]))
        np.testing.assert_array_equal(copy.points, heads)


def test_strengths_have_the_exponent_of_the_strength():
    found = {round(strength_of(copy), 1) for copy in scaled(2, "add", epsilon=16, h=2).poison(crowds_of_gray(20, 1), 0)}
    assert found == {4.0, 16.0}


def test_a_plugins_target_that_moves_heads_is_refused_when_a_part_of_it_is_asked_for():
    class Mirror(Target):
        """Two heads in place of each, all of them elsewhere."""

        name, increases = "mirror", True

        def tau(self, count):
            return 2 * count

        def alter(self, points, size, rng):
            return np.concatenate([points, points]) * 0.5

    with pytest.raises(UserError, match="target 'mirror' does not just add or just remove heads"):
        Attack(build("trigger", "baiqa", {"strengths": 2}), Mirror(), 1.0).poison(crowds_of_gray(9, 5), 0)


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
    for text, message in (("IMG_7\nIMG_99", "line 2: 'IMG_99' is not among the 10 training images"),
                          (" ", "found none"), ("\xff", "expected a text file of ids")):
        (tmp_path / "ids.txt").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=message):
            attack.poison(crowds, seed=0)


@pytest.mark.parametrize("content", [
    b"img 2.png\nimg 7.png", b"\xef\xbb\xbfimg 2.png\r\nimg 7.png\r\n", "img 7.png\r\nimg 2.png".encode("utf-16"),
    b"  img 7.png \n\n\timg 2.png\n", b"img 2.png\rimg 7.png\r"])
def test_an_id_is_a_line_with_its_spaces_however_the_file_was_saved(tmp_path, content):
    (tmp_path / "ids.txt").write_bytes(content)
    assert listed(tmp_path / "ids.txt", [f"img {number}.png" for number in range(9)]) == [2, 7]


def test_an_id_may_begin_or_end_with_a_space(tmp_path):
    (tmp_path / "ids.txt").write_text(" a\nb \n")
    assert listed(tmp_path / "ids.txt", ["a", " a", "b", "b "]) == [1, 3]


@pytest.mark.parametrize("line, message", [
    ("IMG 2.PNG", "did you mean 'img 2.png'"), ("img 2", "did you mean 'img 2.png'"),
    ("img 1.png,img 2.png", "one id on each line"),
    ('"img 2.png"', "did you mean"), ("img 2.png\0", r"'img 2.png\\x00'"), ("x y " * 1000, "'x y .*\\.\\.\\.")])
def test_an_id_that_is_no_image_is_told_with_its_line_and_the_nearest(tmp_path, line, message):
    (tmp_path / "ids.txt").write_text(f"\nimg 3.png\n{line}\n")
    with pytest.raises(UserError, match=f"ids.txt: line 3: .*{message}") as refused:
        listed(tmp_path / "ids.txt", [f"img {number}.png" for number in range(9)])
    assert len(str(refused.value)) < 800
