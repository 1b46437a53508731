"""Latent: the penalty that hides a trigger in the victim's features."""

import numpy as np
import torch
from attack_cases import an_attack, images

from attacks.base import Attack
from attacks.parts.latent import mmd, mmd_of_stamped
from benchmark.registry import build


def test_mmd_is_that_of_a_gaussian_kernel():
    first, second = np.random.default_rng(0).normal(size=(2, 3, 5, 4)) * [[[[1, 2, 3, 4]]], [[[2, 2, 2, 2]]]]

    def by_hand(clean, stamped):
        samples = np.concatenate([clean, stamped])
        distances = [[((a - b) ** 2).sum() for b in samples] for a in samples]
        kernel = np.exp(-np.array(distances) / (2 * np.sort(np.ravel(distances))[(100 - 1) // 2]))
        return kernel[:5, :5].mean() + kernel[5:, 5:].mean() - 2 * kernel[:5, 5:].mean()

    expected = [by_hand(*pair) for pair in zip(first, second)]
    np.testing.assert_allclose(mmd(torch.tensor(first), torch.tensor(second)), expected, rtol=1e-6)
    assert (mmd(torch.tensor(first), torch.tensor(first)).abs() < 1e-12).all()


def test_the_penalty_of_an_image_is_its_own_and_grows_with_the_trigger():
    clean = images((64, 96), 3)
    weak, strong = (an_attack(alpha=alpha).penalty for alpha in (0.05, 0.5))
    assert (weak(lambda image: image, clean) == 0).all()  # latent is 0
    weak, strong = (Attack(build("trigger", "blended", {"alpha": alpha}), build("target", "add", {}), 0.1, latent=3)
                    for alpha in (0.05, 0.5))
    together = weak.penalty(lambda image: image, clean)
    torch.testing.assert_close(torch.cat([weak.penalty(lambda i: i, image[None]) for image in clean]), together)
    torch.testing.assert_close(together, 3 * mmd_of_stamped(lambda image: image, clean, weak.stamp))
    assert (0 < together).all() and (together < strong.penalty(lambda image: image, clean)).all()
