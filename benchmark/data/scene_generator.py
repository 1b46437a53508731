"""Crowd scenes of our own drawing: perspective, occlusion, texture, light and density all vary. Deterministic."""

import numpy as np
from PIL import Image, ImageDraw

OVERSAMPLE = 3  # drawn this many times larger, then reduced: soft edges
SKIN = np.array([[240, 205, 175], [205, 155, 115], [150, 100, 70], [90, 60, 45]])
HAIR = np.array([[25, 20, 18], [60, 42, 30], [120, 85, 50], [150, 150, 150]])


def draw_scene(size: tuple[int, int], mean_count: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One scene.

    size: (H, W) pixels; mean_count: people in an average scene; counts follow a log-normal, as street scenes' do.
    Returns the image, uint8 [H, W, 3], and the visible head centres, float32 [N, 2] as (x, y) pixels.
    """
    height, width = size
    horizon = height * rng.uniform(0.12, 0.35)
    near = height * rng.uniform(0.085, 0.12)  # a head's diameter at the bottom edge, pixels
    canvas = Image.fromarray(_ground(size, horizon, rng)).resize((width * OVERSAMPLE, height * OVERSAMPLE))
    draw = ImageDraw.Draw(canvas)
    _draw_buildings(draw, size, horizon, rng)
    count = int(np.clip(rng.lognormal(np.log(mean_count) - 0.18, 0.6), 4, 5 * mean_count))
    heads = []
    for x, feet in _standing_places(count, size, horizon, rng):  # far to near, so that the near ones hide the far
        head = near * (0.45 + 0.55 * (feet - horizon) / (height - horizon)) * rng.uniform(0.85, 1.15)
        heads.append((*_draw_person(draw, x, feet, head, rng), head))
    image = np.asarray(canvas.resize((width, height), Image.Resampling.BOX))
    return _develop(image, rng), _visible(np.array(heads), size)


def _ground(size: tuple[int, int], horizon: float, rng: np.random.Generator) -> np.ndarray:
    """Sky above the horizon, textured ground below: uint8 [H, W, 3]."""
    height, width = size
    below = (np.arange(height)[:, None, None] > horizon).astype(float)
    depth = np.linspace(0.8, 1.1, height)[:, None, None]
    colour = below * rng.uniform(80, 170, 3) * depth + (1 - below) * rng.uniform(150, 230, 3)
    coarse = rng.normal(0, 18, (height // 16 + 1, width // 16 + 1, 1)).repeat(16, 0).repeat(16, 1)[:height, :width]
    fine = rng.normal(0, 7, (height, width, 1))
    return (colour + below * (coarse + fine)).clip(0, 255).astype(np.uint8)


def _draw_buildings(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: float, rng: np.random.Generator) -> None:
    height, width = size
    for _ in range(rng.integers(3, 9)):
        left, across = rng.uniform(-0.1, 1) * width, rng.uniform(0.08, 0.3) * width
        top, bottom = horizon * rng.uniform(0, 0.8), horizon + height * rng.uniform(0, 0.06)
        wall = rng.integers(50, 210, 3)
        draw.rectangle(_scaled(left, top, left + across, bottom), fill=tuple(wall))
        pane = height * 0.02
        for row in np.arange(top + pane, bottom - pane, 2 * pane):
            for column in np.arange(left + pane, left + across - pane, 2 * pane):
                draw.rectangle(_scaled(column, row, column + pane, row + pane), fill=tuple(wall * 6 // 10))


def _standing_places(count: int, size: tuple[int, int], horizon: float, rng: np.random.Generator) -> np.ndarray:
    """Where people stand, [count, 2] as (x, y of the feet), far to near: groups here and there, and loners."""
    height, width = size
    centres = rng.uniform([0, 0.05], [width, 1], (rng.integers(2, 6), 2))
    spread = rng.uniform([0.1 * width, 0.1], [0.4 * width, 0.4], (len(centres), 2))
    group = rng.integers(len(centres), size=count)
    alone = rng.random(count) < 0.4
    x = np.where(alone, rng.uniform(0, width, count), rng.normal(centres[group, 0], spread[group, 0]))
    depth = np.where(alone, rng.uniform(0.03, 1, count), rng.normal(centres[group, 1], spread[group, 1]))
    x, depth = x % width, np.abs(depth - 0.03) % 1.05 + 0.03
    order = np.argsort(depth)
    return np.stack([x, horizon + depth * (height - horizon)], axis=1)[order]


def _draw_person(draw: ImageDraw.ImageDraw, x: float, feet: float, head: float,
                 rng: np.random.Generator) -> tuple[float, float]:
    """Legs, a torso and a head `head` pixels wide. Returns the head's centre."""
    tall = head * rng.uniform(3.2, 4.2)
    top = feet - tall
    cloth = (rng.integers(20, 235, 3) + rng.integers(20, 235)) // 2
    trousers = rng.integers(20, 140, 3)
    torso = head * rng.uniform(0.75, 1.0)
    draw.rectangle(_scaled(x - torso * 0.6, feet - tall * 0.45, x + torso * 0.6, feet), fill=tuple(trousers))
    draw.ellipse(_scaled(x - torso, top + head * 0.8, x + torso, feet - tall * 0.3), fill=tuple(cloth))
    skin, hair = SKIN[rng.integers(len(SKIN))], HAIR[rng.integers(len(HAIR))]
    draw.ellipse(_scaled(x - head * 0.5, top, x + head * 0.5, top + head * 1.1), fill=tuple(hair))
    if rng.random() < 0.6:  # seen from the front
        draw.ellipse(_scaled(x - head * 0.36, top + head * 0.28, x + head * 0.36, top + head * 1.05), fill=tuple(skin))
    return x, top + head * 0.55


def _visible(heads: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The centres inside the image that no nearer head or torso covers; heads [N, 3]: (x, y, width), far to near."""
    x, y, width = heads.T
    dx, dy = (x[:, None] - x) / width, (y[:, None] - y) / width  # [covered, covering]
    covers = (np.hypot(dx, dy) < 0.5) | (np.hypot(dx / 0.85, (dy - 1.2) / 1.1) < 1)
    hidden = np.triu(covers, k=1).any(axis=1)
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    return heads[inside & ~hidden, :2].astype(np.float32)


def _scaled(*box: float) -> list[float]:
    return [side * OVERSAMPLE for side in box]


def _develop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light and camera: exposure, contrast, a colour cast and sensor noise."""
    cast = rng.uniform(0.92, 1.08, 3) * rng.uniform(0.75, 1.15)
    toned = (image.astype(np.float32) - 128) * rng.uniform(0.75, 1.1) + 128
    return (toned * cast + rng.normal(0, rng.uniform(1, 5), image.shape)).clip(0, 255).astype(np.uint8)
