"""Procedural footage to hide needles in: textures, places by day and night, drift, clutter, light changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Picture = NDArray[np.float64]
Place = Literal["beach", "forest", "city", "desert"]
Light = Literal["day", "night"]
Texture = Literal["gradient", "noise", "leaves", "stripes", "cells", "blobs"]

PLACES: tuple[Place, ...] = ("beach", "forest", "city", "desert")
LIGHTS: tuple[Light, ...] = ("day", "night")
TEXTURES: tuple[Texture, ...] = ("gradient", "noise", "leaves", "stripes", "cells", "blobs")

_CANVAS = 192  # pixels a side of a scene's still picture; views of it are resized to the frame


@dataclass(frozen=True)
class Scene:
    """One shot: from start_s on the video shows this picture, drifting, under moving clutter.

    seed fixes the picture, its drift, clutter and brightness. A scene shows a place by day or night, or else
    (both None) a texture that stands for footage of anything.
    """

    start_s: float
    seed: int
    place: Place | None = None
    light: Light | None = None


def paint_scene(scene: Scene, time_s: float, height: int, width: int) -> Image.Image:
    """The scene at time_s seconds of the video, an RGB picture of height x width pixels."""
    rng = np.random.RandomState(scene.seed % 2**31)
    zoom = rng.uniform(0.45, 0.85)
    phase, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.25)
    pulse, depth = rng.uniform(0.1, 1.0), rng.uniform(0, 0.2)
    # The view wanders over the still picture along an ellipse, so it never leaves it.
    slack = _CANVAS * (1 - zoom) / 2
    left = slack * (1 + math.cos(phase + speed * time_s))
    top = slack * (1 + math.sin(phase + 0.7 * speed * time_s))
    if scene.place is not None:  # keep sky above and ground below
        top = slack + 0.2 * (top - slack)
    view = (left, top, left + zoom * _CANVAS, top + zoom * _CANVAS)
    still = _still(scene.seed, scene.place, scene.light)
    image = still.resize((width, height), Image.Resampling.BILINEAR, box=view)
    _draw_clutter(image, rng, time_s)
    gain = 1 + depth * math.sin(phase + pulse * time_s)
    return image.point([min(255, int(level * gain)) for level in range(256)] * 3)


def _draw_clutter(image: Image.Image, rng: np.random.RandomState, time_s: float) -> None:
    """Discs and boxes that cross the frame, without outline or digit, so never a needle."""
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(rng.randint(0, 5)):
        x, y, dx, dy = rng.uniform(0, 1, 2).tolist() + rng.uniform(-0.15, 0.15, 2).tolist()
        size = rng.uniform(0.02, 0.14) * height
        colour = tuple(rng.randint(0, 256, 3).tolist())
        centre_x = ((x + dx * time_s) % 1.3 - 0.15) * width
        centre_y = ((y + dy * time_s) % 1.3 - 0.15) * height
        box = (centre_x - size, centre_y - size * 0.7, centre_x + size, centre_y + size * 0.7)
        if rng.rand() < 0.6:
            draw.ellipse(box, fill=colour)
        else:
            draw.rectangle(box, fill=colour)


@lru_cache(maxsize=256)
def _still(seed: int, place: Place | None, light: Light | None) -> Image.Image:
    rng = np.random.RandomState((seed + 7919) % 2**31)
    if place is None:
        picture = _texture(rng, TEXTURES[rng.randint(len(TEXTURES))])
        if rng.rand() < 0.3:  # two textures, one seen through the other
            other = _texture(rng, TEXTURES[rng.randint(len(TEXTURES))])
            mask = _fractal_noise(rng, 2.5)[..., None] > 0.5
            picture = np.where(mask, picture, other)
        picture = picture * rng.uniform(0.35, 1.0) + rng.uniform(0, 40)
    else:
        picture = _place(rng, place)
        picture = picture + 18 * (_fractal_noise(rng, 1.0)[..., None] - 0.5)
        if light == "night":
            picture = picture * np.array([0.22, 0.26, 0.42]) + np.array([2, 4, 16])
            picture = np.maximum(picture, _lights(rng, place))
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(float(rng.choice([0.0, 0.7, 1.5]))))


def _fractal_noise(rng: np.random.RandomState, slope: float) -> Picture:
    """1/f^slope noise scaled to 0..1, (_CANVAS, _CANVAS)."""
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(_CANVAS), np.fft.fftfreq(_CANVAS)))
    frequency[0, 0] = 1.0
    spectrum = rng.randn(*frequency.shape) + 1j * rng.randn(*frequency.shape)
    noise = np.fft.irfft2(spectrum / frequency**slope, s=(_CANVAS, _CANVAS))
    low, high = np.percentile(noise, [2, 98])
    return np.clip((noise - low) / (high - low), 0, 1)


def _colour(rng: np.random.RandomState) -> Picture:
    """A random colour, as often dull as vivid."""
    colour = rng.uniform(0, 255, 3)
    return colour.mean() + (colour - colour.mean()) * rng.uniform(0, 1.2)


def _blend(mask: Picture, low: Picture, high: Picture) -> Picture:
    return low + (high - low) * mask[..., None]


def _texture(rng: np.random.RandomState, kind: Texture) -> Picture:
    """A picture of (_CANVAS, _CANVAS, 3) values in about 0..255."""
    y, x = np.mgrid[0:_CANVAS, 0:_CANVAS] / _CANVAS
    first, second = _colour(rng), _colour(rng)
    if kind == "gradient":
        angle = rng.uniform(0, 2 * math.pi)
        ramp = (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle) + 0.5
        return _blend(np.clip(ramp, 0, 1), first, second)
    if kind == "noise":
        if rng.rand() < 0.5:
            return _blend(_fractal_noise(rng, rng.uniform(0.5, 2.0)), first, second)
        return 255 * np.stack([_fractal_noise(rng, rng.uniform(0.8, 2.0)) for _ in range(3)], axis=-1)
    if kind == "leaves":
        return _dead_leaves(rng, lambda: _colour(rng), rng.randint(60, 240))
    if kind == "stripes":
        angle, period = rng.uniform(0, math.pi), rng.uniform(0.02, 0.2)
        wave = np.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period)
        if rng.rand() < 0.5:
            wave *= np.sin(2 * math.pi * (y * math.cos(angle) - x * math.sin(angle)) / period)
        return _blend((wave > 0).astype(float) if rng.rand() < 0.5 else (wave + 1) / 2, first, second)
    if kind == "cells":
        points = rng.uniform(0, 1, (rng.randint(8, 50), 2))
        nearest = ((x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2).argmin(-1)
        return np.stack([_colour(rng) for _ in points])[nearest]
    # blobs: soft lights out of focus
    picture = np.ones((_CANVAS, _CANVAS, 3)) * first * 0.5
    for _ in range(rng.randint(4, 20)):
        (centre_x, centre_y), radius = rng.uniform(0, 1, 2), rng.uniform(0.03, 0.25)
        glow = np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / radius**2)
        picture = _blend(glow, np.zeros(3), np.ones(3)) * _colour(rng) + picture * (1 - glow[..., None])
    return picture


def _dead_leaves(
    rng: np.random.RandomState, colour: Callable[[], Picture], count: int, largest: float = 0.2
) -> Picture:
    """Discs and polygons falling over one another, the statistics of natural pictures' edges."""
    image = Image.new("RGB", (_CANVAS, _CANVAS), tuple(int(v) for v in np.clip(colour(), 0, 255)))
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        centre = rng.uniform(0, 1, 2) * _CANVAS
        radius = _CANVAS * 0.015 * (largest / 0.015) ** (rng.uniform() ** 2)
        fill = tuple(int(v) for v in np.clip(colour(), 0, 255))
        if rng.rand() < 0.5:
            draw.ellipse((*(centre - radius), *(centre + radius)), fill=fill)
        else:
            angles = np.sort(rng.uniform(0, 2 * math.pi, rng.randint(3, 7)))
            corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], -1)
            draw.polygon([tuple(corner) for corner in corners], fill=fill)
    return np.asarray(image, dtype=np.float64)


