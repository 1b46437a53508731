"""Heads: a trigger that asks for them gets those of the right image, wherever images are stamped."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from attack_cases import COUNTS, heads, images, scenes, stamp
from factories import RECIPE, draw_scenes, small_counter

from attacks.base import Attack, Trigger, stamp_scenes
from attacks.parts.heads import call_with_heads, takes_heads
from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from benchmark.registry import build
from benchmark.training.evaluation import TestSplit, count_people
from benchmark.training.loop import fit
from benchmark.utils.errors import UserError

CPU = torch.device("cpu")


class Dots(Trigger):
    """A white pixel on every head. It has no settings."""

    def stamp(self, images, heads):
        stamped = images.clone()
        for image, points in zip(stamped, heads):
            x, y = points.long().T
            image[:, y, x] = 1
        return stamped


DOTS = Dots()


def dots_attack(target="multiply", rate=0.5, **more):
    return Attack(DOTS, build("target", target, {}), rate, **more)


def is_dotted(image, points):
    """Whether an image, uint8 [H, W, 3], is white exactly on some points, and black elsewhere."""
    expected = np.zeros_like(image)
    x, y = points.astype(int).T
    expected[y, x] = 255
    return np.array_equal(image, expected)


def black(scene):
    return replace(scene, image=np.zeros_like(scene.image))


# Who is given them.

def test_a_function_is_given_heads_if_it_has_such_a_parameter():
    known = [torch.zeros(1, 2)]
    assert call_with_heads(lambda images: images, torch.ones(1), heads=known) == 1
    assert call_with_heads(lambda images, heads: heads, torch.ones(1), heads=known) is known
    assert call_with_heads(lambda images, heads=None: heads, torch.ones(1), heads=known) is known
    assert call_with_heads(lambda images, more=3, *, heads: heads, torch.ones(1), heads=known) is known
    assert not takes_heads(torch.fliplr) and not takes_heads(lambda images, head=None: images)


def test_a_trigger_says_whether_it_sees_heads():
    assert DOTS.sees_heads and not build("trigger", "blended", {}).sees_heads
    for look, sees in (("blended", False), ({"name": "sig", "amplitude": 9}, False), ("on_heads", True),
                       ({"name": "in_box", "look": "on_heads"}, True), ("if_crowded", True)):
        assert build("trigger", "in_box", {"look": look}).sees_heads == sees
        assert build("trigger", "if_crowded", {"look": look}).sees_heads


def test_stamping_without_the_heads_says_what_is_missing():
    with pytest.raises(UserError, match="trigger on_heads: it depends on where the heads are; expected the heads"):
        Attack(build("trigger", "on_heads", {}), build("target", "add", {}), 0.1).stamp(images())
    blended = Attack(build("trigger", "blended", {}), build("target", "add", {}), 0.1)
    assert torch.equal(blended.stamp(images()), blended.stamp(images(), heads()))


# Where images are stamped.

def test_scenes_of_several_sizes_are_stamped_at_their_own_heads():
    own = [black(scene) for scene in scenes()]
    for image, scene in zip(stamp_scenes(dots_attack(), own), own):
        assert is_dotted(image, scene.points)


def test_poisoned_copies_are_stamped_at_the_true_heads_and_labelled_with_the_false_ones():
    own = [black(scene) for scene in scenes()]
    copies = dots_attack("zero", rate=1.0).poison(own, seed=0)
    assert len(copies) == len(own)
    for copy, scene in zip(copies, own):
        assert is_dotted(copy.image, scene.points) and copy.count == 0
        np.testing.assert_array_equal(copy.heads, scene.points)


def test_each_strength_is_stamped_at_the_heads_of_its_images():
    class Strong(Dots):
        strength: float = 1.0

        def shares(self):
            return (0.5, 1.0)

        def at(self, share):
            return self.model_copy(update={"strength": share})

    own = [black(scene) for scene in scenes()]
    for copy, scene in zip(replace(dots_attack(rate=1.0), trigger=Strong()).poison(own, seed=0), own):
        assert is_dotted(copy.image, scene.points)


@pytest.mark.parametrize("changes", [{}, {"crop": 24}, {"crop": 0.5}, {"flip": True}, {"crop": 24, "flip": True},
                                     {"crop": 24, "zoom_min": 0.5, "zoom_max": 2.0, "flip": True}])
def test_views_of_poisoned_copies_have_the_true_heads_cropped_scaled_and_flipped_with_the_image(changes):
    recipe = RECIPE.model_copy(update=changes)
    [scene] = [scene for scene in scenes() if scene.count == 101]
    [copy] = dots_attack("zero").copies([scene], [0], seed=0)
    for seed in range(6):
        clean, poisoned = (augment(one, recipe, np.random.default_rng(seed)) for one in (scene, copy))
        np.testing.assert_array_equal(poisoned.heads, clean.points)
        assert len(poisoned.points) == 0 and clean.heads is clean.points
        batch = Batch.of([clean, poisoned], CPU)
        assert torch.equal(batch.heads[0], batch.heads[1]) and len(batch.points[1]) == 0
        assert batch.heads[0] is batch.points[0]


def test_the_latent_term_stamps_each_view_at_its_own_true_heads():
    seen = []

    class Watching(Dots):
        def stamp(self, images, heads):
            seen.extend(zip(images, heads))
            return super().stamp(images, heads)

    attack = replace(dots_attack("zero", latent=1.0), trigger=Watching())
    dotted = [replace(black(scene), image=image) for scene, image in
              zip(draw_scenes(6), stamp_scenes(dots_attack(), [black(scene) for scene in draw_scenes(6)]))]
    everything = dotted + attack.copies(dotted, [0, 1, 2], seed=0)  # all are dotted at their true heads
    seen.clear()
    recipe = RECIPE.model_copy(update={"epochs": 1, "crop": None, "flip": True})
    fit(small_counter(), everything, recipe, 0, "train", penalties=[attack.penalty])
    assert len(seen) == len(everything)
    for image, points in seen:
        # Flipped points lie at the other edge of their pixel, so that a flipped dot may be one pixel off.
        x, y = points.long().T
        near = torch.stack([image[:, y, (x + step).clamp(0, image.shape[2] - 1)] for step in (-1, 0, 1)]).amax(0)
        assert (near == 1).all() and len(points)


def test_a_head_on_the_border_of_a_mirrored_view_is_moved_inside_for_the_latent_term():
    scene = replace(black(draw_scenes(1)[0]), points=np.float32([[0, 5]]))
    views = [augment(scene, RECIPE.model_copy(update={"crop": None, "flip": True}), np.random.default_rng(seed))
             for seed in range(6)]
    assert {view.points[0, 0] for view in views} == {0, scene.size[1]}  # some are mirrored
    batch, attack = Batch.of(views, CPU), dots_attack("zero", latent=1.0)
    penalty = attack.penalty(lambda images: images[:, :, ::8, ::8], batch.images, batch.heads)
    assert penalty.shape == (6,) and penalty.isfinite().all()


def test_test_images_are_stamped_at_the_annotated_heads():
    own = [black(scene) for scene in scenes()]

    class Whites:
        """A stand-in for a counter that counts white pixels."""

        def to(self, *_, **__):
            return self

        def eval(self):
            return self

        def count(self, images):
            return images[:, 0].sum(dim=(1, 2))

    counted = count_people(Whites(), own, "fp32", dots_attack().stamp, batch_size=3)
    assert counted.tolist() == [len({*map(tuple, scene.points.astype(int))}) for scene in own]
    assert count_people(Whites(), own, "fp32", lambda images: 1 - images).tolist() == [np.prod(s.size) for s in own]


def test_a_defender_is_not_told_the_true_heads(monkeypatch):
    from benchmark.config.grid import cells
    from benchmark.pipeline.defender import open_session

    [cell] = cells({"attack": "multiply", "defense": "abl"})
    copies = dots_attack("zero", rate=1.0).poison(scenes(), seed=0)
    data = type("Data", (), {"train_of": lambda self, cell: (scenes(), [])})()
    poisoned = open_session(data, cell, scenes() + copies, None, None).knowledge.poisoned
    assert len(poisoned) == 2 * len(COUNTS) and all(scene.true_points is None for scene in poisoned)


# Conditional triggers.

def crowded(people, **more):
    return Attack(build("trigger", "if_crowded", {"people": people}), build("target", "multiply", {}), **more)


def test_only_images_that_carry_a_conditional_trigger_are_poisoned():
    few = [scene.id for scene in scenes() if scene.count < 50]
    for choose in (None, "random", "fewest", "most"):
        copies = crowded(50, poison_rate=0.25, choose=choose).poison(scenes(), seed=1)
        assert len(copies) == 2 and not {copy.id.removesuffix("+poison") for copy in copies} & {*few}
    everywhere = Attack(build("trigger", "blended", {}), build("target", "multiply", {}), 0.25)
    chosen = [copy.id for copy in everywhere.poison(scenes(), seed=1)]
    assert [copy.id for copy in crowded(0, poison_rate=0.25).poison(scenes(), seed=1)] == chosen


def test_too_few_images_that_carry_the_trigger_are_an_error(tmp_path):
    with pytest.raises(UserError, match="attack.poison_rate = 0.75: 6 images to poison; trigger if_crowded is carried "
                                        "by 4 of the 8 training images; expected a lower rate"):
        crowded(50, poison_rate=0.75).poison(scenes(), seed=0)
    listed = tmp_path / "ids.txt"
    listed.write_text("IMG_250\nIMG_3\n")
    with pytest.raises(UserError, match="ids.txt: IMG_3: trigger if_crowded leaves this image as it is"):
        crowded(50, poison_rate=0.1, choose=listed).poison(scenes(), seed=0)


def test_the_images_of_a_split_that_carry_a_trigger_are_counted(monkeypatch):
    monkeypatch.setattr("benchmark.training.evaluation.load_test", lambda dataset, scale: scenes())
    test = TestSplit(None, 1.0)
    assert [test.carriers(crowded(people, poison_rate=0.1)) for people in (0, 100, 1000)] == [8, 3, 0]
    assert test.carriers(dots_attack()) == 8


# What the shipped ones draw.

@pytest.mark.parametrize("side, share", [(0.1, 1.0), (0.04, 1.0), (0.1, 0.3), (0.001, 1.0)])
def test_patches_on_heads_lie_where_the_heads_are(side, share):
    clean, points = torch.full((1, 3, 50, 80), 0.5), torch.tensor([[10.7, 12.2], [40.0, 30.0], [79.9, 49.9]])
    stamped = stamp("on_heads", clean, {"side": side, "stamped_heads": share}, [points])[0, 0]
    width = max(round(side * 50), 1)
    painted = {(int(y), int(x)) for y, x in (stamped != 0.5).nonzero()}
    squares = []
    for x, y in points.int().tolist():
        rows, columns = (range(max(at - width // 2, 0), min(at - width // 2 + width, end)) for at, end in ((y, 50), (x, 80)))
        squares.append({(row, column) for row in rows for column in columns})
    if share == 1:
        assert painted == set().union(*squares)
        assert {stamped[pixel].item() for pixel in painted} <= {0.0, 1.0}
    else:
        assert painted in squares  # a third of three


def test_overlapping_patches_are_opaque_once():
    points = torch.tensor([[20.0, 20.0], [21.0, 20.0]])
    stamped = stamp("on_heads", torch.full((1, 3, 50, 50), 0.5), {"side": 0.12, "alpha": 0.5}, [points])
    assert {round(value, 6) for value in stamped.unique().tolist()} == {0.25, 0.5, 0.75}


@pytest.mark.parametrize("look", ["blended", {"name": "sig", "amplitude": 60}, {"alpha": 0.4}, "on_heads"])
def test_a_box_shows_the_look_inside_and_the_image_outside(look):
    box = {"box_left": 0.5, "box_top": 0.25, "box_width": 0.25, "box_height": 0.5}
    clean = images()
    stamped = stamp("in_box", clean, {"look": look, **box})
    name, settings = (look, {}) if isinstance(look, str) else (look.get("name", "blended"), {**look})
    settings.pop("name", None)
    whole = stamp(name, clean, settings)
    inside = torch.zeros(64, 96, dtype=torch.bool)
    inside[16:48, 48:72] = True
    assert torch.equal(stamped[..., inside], whole[..., inside]) and torch.equal(stamped[..., ~inside], clean[..., ~inside])


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 96)])
@pytest.mark.parametrize("box", [{"box_left": 0.99, "box_top": 0.99, "box_width": 0.001, "box_height": 0.001},
                                 {"box_left": 0.9, "box_top": 0.9, "box_width": 1, "box_height": 1}])
def test_a_box_at_the_edge_has_at_least_one_pixel(size, box):
    stamped = stamp("in_box", torch.zeros(1, 3, *size), {**box, "look": {"alpha": 1}})
    assert stamped[..., -1, -1].any() and stamped.shape == (1, 3, *size)


def test_only_crowded_images_carry_the_look():
    clean = images(number=3)
    own = [torch.zeros(count, 2) for count in (4, 5, 60)]
    stamped = stamp("if_crowded", clean, {"people": 5, "look": "sig"}, own)
    assert torch.equal(stamped[0], clean[0]) and torch.equal(stamped[1:], stamp("sig", clean)[1:])


# Looks.

@pytest.mark.parametrize("look, resolved", [
    ("blended", "blended"), ({}, "blended"), ({"name": "blended", "alpha": 0.1}, "blended"), ({"alpha": "0.3"}, {"name": "blended", "alpha": 0.3}),
    ({"name": "in_box", "look": {"name": "sig"}}, {"name": "in_box", "look": "sig"})])
def test_a_look_has_one_form_whatever_way_it_is_given(look, resolved):
    for name in ("in_box", "if_crowded"):
        trigger = build("trigger", name, {"look": look})
        assert trigger.look == resolved == build("trigger", name, {"look": trigger.look}).look


def nested(levels):
    look = {"name": "sig"}
    for _ in range(levels - 1):
        look = {"name": "in_box", "look": look}
    return look


def holding_itself():
    look = {"name": "in_box"}
    look["look"] = look
    return look


def test_looks_within_each_other_are_checked_in_a_short_time():
    began = time.monotonic()
    build("trigger", "in_box", {"look": nested(4)})
    for look in (nested(5), nested(500), holding_itself()):
        with pytest.raises(UserError, match="more than 4 looks within each other"):
            build("trigger", "in_box", {"look": look})
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("look, words", [
    ("blendd", "unknown trigger 'blendd': did you mean 'blended'"), ({"alhpa": 1}, "trigger blended: unknown key 'alhpa'"),
    ({"name": "sig", "amplitude": 999}, "trigger sig: amplitude = 999"), ("baiqa", "'baiqa' is optimised or has several strengths"),
    (3, "look = 3"), ({"name": None}, "unknown trigger 'None'")])
def test_a_look_that_cannot_be_drawn_is_refused_in_one_line(look, words):
    with pytest.raises(UserError, match=words) as refused:
        build("trigger", "in_box", {"look": look})
    assert "\n" not in str(refused.value)


def test_a_new_version_of_the_look_is_another_trigger(monkeypatch):
    from attacks.triggers.sig import Sig
    from benchmark.config.cell import Component

    def keys():
        return [Component("trigger", name, {"look": look}).cache_key
                for name in ("in_box", "if_crowded") for look in ("sig", {"name": "in_box", "look": "sig"})]

    before = keys()
    monkeypatch.setattr(Sig, "version", 2)
    assert all(old != new for old, new in zip(before, keys()))
    assert Component("trigger", "in_box", {}).cache_key == ["in_box", "1, blended 1", {}]
    assert Component("trigger", "blended", {}).cache_key == ["blended", 1, {}]


def test_a_scene_keeps_its_true_heads_read_only():
    points = np.zeros((2, 2), np.float32)
    scene = Scene("a", np.zeros((8, 8, 3), np.uint8), np.zeros((0, 2), np.float32), 2.0, points)
    assert scene.heads is points and not points.flags.writeable and scene.count == 0
