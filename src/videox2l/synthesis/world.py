"""The needle-video world: what happens in a video (`sample_script`) and what it looks like (`render`).

A needle is a coloured shape with a printed digit that stays in one corner of the frame for one to three seconds,
in the spirit of VNBench (needles in a video haystack). A script says everything about a video and is small;
rendering is a pure function of script and time at any resolution, over procedural scenes or real footage.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from videox2l.synthesis.backgrounds import LIGHTS, PLACES, Light, Place, Scene, paint_scene

Colour = Literal["red", "orange", "yellow", "green", "cyan", "blue", "pink", "white"]
Shape = Literal["circle", "square", "triangle", "star", "cross", "heart"]
Corner = Literal["top left", "top right", "bottom left", "bottom right"]

COLOURS: dict[Colour, tuple[int, int, int]] = {
    "red": (225, 25, 30),
    "orange": (255, 135, 0),
    "yellow": (250, 230, 20),
    "green": (25, 170, 45),
    "cyan": (30, 215, 230),
    "blue": (30, 60, 225),
    "pink": (255, 105, 200),
    "white": (245, 245, 245),
}
SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "star", "cross", "heart")
CORNERS: tuple[Corner, ...] = ("top left", "top right", "bottom left", "bottom right")
KINDS: tuple[tuple[Colour, Shape], ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)

BLOCK_S = 10
"""Events do not cross multiples of this many seconds, and every such block has its share of them."""

_NEEDLE_SIZE = 0.4  # of the frame's height
_REPEATED_KINDS_FROM = 36  # more events than this, and some kinds must come more than once
_ABSENT_KINDS = 8  # kinds never shown, to ask about in vain


@dataclass(frozen=True)
class Event:
    """One needle, visible from start_s for duration_s seconds; offset moves it, in parts of the frame."""

    colour: Colour
    shape: Shape
    digit: int
    corner: Corner
    start_s: float
    duration_s: float
    offset: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0

    @property
    def kind(self) -> tuple[Colour, Shape]:
        """Colour and shape, by which questions call the needle."""
        return self.colour, self.shape

    @property
    def name(self) -> str:
        """The kind in words: "red star"."""
        return f"{self.colour} {self.shape}"

    def visible_at(self, time_s: float) -> bool:
        """Whether a frame taken at time_s shows the needle."""
        return self.start_s <= time_s + 1e-3 < self.start_s + self.duration_s


@dataclass(frozen=True)
class VideoScript:
    """Everything that happens in a needle video; events and scenes in order of time.

    place and light are what the video shows for most of the time; None where it shows nothing in particular.
    """

    seed: int
    duration_s: float
    events: tuple[Event, ...]
    scenes: tuple[Scene, ...] = ()
    place: Place | None = None
    light: Light | None = None

    @cached_property
    def unique_events(self) -> tuple[Event, ...]:
        """The events whose colour and shape come once in the video: those that questions can point at."""
        times: dict[tuple[Colour, Shape], int] = {}
        for event in self.events:
            times[event.kind] = times.get(event.kind, 0) + 1
        return tuple(event for event in self.events if times[event.kind] == 1)


def sample_script(
    rng: random.Random,
    duration_s: float,
    *,
    events_per_block: tuple[int, int] = (2, 5),
    scenery: bool = True,
) -> VideoScript:
    """Draw a video.

    rng: the source of all chance; the same state gives the same script.
    duration_s: length in seconds, at least 4.
    events_per_block: fewest and most events in each ten seconds (a shorter last block gets its proportion).
    scenery: also draw places and cuts; without it the script is for rendering over real footage.

    In videos of up to 36 events every (colour, shape) comes once at most. Longer ones repeat some kinds, and keep
    others to a single event, so that there is always something to ask about. Raises ValueError for settings that
    cannot fit.
    """
    if duration_s < 4:
        raise ValueError(f"a needle video needs at least 4 seconds, got {duration_s}")
    low, high = events_per_block
    if not 1 <= low <= high <= 12:
        raise ValueError(f"events_per_block must be 1 <= fewest <= most <= 12, got {events_per_block}")
    seed = rng.getrandbits(31)
    slots: list[tuple[int, float, Corner]] = []  # start, duration, corner
    for block_start in range(0, math.floor(duration_s), BLOCK_S):
        block_end = min(block_start + BLOCK_S, math.floor(duration_s))
        share = (block_end - block_start) / BLOCK_S
        count = max(1, round(rng.randint(low, high) * share))
        slots += _block_slots(rng, block_start, block_end, count)
    kinds = _draw_kinds(rng, len(slots))
    events = [
        Event(
            colour,
            shape,
            rng.randrange(10),
            corner,
            float(start),
            float(duration),
            (rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03)),
            rng.uniform(0.88, 1.08),
        )
        for (start, duration, corner), (colour, shape) in zip(slots, kinds, strict=True)
    ]
    events.sort(key=lambda event: (event.start_s, event.corner))
    if not scenery:
        return VideoScript(seed, duration_s, tuple(events))
    place, light = rng.choice(PLACES), rng.choice(LIGHTS)
    scenes = _cut_scenes(rng, duration_s, place, light)
    return VideoScript(seed, duration_s, tuple(events), scenes, place, light)


def _block_slots(rng: random.Random, start: int, end: int, count: int) -> list[tuple[int, float, Corner]]:
    """Times and corners for count events, no two in the same corner at the same time."""
    taken: set[tuple[Corner, int]] = set()
    slots: list[tuple[int, float, Corner]] = []
    for _ in range(200):
        if len(slots) == count:
            break
        duration = rng.randint(1, min(3, end - start))
        first = rng.randint(start, end - duration)
        corner = rng.choice(CORNERS)
        # The second after a needle stays free in its corner, so that two never look like one.
        cells = {(corner, second) for second in range(first - 1, first + duration + 1)}
        if not cells & taken:
            taken |= {(corner, second) for second in range(first, first + duration)}
            slots.append((first, duration, corner))
    return slots


def _draw_kinds(rng: random.Random, count: int) -> list[tuple[Colour, Shape]]:
    kinds = rng.sample(KINDS, len(KINDS) - _ABSENT_KINDS)
    if count <= _REPEATED_KINDS_FROM:
        return kinds[:count]
    once, repeated = kinds[:24], kinds[24:]
    drawn = once + [rng.choice(repeated) for _ in range(count - len(once))]
    rng.shuffle(drawn)
    return drawn


def _cut_scenes(rng: random.Random, duration_s: float, place: Place, light: Light) -> tuple[Scene, ...]:
    """Shots of 5 to 20 seconds: four in five show the place, the others are cutaways to something else."""
    scenes: list[Scene] = []
    start = 0.0
    while start < duration_s:
        if rng.random() < 0.8 or not scenes:
            scenes.append(Scene(start, rng.getrandbits(31), place, light))
        else:
            scenes.append(Scene(start, rng.getrandbits(31)))
        start += rng.randint(5, 20)
    return tuple(scenes)


def render(
    script: VideoScript,
    time_s: float,
    height: int,
    width: int,
    background: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The frame at time_s seconds: uint8 RGB, shape (height, width, 3).

    background: a frame of real footage, uint8 (any height, any width, 3), to show instead of the scenes.
    """
    if background is not None:
        image = Image.fromarray(background)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
    elif script.scenes:
        shown = bisect_right(script.scenes, time_s + 1e-3, key=lambda scene: scene.start_s) - 1
        image = paint_scene(script.scenes[max(0, shown)], time_s, height, width)
    else:
        image = Image.new("RGB", (width, height), (96, 96, 96))
    for event in visible_events(script.events, time_s):
        _paste_needle(image, event)
    return np.array(image)


