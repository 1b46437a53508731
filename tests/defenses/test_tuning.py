"""Tuning on a few clean images: each method's step against one written out by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.data.batches import Batch
from benchmark.registry import build
from benchmark.testing import (RECIPE, attacked, check_defense, fresh, knowledge_of, run, scenes, trainer,
                               weights)
from defenses.base import Knows
from defenses.fst import head
from defenses.ft_sam import RHOS, worst_nearby
from defenses.nad import attention, distance
from defenses.parts.tuning import LR_SHARES, add_to_log_loss, inputs
from models.base import Counter

pytestmark = pytest.mark.slow

CLEAN = knowledge_of(Knows(clean=6))


class Line(Counter):
    """density = gain * (first weight * red + second weight * green), normalised by BatchNorm if there is one."""

    name, stride, multiple, mean, std = "line", 1, 1, (0.0,) * 3, (1.0,) * 3

    def __init__(self, norm=False):
        super().__init__()
        self.mix = nn.Conv2d(3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(1) if norm else nn.Identity()
        for bias in self.norm.parameters():
            bias.data += 0.2  # a weight of 0 has no relative change
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.idle = nn.Parameter(torch.tensor(3.0))  # takes part in nothing

    def density(self, images):
        return self.gain * self.norm(self.mix(images))


def batch(size=2):
    return Batch.of(scenes("clean")[:size], torch.device("cpu"))


def defense(name, **settings):
    return build("defense", name, settings)


def defend(name, model="tiny", **settings):
    made = defense(name, **settings)
    return made.apply(attacked(model), knowledge_of(made.knows, model))


def slopes(losses, counter):
    found = torch.autograd.grad(losses.mean(), counter.parameters(), allow_unused=True)
    return [torch.zeros_like(p) if slope is None else slope for slope, p in zip(found, counter.parameters())]


# Fine-tuning on few.

@pytest.mark.parametrize("name", ["fine_tune_few", "ft_sam", "fst", "nad"])
def test_forty_clean_images_are_asked_for_and_no_more(name):
    given = {"rho": 1.0} if name == "ft_sam" else {}
    assert defense(name).knows == Knows(clean=40, validation=True)  # it chooses its rate
    assert defense(name, images=20, lr=1e-3, **given).knows == Knows(clean=20)


@pytest.mark.parametrize("name", ["fine_tune_few", "fst", "nad"])
def test_a_repair_is_tried_at_each_rate_and_the_chosen_one_is_returned(name):
    made, knowledge = defense(name, epochs=1), knowledge_of(Knows(clean=40, validation=True))
    torch.manual_seed(0)
    each = [made.repaired(attacked(), knowledge, share * RECIPE.lr) for share in LR_SHARES]
    torch.manual_seed(0)
    repaired, other, _ = run(made, "tiny")
    (choice,) = other.strengths
    assert [trial.settings["lr"] for trial in choice.tried] == [share * RECIPE.lr for share in LR_SHARES]
    errors = [knowledge.error(one) for one in each]
    assert [trial.validation_mae for trial in choice.tried] == pytest.approx(errors, rel=1e-6)
    assert len(set(errors)) == len(errors) and torch.equal(weights(repaired), weights(each[choice.kept]))


def test_fine_tuning_on_few_is_training_with_the_victims_recipe_and_a_falling_rate():
    expected = attacked().copy()
    trainer().fit(expected, scenes("clean"), epochs=2, schedule="cosine")
    assert torch.equal(weights(defend("fine_tune_few", epochs=2, lr=RECIPE.lr)), weights(expected))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_norm_keeps_the_victims_averages_in_mode_eval(mode):
    def averages(counter):
        return torch.cat([m.running_mean for m in counter.modules() if isinstance(m, nn.BatchNorm2d)])

    repaired = defend("fine_tune_few", epochs=2, lr=RECIPE.lr, batch_norm=mode)
    assert torch.equal(averages(repaired), averages(attacked())) == (mode == "eval")
    assert not torch.equal(repaired.output.weight, attacked().output.weight)


def test_a_warm_up_of_the_victims_recipe_is_left_out(monkeypatch):
    asked = []
    monkeypatch.setattr("benchmark.pipeline.defender.fit", lambda *args, **_: asked.append(args[2]))
    trainer().fit(fresh(), [])
    defend("fine_tune_few", lr=0.5)
    assert (asked[1].epochs, asked[1].lr, asked[1].warmup) == (20, 0.5, 0)
    assert (asked[1].schedule, asked[1].select) == ("cosine", "last")
    assert asked[0].batch_size == asked[1].batch_size


@pytest.mark.parametrize("images, expected", [(None, "all"), (40, 40)])
@pytest.mark.parametrize("name, extra", [("retrain", {"extra": 0}), ("distillation", {})])
def test_training_from_scratch_takes_all_clean_images_or_so_many(name, extra, images, expected):
    assert defense(name, images=images, **extra).knows.clean == expected


# FT-SAM.

@pytest.mark.parametrize("norm", [False, True])
def test_a_step_of_ft_sam_is_two_passes_written_out(norm):
    torch.manual_seed(0)
    counter, rho = Line(norm).train(), 0.5
    start = [p.detach().clone() for p in counter.parameters()]
    found = slopes(worst_nearby(counter, batch(), rho), counter)
    assert all(torch.equal(p, w) for p, w in zip(counter.parameters(), start)), "the weights were not put back"

    twin = Line(norm).train()
    twin.load_state_dict(dict(zip([n for n, _ in twin.named_parameters()], start)), strict=False)
    first = [s.numpy().astype(np.float64) for s in slopes(twin.loss(batch()), twin)]
    w = [p.numpy().astype(np.float64) for p in start]
    length = np.sqrt(sum(((a * g) ** 2).sum() for a, g in zip(w, first)))
    step = [rho * a**2 * g / length for a, g in zip(w, first)]
    assert np.sqrt(sum(((e / a) ** 2).sum() for e, a in zip(step, w))) == pytest.approx(rho)  # relative, all together
    with torch.no_grad():
        for p, a, e in zip(twin.parameters(), w, step):
            p.copy_(torch.tensor(a + e))
    for ours, theirs in zip(found, slopes(twin.loss(batch()), twin)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_ft_sam_without_a_radius_is_fine_tuning():
    plain, none, some = (weights(defend(name, epochs=2, lr=RECIPE.lr, **settings)) for name, settings in (
        ("fine_tune_few", {}), ("ft_sam", {"rho": 1e-9}), ("ft_sam", {"rho": 2.0})))
    assert torch.allclose(none, plain, atol=1e-5) and not torch.allclose(some, plain, atol=1e-3)


def test_every_radius_is_tried_with_every_rate():
    made = defense("ft_sam", epochs=1)
    assert not defense("ft_sam", rho=0.5, lr=1e-3).knows.validation
    tried = [candidate.settings for candidate in made.candidates(attacked(), knowledge_of(made.knows))]
    assert tried == [{"lr": share * RECIPE.lr, "rho": rho} for share in LR_SHARES for rho in RHOS]


def test_batch_norm_averages_the_pass_at_the_weights_themselves_once():
    torch.manual_seed(0)
    counter = Line(norm=True).train()
    twin = counter.copy()
    worst_nearby(counter, batch(), 2.0)
    twin.loss(batch())
    assert counter.norm.num_batches_tracked == 1
    assert torch.equal(counter.norm.running_mean, twin.norm.running_mean)


def test_the_unit_of_the_loss_does_not_move_the_radius():
    torch.manual_seed(0)
    counter = Line().train()
    once = worst_nearby(counter, batch(), 2.0)
    counter.loss = lambda images: 100 * Line.loss(counter, images)
    torch.testing.assert_close(worst_nearby(counter, batch(), 2.0), 100 * once)


# A term beside a loss.

def test_a_term_stands_beside_the_logarithm_of_the_loss():
    x = torch.tensor([0.3, 2.0], requires_grad=True)
    losses, term = torch.stack([x.square().sum(), x.exp().sum()]), x.prod()
    ours, = torch.autograd.grad(add_to_log_loss(losses, term).mean(), x, retain_graph=True)
    logarithm, = torch.autograd.grad(losses.mean().log() + term, x)
    torch.testing.assert_close(ours, losses.mean().detach() * logarithm)


# Which layers.

@pytest.mark.parametrize("model, settings, expected", [
    ("tiny", {}, ["output", "head.3.0"]),
    ("csrnet", {"weights": "scratch"}, ["output", "backend.10"]),
    ("clip_ebc", {"weights": "scratch", "clip": "tiny"}, ["projection"]),
    ("squeeze", {"weights": "scratch"}, ["output", "backend.6"]),
    ("sfanet", {"weights": "scratch"}, ["output", "gate.0", "attention.steps.2.6", "people.steps.2.6"]),
    ("can", {"weights": "scratch"}, ["output", "backend.15"]),
    ("dm_count", {"weights": "scratch"}, ["head.4.0", "head.2"]),
    ("mcnn", {}, ["output", "columns.0.8", "columns.1.8", "columns.2.8"]),
])
def test_the_head_of_a_counter(model, settings, expected):
    counter = build("model", model, settings)
    counter.prepare(scenes("clean"))
    names = {module: name for name, module in counter.named_modules()}
    assert [names[layer] for layer in head(counter)] == expected


def test_inputs_are_what_a_layer_sees():
    counter = fresh().eval()
    with inputs(counter, ["output"]) as seen:
        counter.count(batch().images)
    assert torch.equal(seen["output"], counter.features(batch().images))
    seen.clear()
    counter.count(batch().images)
    assert not seen


# FST.

def turned(**settings):
    """The head of a repaired tiny counter, and its cosine with the victim's: of each layer."""
    repaired = defend("fst", **settings)
    pairs = [(ours.weight.detach().numpy().ravel(), theirs.weight.detach().numpy().ravel())
             for ours, theirs in zip(head(repaired), head(attacked()))]
    return pairs, [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]


