"""Scene generator: draw crowd scenes, deterministically.

Perspective, occlusion, texture, light and density vary.
"""

import numpy as np
from PIL import Image, ImageDraw

OVERSAMPLE = 3  # a scene is drawn this many times larger and then reduced, for soft edges
SKIN = np.array([[240, 205, 175], [205, 155, 115], [150, 100, 70], [90, 60, 45]])
HAIR = np.array([[25, 20, 18], [60, 42, 30], [120, 85, 50], [150, 150, 150]])


def draw_scene(size: tuple[int, int], mean_count: float,
               rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene.

    Returns the image, uint8 [H, W, 3], and the visible head centres, float32 [N, 2] as (x, y) in
    pixels.

    size: (H, W) in pixels.
    mean_count: the number of people in an average scene. The counts have a log-normal distribution,
        as in street scenes.
    """
    height, width = size
    horizon = height * rng.uniform(0.12, 0.35)
    near = height * rng.uniform(0.085, 0.12)  # the diameter in pixels of a head at the bottom edge
    ground = Image.fromarray(_ground(size, horizon, rng))
    canvas = ground.resize((width * OVERSAMPLE, height * OVERSAMPLE))
    draw = ImageDraw.Draw(canvas)
    _draw_buildings(draw, size, horizon, rng)
    count = int(np.clip(rng.lognormal(np.log(mean_count) - 0.18, 0.6), 4, 5 * mean_count))
    heads = []
    # From far to near, so that near people hide far ones.
    for x, feet in _standing_places(count, size, horizon, rng):
        perspective = 0.45 + 0.55 * (feet - horizon) / (height - horizon)
        head = near * perspective * rng.uniform(0.85, 1.15)
        heads.append((*_draw_person(draw, x, feet, head, rng), head))
    image = np.asarray(canvas.resize((width, height), Image.Resampling.BOX))
    return _develop(image, rng), _visible(np.array(heads), size)


def _ground(size: tuple[int, int], horizon: float, rng: np.random.Generator) -> np.ndarray:
    """Return sky above the horizon and textured ground below, uint8 [H, W, 3]."""
    height, width = size
    below = (np.arange(height)[:, None, None] > horizon).astype(float)
    depth = np.linspace(0.8, 1.1, height)[:, None, None]
    colour = below * rng.uniform(80, 170, 3) * depth + (1 - below) * rng.uniform(150, 230, 3)
    blocks = rng.normal(0, 18, (height // 16 + 1, width // 16 + 1, 1))
    coarse = blocks.repeat(16, 0).repeat(16, 1)[:height, :width]
    fine = rng.normal(0, 7, (height, width, 1))
    return (colour + below * (coarse + fine)).clip(0, 255).astype(np.uint8)


def _draw_buildings(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: float,
                    rng: np.random.Generator) -> None:
    """Draw buildings with windows that stand at the horizon."""
    height, width = size
    for _ in range(rng.integers(3, 9)):
        left = rng.uniform(-0.1, 1) * width
        across = rng.uniform(0.08, 0.3) * width
        top = horizon * rng.uniform(0, 0.8)
        bottom = horizon + height * rng.uniform(0, 0.06)
        wall = rng.integers(50, 210, 3)
        draw.rectangle(_scaled(left, top, left + across, bottom), fill=tuple(wall))
        pane = height * 0.02
        for row in np.arange(top + pane, bottom - pane, 2 * pane):
            for column in np.arange(left + pane, left + across - pane, 2 * pane):
                box = _scaled(column, row, column + pane, row + pane)
                draw.rectangle(box, fill=tuple(wall * 6 // 10))


def _standing_places(count: int, size: tuple[int, int], horizon: float,
                     rng: np.random.Generator) -> np.ndarray:
    """Return the places of people, [count, 2] as (x, y of the feet), from far to near.

    Some people stand in groups and others stand alone.
    """
    height, width = size
    centres = rng.uniform([0, 0.05], [width, 1], (rng.integers(2, 6), 2))
    spread = rng.uniform([0.1 * width, 0.1], [0.4 * width, 0.4], (len(centres), 2))
    group = rng.integers(len(centres), size=count)
    alone = rng.random(count) < 0.4
    x_alone = rng.uniform(0, width, count)
    x_in_group = rng.normal(centres[group, 0], spread[group, 0])
    depth_alone = rng.uniform(0.03, 1, count)
    depth_in_group = rng.normal(centres[group, 1], spread[group, 1])
    x = np.where(alone, x_alone, x_in_group) % width
    depth = np.abs(np.where(alone, depth_alone, depth_in_group) - 0.03) % 1.05 + 0.03
    order = np.argsort(depth)
    return np.stack([x, horizon + depth * (height - horizon)], axis=1)[order]


def _draw_person(draw: ImageDraw.ImageDraw, x: float, feet: float, head: float,
                 rng: np.random.Generator) -> tuple[float, float]:
    """Draw legs, a torso and a head of `head` pixels width. Returns the centre of the head."""
    tall = head * rng.uniform(3.2, 4.2)
    top = feet - tall
    cloth = (rng.integers(20, 235, 3) + rng.integers(20, 235)) // 2
    trousers = rng.integers(20, 140, 3)
    torso = head * rng.uniform(0.75, 1.0)
    legs = _scaled(x - torso * 0.6, feet - tall * 0.45, x + torso * 0.6, feet)
    draw.rectangle(legs, fill=tuple(trousers))
    body = _scaled(x - torso, top + head * 0.8, x + torso, feet - tall * 0.3)
    draw.ellipse(body, fill=tuple(cloth))
    skin = SKIN[rng.integers(len(SKIN))]
    hair = HAIR[rng.integers(len(HAIR))]
    draw.ellipse(_scaled(x - head * 0.5, top, x + head * 0.5, top + head * 1.1), fill=tuple(hair))
    if rng.random() < 0.6:  # seen from the front
        face = _scaled(x - head * 0.36, top + head * 0.28, x + head * 0.36, top + head * 1.05)
        draw.ellipse(face, fill=tuple(skin))
    return x, top + head * 0.55


def _visible(heads: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the head centres inside the image that no nearer head or torso covers, [M, 2].

    heads: [N, 3] as (x, y, width), from far to near.
    """
    x, y, width = heads.T
    dx = (x[:, None] - x) / width  # [covered, covering]
    dy = (y[:, None] - y) / width
    covers = (np.hypot(dx, dy) < 0.5) | (np.hypot(dx / 0.85, (dy - 1.2) / 1.1) < 1)
    hidden = np.triu(covers, k=1).any(axis=1)
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    return heads[inside & ~hidden, :2].astype(np.float32)


def _scaled(*box: float) -> list[float]:
    """Return a box on the canvas."""
    return [side * OVERSAMPLE for side in box]


def _develop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image with the effects of light and camera.

    They are exposure, contrast, a colour cast and sensor noise.
    """
    cast = rng.uniform(0.92, 1.08, 3) * rng.uniform(0.75, 1.15)
    toned = (image.astype(np.float32) - 128) * rng.uniform(0.75, 1.1) + 128
    noise = rng.normal(0, rng.uniform(1, 5), image.shape)
    return (toned * cast + noise).clip(0, 255).astype(np.uint8)