def visible_events(events: Sequence[Event], time_s: float) -> list[Event]:
    """The events that a frame taken at time_s shows; events must be in order of start_s."""
    first = bisect_right(events, time_s - 4, key=lambda event: event.start_s)
    last = bisect_right(events, time_s + 1e-3, key=lambda event: event.start_s)
    return [event for event in events[first:last] if event.visible_at(time_s)]


def _paste_needle(image: Image.Image, event: Event) -> None:
    width, height = image.size
    # A wide frame widens a needle by the square root of its aspect: half-way between round as shown and round
    # once the frame is squared for the model.
    tall = max(8, round(_NEEDLE_SIZE * event.scale * height))
    wide = max(8, round(_NEEDLE_SIZE * event.scale * math.sqrt(height * width)))
    sprite = _sprite(event.colour, event.shape, event.digit, wide, tall)
    centre_x = (0.25 if event.corner.endswith("left") else 0.75) + event.offset[0]
    centre_y = (0.25 if event.corner.startswith("top") else 0.75) + event.offset[1]
    image.paste(sprite, (round(centre_x * width - wide / 2), round(centre_y * height - tall / 2)), sprite)


_SUPERSAMPLING = 4
_DARK, _LIGHT = (15, 15, 15), (250, 250, 250)


@lru_cache(maxsize=2048)
def _sprite(colour: Colour, shape: Shape, digit: int, width: int, height: int) -> Image.Image:
    """The needle, RGBA: a dark and a light outline around the colour keep it visible over anything."""
    big = (width * _SUPERSAMPLING, height * _SUPERSAMPLING)
    image = Image.new("RGBA", big, (*_DARK, 0))
    draw = ImageDraw.Draw(image)
    outline = _outline(shape)
    for scale, fill in ((1.0, _DARK), (0.92, _LIGHT), (0.84, COLOURS[colour])):
        points = [(big[0] * (0.5 + scale * x), big[1] * (0.5 + scale * y)) for x, y in outline]
        draw.polygon(points, fill=(*fill, 255))
    ink = _LIGHT if colour in ("red", "blue", "green") else _DARK
    centre_y = 0.58 if shape == "triangle" else 0.46 if shape == "heart" else 0.5
    for x0, y0, x1, y1 in _digit_boxes(digit):
        box = (big[0] * (0.5 + x0), big[1] * (centre_y + y0), big[0] * (0.5 + x1), big[1] * (centre_y + y1))
        draw.rectangle(box, fill=(*ink, 255))
    return image.resize((width, height), Image.Resampling.BOX)


