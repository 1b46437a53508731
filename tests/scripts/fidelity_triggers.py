"""Triggers, on the same random images, in grey levels of 255."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fidelity_public import OLD_NUMPY, Clone, Pairs, compare, print_nothing, without_decorator
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.registry import build

SIZE = (96, 128)  # (H, W) in pixels, multiples of the block of FTrojan
SQUARE = 64  # side of an image for WaNet, whose public code takes only squares
PIXELS = "pixels of a random image, in grey levels"


def random_pixels(height: int = SIZE[0], width: int = SIZE[1], low: int = 0,
                  high: int = 256) -> np.ndarray:
    """A random image, uint8 [H, W, 3]."""
    return np.random.default_rng(0).integers(low, high, (height, width, 3), np.uint8)


def as_image(pixels: np.ndarray) -> Tensor:
    """Grey levels [H, W, 3] as a batch of one image in 0..1, [1, 3, H, W]."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def grey_levels(images: Tensor) -> Tensor:
    """A batch of one image in 0..1 as grey levels [H, W, 3]."""
    return images[0].permute(1, 2, 0) * 255


def stamped(name: str, pixels: np.ndarray, **settings: Any) -> Tensor:
    """The grey levels of an image with one of our triggers, not rounded, [H, W, 3]."""
    return grey_levels(build("trigger", name, settings).stamp(as_image(pixels)))


@compare("trigger", "sig", f"{PIXELS}; BackdoorBench cuts off decimals", "SCLBD/BackdoorBench")
def sig(clone: Clone) -> Pairs:
    pixels = random_pixels()
    original = clone.load("utils/bd_img_transform/sig.py", Union=Any).sigTriggerAttack(40, 6)
    yield stamped("sig", pixels, amplitude=40, frequency=6), torch.from_numpy(original(pixels))


@compare("trigger", "blended", f"{PIXELS}, with a picture of the image's size",
         "SCLBD/BackdoorBench")