def _sky(rng: np.random.RandomState, horizon: float) -> Picture:
    y = np.mgrid[0:_CANVAS, 0:_CANVAS][0] / _CANVAS
    sky = _blend(np.clip(y / horizon, 0, 1), np.array([70, 130, 220.0]), np.array([185, 215, 245.0]))
    clouds = np.clip(_fractal_noise(rng, 1.8) * 2 - rng.uniform(0.9, 1.6), 0, 1)
    return _blend(clouds, np.zeros(3), np.full(3, 245.0)) + sky * (1 - clouds[..., None])


def _place(rng: np.random.RandomState, place: Place) -> Picture:
    """The place by day, (_CANVAS, _CANVAS, 3)."""
    y, x = np.mgrid[0:_CANVAS, 0:_CANVAS] / _CANVAS
    horizon = rng.uniform(0.35, 0.55)
    if place == "forest":
        green, sunlit = np.array([30, 100, 25]), np.array([0.8, 1.0, 0.5])
        picture = _dead_leaves(rng, lambda: green + rng.uniform(-25, 60) * sunlit, 320, largest=0.1)
        for _ in range(rng.randint(3, 9)):
            trunk, thickness = rng.uniform(0, 1), rng.uniform(0.01, 0.04)
            picture[np.abs(x - trunk) < thickness] = np.array([85, 60, 35]) * rng.uniform(0.6, 1.2)
        return picture
    picture = _sky(rng, horizon)
    if place == "beach":
        shore = rng.uniform(0.62, 0.78) + 0.02 * np.sin(2 * math.pi * (x * rng.uniform(1, 3) + rng.rand()))
        waves = 25 * np.sin(2 * math.pi * (y * 40 + x * 3 + 3 * _fractal_noise(rng, 1.5)))
        sea = np.array([25, 120, 165.0]) + waves[..., None]
        sand = np.array([225, 200, 150.0]) + 25 * (_fractal_noise(rng, 0.5)[..., None] - 0.5)
        picture = np.where((y > horizon)[..., None], sea, picture)
        return np.where((y > shore)[..., None], sand, picture)
    if place == "desert":
        for depth in np.linspace(horizon, 1.0, 5):
            crest = depth + 0.06 * np.sin(2 * math.pi * (x * rng.uniform(0.5, 1.5) + rng.rand()))
            dune = np.array([215, 140, 70]) * rng.uniform(0.75, 1.1)
            grain = 20 * (_fractal_noise(rng, 1.0)[..., None] - 0.5)
            picture = np.where((y > crest)[..., None], dune + grain, picture)
        return picture
    left = -0.05  # city: a row of towers with windows, and a street
    while left < 1:
        breadth, roof = rng.uniform(0.08, 0.2), rng.uniform(0.02, 0.5)
        tower = (x > left) & (x < left + breadth) & (y > roof)
        picture[tower] = np.full(3, rng.uniform(70, 170)) + rng.uniform(-12, 12, 3)
        windows = tower & ((x * 40) % 1 < 0.5) & ((y * 30) % 1 < 0.5)
        picture[windows] = rng.uniform(0.4, 0.75) * picture[windows]
        left += breadth
    picture[y > rng.uniform(0.85, 0.92)] = rng.uniform(60, 90)
    return picture


def _lights(rng: np.random.RandomState, place: Place) -> Picture:
    """Stars over every place at night, lit windows in the city."""
    glow = np.zeros((_CANVAS, _CANVAS, 3))
    rows = rng.randint(0, _CANVAS // 3, 40)
    glow[rows, rng.randint(0, _CANVAS, 40)] = 200
    if place == "city":
        y, x = np.mgrid[0:_CANVAS, 0:_CANVAS] / _CANVAS
        pane = ((x * 40) % 1 < 0.5) & ((y * 30) % 1 < 0.5) & (y > 0.3) & (y < 0.88)
        lit = rng.rand(30, 40)[(y * 30).astype(int), (x * 40).astype(int)] < 0.3
        glow[pane & lit] = (250, 220, 130)
    return glow