def test_a_new_head_has_the_norm_of_the_victims():
    pairs, _ = turned(epochs=3, lr=RECIPE.lr)
    for ours, theirs in pairs:
        assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(theirs), rel=1e-5)


def test_a_larger_alpha_turns_the_head_further_away():
    _, free = turned(epochs=20, lr=0.01, alpha=0)
    _, pushed = turned(epochs=20, lr=0.01, alpha=20)
    assert max(pushed) < -0.5 and all(a < b - 0.3 for a, b in zip(pushed, free))


def test_the_new_head_does_not_depend_on_what_was_drawn_before():
    def starts():
        counter = defend("fst", lr=1e-12, epochs=1)
        return torch.cat([layer.weight.flatten() for layer in head(counter)])

    torch.manual_seed(1)
    first = starts()
    torch.manual_seed(2)
    torch.testing.assert_close(starts(), first)


def test_the_loss_of_fst_is_its_equation(monkeypatch):
    kept = {}
    monkeypatch.setattr("defenses.parts.tuning.OnFewImages.tune",
                        lambda self, counter, knowledge, lr, loss, after_step: kept.update(
                            loss=loss, after=after_step))
    repaired = defend("fst", alpha=0.3, lr=RECIPE.lr)
    ours, theirs = ([layer.weight.detach().numpy().ravel().astype(float) for layer in head(counter)]
                    for counter in (repaired, attacked()))
    for a, b in zip(ours, theirs):
        assert not np.array_equal(a, b) and np.array_equal(np.sort(a), np.sort(b))  # the victim's, in another order
    plain = repaired.eval().loss(batch()).detach().numpy()
    alike = sum(a @ b / (b @ b) for a, b in zip(ours, theirs))
    found = kept["loss"](repaired, batch()).detach().numpy()
    assert found == pytest.approx(plain + plain.mean() * 0.3 * alike, rel=1e-4)
    repaired.output.weight.data *= 7
    kept["after"]()
    assert repaired.output.weight.detach().norm() == pytest.approx(float(attacked().output.weight.detach().norm()))