@lru_cache
def _outline(shape: Shape) -> list[tuple[float, float]]:
    """Corners of the shape in a unit box around (0, 0), y downwards."""
    if shape == "square":
        return [(-0.43, -0.43), (0.43, -0.43), (0.43, 0.43), (-0.43, 0.43)]
    if shape == "triangle":
        return [(0, -0.5), (0.5, 0.47), (-0.5, 0.47)]
    if shape == "cross":
        arm = [(-0.21, -0.5), (0.21, -0.5), (0.21, -0.21)]
        turned = list(arm)
        for _ in range(3):
            arm = [(-y, x) for x, y in arm]
            turned += arm
        return turned
    if shape == "star":
        radii = [0.5, 0.26] * 5
        return [(r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i, r in enumerate(radii)]
    turns = [2 * math.pi * i / 48 for i in range(48)]
    if shape == "circle":
        return [(0.5 * math.cos(t), 0.5 * math.sin(t)) for t in turns]
    lobes = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turns]
    return [(16 * math.sin(t) ** 3 / 33, -(y + 2.5) / 29) for t, y in zip(turns, lobes, strict=True)]  # heart


# Digits on a grid of 5 rows by 3 columns stay legible in a needle a dozen pixels wide.
_GLYPHS = (
    "111101101101111",
    "010110010010111",
    "111001111100111",
    "111001111001111",
    "101101111001001",
    "111100111001111",
    "111100111101111",
    "111001001010010",
    "111101111101111",
    "111101111001111",
)


@lru_cache
def _digit_boxes(digit: int) -> list[tuple[float, float, float, float]]:
    """Filled cells of the digit as (x0, y0, x1, y1) around its centre, in parts of the needle."""
    cell_x, cell_y = 0.1, 0.096
    return [
        ((column - 1.5) * cell_x, (row - 2.5) * cell_y, (column - 0.5) * cell_x, (row - 1.5) * cell_y)
        for row in range(5)
        for column in range(3)
        if _GLYPHS[digit][row * 3 + column] == "1"
    ]
