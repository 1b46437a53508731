"""Image quality: the similarity of an image with and without a trigger, as PSNR and SSIM."""

import math

import numpy as np

from benchmark.metrics.counting import rmse

SSIM_WINDOW = 11  # side of a window in pixels


def psnr(image: np.ndarray, stamped: np.ndarray) -> float:
    """PSNR = 20 log10(255 / RMS(stamped - image)), in dB; infinite where the images are equal.

    image, stamped: uint8 [H, W, 3].

    >>> psnr(np.zeros((8, 8, 3)), np.full((8, 8, 3), 25.5))
    20.0
    """
    rms = rmse(np.ravel(stamped), np.ravel(image))
    return 20 * math.log10(255 / rms) if rms else math.inf


def ssim(image: np.ndarray, stamped: np.ndarray) -> float:
    """SSIM, the structural similarity, in -1..1: the mean over all windows and channels.

    image, stamped: uint8 [H, W, 3], with sides of at least SSIM_WINDOW.
    Windows are Gaussian, of 11 x 11 pixels and sigma 1.5, and lie inside the image. Wang et al.,
    IEEE TIP 2004, eq. 13.

    >>> ssim(np.zeros((11, 11, 3)), np.zeros((11, 11, 3)))
    1.0
    """
    from scipy.ndimage import gaussian_filter  # takes a quarter of a second to import

    def local_mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma=(1.5, 1.5, 0), truncate=3.5)[5:-5, 5:-5]

    x, y = np.asarray(image, float), np.asarray(stamped, float)
    mean_x, mean_y = local_mean(x), local_mean(y)
    var_x = local_mean(x * x) - mean_x**2
    var_y = local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)
                  / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))
    return float(similarity.mean())