# NAD.

def test_attention_is_computed_as_in_numpy():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(2, 3, 5, 4, 6))

    def by_hand(features):
        maps = (np.abs(features) ** 2).sum(axis=1).reshape(3, -1)
        return maps / np.sqrt((maps**2).sum(axis=1, keepdims=True))

    expected = ((by_hand(ours) - by_hand(theirs)) ** 2).sum(axis=1)
    ours, theirs = torch.tensor(ours), torch.tensor(theirs)
    assert attention(ours).numpy() == pytest.approx(by_hand(ours.numpy()), rel=1e-5)
    assert distance(ours, theirs).numpy() == pytest.approx(expected, rel=1e-4)
    assert distance(3 * ours, ours).abs().max() < 1e-10  # a map tells where, not how much


def test_the_defaults_of_nad_are_the_authors_for_maps_of_32_16_and_8():
    rng = torch.Generator().manual_seed(0)
    for beta, original, side in zip(defense("nad").betas, (500, 1000, 1000), (32, 16, 8)):
        a, b = (torch.rand(1, 2, side, side, generator=rng) for _ in range(2))
        mean = nn.functional.mse_loss(attention(a), attention(b))
        assert float(beta * distance(a, b)) == pytest.approx(original * float(mean), rel=0.03)


def test_the_student_is_pulled_to_a_teacher_by_its_attention_at_each_layer(monkeypatch):
    kept = []
    monkeypatch.setattr("benchmark.pipeline.defender.fit", lambda counter, *args, loss=None, **_: kept.append((
        counter, loss and loss(counter, batch()).detach())))
    teacher_of = Counter.copy
    monkeypatch.setattr(Counter, "copy", lambda self: perturbed(teacher_of(self)))
    defend("nad", betas=(0.5, 4, 16), lr=RECIPE.lr)
    (teacher, none), (student, losses) = kept
    assert none is None
    names, maps = ["head.0.0", "head.2.0", "output"], []
    for counter in (student, teacher):
        with inputs(counter, names) as seen:
            counter.count(batch().images)
        maps.append([seen[name].detach() for name in names])
    plain, term = student.loss(batch()).detach(), sum(beta * distance(a, b) for beta, a, b in zip((0.5, 4, 16), *maps))
    assert term.min() > 0
    torch.testing.assert_close(losses, plain + plain.mean() * term)