def blended(clone: Clone) -> Pairs:
    pixels = random_pixels()
    picture = np.random.default_rng(1).integers(0, 256, pixels.shape, np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        Image.fromarray(picture).save(path)
        ours = stamped("blended", pixels, alpha=0.1, image=path)
    attack = clone.load("utils/bd_img_transform/blended.py").blendedImageAttack(picture, 0.1)
    yield ours, torch.from_numpy(attack(pixels))


@compare("trigger", "adaptive_blend", f"{PIXELS}, square, with a picture of its size: a test "
         "image, and a training image with the same pieces", "vtu81/backdoor-toolbox")
def adaptive_blend(clone: Clone) -> Pairs:
    pixels, picture = random_pixels(SQUARE, SQUARE), random_pixels(SQUARE, SQUARE)[::-1].copy()
    image, shown = as_image(pixels), as_image(picture)
    masked = np.random.default_rng(1).permutation(64)[:32]
    drawn = SimpleNamespace(shuffle=print_nothing, sample=lambda *_, k: masked[:k])
    public = clone.load("poison_tool_box/adaptive_blend.py", random=drawn, sqrt=math.sqrt, os=os,
                        save_image=print_nothing, print=print_nothing)
    generator = public.poison_generator(SQUARE, [(image[0], 0)], 1, "", shown[0], alpha=0.2,
                                        cover_rate=0, pieces=64, mask_rate=0.5)
    tested = public.poison_transform(SQUARE, shown[0], alpha=0.2)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        Image.fromarray(picture).save(path)
        trigger = build("trigger", "adaptive_blend", {"alpha": 0.2, "image": path})
        carried = torch.ones(8, 8, dtype=torch.bool)
        carried[masked % 8, masked // 8] = False
        ours = [grey_levels(form.stamp(image)) for form in (trigger, trigger.with_pattern(carried))]
    yield ours[0], grey_levels(tested.transform(image, torch.zeros(1))[0])
    yield ours[1], grey_levels(generator.generate_poisoned_training_set()[0])


@compare("trigger", "baiqa", "pixels of a grey image, in grey levels, with the same coefficients",
         "yuyi-sd/BAIQA")
def baiqa(clone: Clone) -> Pairs:
    from attacks.triggers.baiqa import _block, frequencies

    public = clone.load("network.py", "Add_trigger_net_v2", "pad_to", "unpad", "to_ycbcr", "to_rgb",
                        "blockify", "deblockify", "dct", "idct", "dct_2d", "idct_2d")
    coefficients = torch.from_numpy(np.random.default_rng(0).normal(0, 20, (3, 64))).float()
    grey = as_image(np.full((*SIZE, 3), 128, np.uint8))
    # From Y, Cb and Cr to R, G and B, as JPEG has it.
    colours = torch.tensor([[1, 0, 1.402], [1, -0.344136286, -0.714136286], [1, 1.772, 0]])
    coefficients_of_rgb = colours @ coefficients
    size = float(coefficients_of_rgb.square().sum().div(3 * 16 * 16).sqrt())  # by Parseval
    trigger = build("trigger", "baiqa", {"epsilon": size})
    ours = trigger.with_pattern(_block(coefficients_of_rgb)).stamp(grey)
    # The public DCT is not orthonormal: its coefficients are 32 times ours, and more at 0.
    zeros = torch.tensor([(u == 0) + (v == 0) for u, v in frequencies()])
    strength = 32 * 2 ** (zeros / 2) * coefficients
    yield grey_levels(ours), grey_levels(public.Add_trigger_net_v2()(grey, strength))


def reflecting(clone: Clone) -> Callable[..., Any]:
    """The reflection of BackdoorBench, without resizing, rounding and the fading to the edges."""
    def blur(light: np.ndarray, size: tuple[int, int], sigma: float, *_: Any) -> np.ndarray:
        radius = size[0] // 2
        return gaussian_filter(light, sigma, axes=(0, 1), mode="mirror", radius=radius)

    flat = SimpleNamespace(norm=SimpleNamespace(cdf=lambda x: x))  # its density is constant
    opencv = SimpleNamespace(INTER_CUBIC=2, resize=lambda pixels, *_: pixels, GaussianBlur=blur)
    numpy = SimpleNamespace(**vars(np) | {"uint8": lambda levels: levels,
                                          "lib": SimpleNamespace(pad=np.pad)})
    public = clone.load("attack/refool.py", "blend_images", cv2=opencv, np=numpy, st=flat,
                        random=SimpleNamespace(random=lambda: 0.5))
    return public.blend_images


@compare("trigger", "refool", "pixels of a random image with a ghost, and of the blurred "
         "reflection of a picture in a black image, in grey levels, without the public code's "
         "resizing, rounding and fading to the edges", "SCLBD/BackdoorBench")
def refool(clone: Clone) -> Pairs:
    pixels, offset, sigma = random_pixels(), 4, 1.5
    black, (height, width) = np.zeros_like(pixels), SIZE
    blend = reflecting(clone)
    with TemporaryDirectory() as folder:
        def ours(scene: np.ndarray, picture: np.ndarray, **settings: Any) -> Tensor:
            path = Path(folder) / f"{settings['reflection']}.png"
            Image.fromarray(picture).save(path)
            return stamped("refool", scene, image=path, **settings)

        wide = random_pixels(height + offset, width + offset)[::-1].copy()
        ghost = ours(pixels, wide, reflection="ghost", alpha=0.3, offset=offset / height, ghost=0.7)
        blurred = ours(black, pixels, reflection="out_of_focus", alpha=1, blur=sigma / height)
    public = blend(pixels, wide, max_image_size=width, ghost_rate=1, alpha_t=0.7,
                   offset=(offset, offset), ghost_alpha=0.7)[0]
    yield ghost, torch.from_numpy(public)
    public = blend(black, pixels, max_image_size=width, ghost_rate=0, alpha_t=0, sigma=sigma)[0]
    yield blurred, torch.from_numpy(public)


def mixed(clone: Clone, name: str) -> Pairs:
    """A picture of our own, which a black image shows at alpha 1, mixed by both codes."""
    pixels = random_pixels()
    picture = stamped(name, np.zeros_like(pixels), alpha=1).numpy()
    attack = clone.load("utils/bd_img_transform/blended.py").blendedImageAttack(picture, 0.2)
    yield stamped(name, pixels, alpha=0.2), torch.from_numpy(attack(pixels))


@compare("trigger", "noise", f"{PIXELS}, with our noise as the picture of a blended trigger",
         "SCLBD/BackdoorBench")
def noise(clone: Clone) -> Pairs:
    return mixed(clone, "noise")


@compare("trigger", "rain", f"{PIXELS}, with our drawing as the picture of a blended trigger",
         "SCLBD/BackdoorBench")
def rain(clone: Clone) -> Pairs:
    return mixed(clone, "rain")


@compare("trigger", "snow", f"{PIXELS}, with our drawing as the picture of a blended trigger",
         "SCLBD/BackdoorBench")
def snow(clone: Clone) -> Pairs:
    return mixed(clone, "snow")


@compare("trigger", "patch", "pixels of a random image of 32 x 32, in grey levels, with 8 of "
         "the 9 squares of the checkerboard",
         "csdongxian/ANP_backdoor")
def patch(clone: Clone) -> Pairs:
    pixels = random_pixels(32, 32)
    pattern, mask = clone.load("data/poison_cifar.py", "generate_trigger").generate_trigger(
        "checkerboard_1corner")
    original = np.where(mask == 1, pattern, pixels)
    ours = stamped("patch", pixels, share=3 / 32, cells=3)
    original[29, 29] = ours[29, 29]  # the square that differs
    yield ours, torch.from_numpy(original)


@compare("trigger", "wanet", "pixels of a random square image, in grey levels, warped by the same "
         "field", "THUYimingLi/BackdoorBox")
def wanet(clone: Clone) -> Pairs:
    from attacks.triggers.wanet import _flow

    field = _flow(8, 0, torch.device("cpu"))
    uniform = (field / field.abs().max() + 1) / 2  # the public code draws it in 0..1
    drawn = SimpleNamespace(**vars(torch) | {"rand": lambda *_: uniform})
    resizing = SimpleNamespace(functional=SimpleNamespace(upsample=F.interpolate))
    grids = clone.load("tests/test_WaNet.py", "gen_grid", torch=drawn, nn=resizing)
    public = clone.load("core/attacks/WaNet.py", "AddTrigger", "AddDatasetFolderTrigger",
                        deepcopy=lambda value: value)
    trigger = public.AddDatasetFolderTrigger(*grids.gen_grid(SQUARE, 8), s=1.5)
    pixels = random_pixels(SQUARE, SQUARE)
    # Their field is in units of half the distance between the outermost pixels.
    strength = 1.5 / SQUARE * (SQUARE - 1) / 2 / SQUARE
    original = grey_levels(trigger.add_trigger(as_image(pixels)[0])[None])
    yield stamped("wanet", pixels, strength=strength, grid=8, seed=0), original


def opencv() -> SimpleNamespace:
    """What FTrojan uses of OpenCV: its formulas for Y, Cr and Cb (from its manual), and the DCT."""
    def to_luma(pixels: np.ndarray) -> np.ndarray:
        red, green, blue = np.moveaxis(pixels, -1, 0)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        return np.stack([luma, (red - luma) * 0.713 + 128, (blue - luma) * 0.564 + 128], axis=-1)

    def to_colours(pixels: np.ndarray) -> np.ndarray:
        luma, red, blue = np.moveaxis(pixels - [0, 128, 128], -1, 0)
        green = luma - 0.714 * red - 0.344 * blue
        return np.stack([luma + 1.403 * red, green, luma + 1.773 * blue], axis=-1)

    return SimpleNamespace(COLOR_RGB2YCrCb=to_luma, COLOR_YCrCb2RGB=to_colours,
                           cvtColor=lambda pixels, convert: convert(pixels),
                           dct=lambda block: dctn(block, norm="ortho"),
                           idct=lambda block: idctn(block, norm="ortho"))


@compare("trigger", "ftrojan", f"{PIXELS}, without the public code's rounding of Y, Cb and Cr",
         "SCLBD/BackdoorBench")
def ftrojan(clone: Clone) -> Pairs:
    pixels = random_pixels(low=64, high=192)  # so that nothing is clipped
    unrounded = SimpleNamespace(**vars(OLD_NUMPY) | {"uint8": float})
    public = clone.load("utils/bd_img_transform/ftrojann.py", np=unrounded, cv2=opencv(),
                        logging=SimpleNamespace(debug=print_nothing))
    attack = public.ftrojann_version(True, [1, 2], 32, 30, [(15, 15), (31, 31)])
    yield stamped("ftrojan", pixels, magnitude=30), torch.from_numpy(attack(pixels))


class NumbaType:
    """A stand-in for a type of numba, which a decorator of the public code mentions."""

    def __getitem__(self, _: Any) -> "NumbaType":
        return self

    def __call__(self, *_: Any) -> "NumbaType":
        return self


@compare("trigger", "bpp", "means of 8 x 8 pixels of a dithered gradient, in grey levels; both "
         "ditherings keep them, by different patterns", "RU-System-Software-and-Security/BppAttack")
def bpp(clone: Clone) -> Pairs:
    row = np.linspace(20, 235, SIZE[1]).round().astype(np.uint8)
    pixels = np.broadcast_to(row[None, :, None], (*SIZE, 3)).copy()
    types = {name: NumbaType() for name in ("float64", "int64")}
    public = clone.load("bppattack.py", "rnd1", "floydDitherspeed", np=OLD_NUMPY,
                        jit=without_decorator, **types)
    dithered = public.floydDitherspeed(pixels.transpose(2, 0, 1).astype(np.float64), 8.0)
    ours = stamped("bpp", pixels, levels=8).permute(2, 0, 1)
    average = nn.AvgPool2d(8)
    yield average(ours), average(torch.from_numpy(dithered).float())