def perturbed(counter):
    with torch.no_grad():
        for p in counter.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return counter.eval()


def test_nad_leaves_no_hook_behind():
    assert not any(module._forward_pre_hooks for module in defend("nad", epochs=1, lr=RECIPE.lr, teacher_epochs=1).modules())


def test_without_attention_nad_is_fine_tuning_with_a_seed_of_its_own():
    ours, expected = defend("nad", epochs=2, lr=RECIPE.lr, teacher_epochs=1, betas=(0, 0, 0)), attacked().copy()
    other = trainer()
    other.fit(fresh(), scenes("clean"))
    other.fit(expected, scenes("clean"), epochs=2, schedule="cosine")
    assert torch.equal(weights(ours), weights(expected))


# Distillation.

def test_a_student_reads_the_victims_maps_and_no_label(monkeypatch):
    found = []
    monkeypatch.setattr("benchmark.pipeline.defender.fit", lambda counter, *_, loss, **__: found.append(
        (counter.eval(), loss(counter, batch()).detach(), loss(counter, unlabelled(batch())).detach())))
    defend("distillation")
    (student, losses, blind), = found
    ours, theirs = (counter(batch().images).detach().double().numpy() for counter in (student, attacked()))
    assert losses.numpy() == pytest.approx(((ours - theirs) ** 2).sum(axis=(1, 2, 3)), rel=1e-4)
    assert torch.equal(losses, blind) and torch.equal(weights(student), weights(fresh()))


def unlabelled(full):
    return Batch(full.images, [points[:0] for points in full.points], [sigmas[:0] for sigmas in full.sigmas])


def test_a_distilled_counter_comes_near_its_victim():
    knowledge = knowledge_of(Knows(clean=6))

    def maps(counter):
        return knowledge.trainer.per_image(counter, scenes("clean"), lambda batch: counter(batch.images))

    victim = attacked().copy()
    victim.output.bias.data += 1  # far from the labels
    student = defense("distillation", epochs=40).apply(victim, knowledge)
    apart = [(maps(counter) - maps(victim)).square().mean() for counter in (student, fresh())]
    assert apart[0] < apart[1] / 20


@pytest.mark.parametrize("name, settings", [("distillation", {"images": 6}), ("retrain", {"images": 6, "extra": 0}),
                                            ("fine_tune_few", {"batch_norm": "eval", "epochs": 1})])
def test_other_settings_keep_the_contract(name, settings):
    check_defense(name, settings)
