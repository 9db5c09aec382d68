"""A bank of ten-second chunks: rendered once, read by every later stage.

Videos for training are composed of bank chunks, each moved to its time (the time of a frame is added to its visual
tokens behind the vision tower, so a chunk fits anywhere in a video).
"""

from __future__ import annotations

import io
import multiprocessing
import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from videox2l.synthesis.backgrounds import LIGHTS, PLACES, Scene
from videox2l.synthesis.world import (
    BLOCK_S,
    COLOURS,
    CORNERS,
    SHAPES,
    VideoScript,
    render,
    sample_script,
    visible_events,
)

FRAMES = 10
HELD_OUT = 1 / 30  # part of the bank, at its end, that no stage trains on
PIXEL_MEAN = 0.5
PIXEL_STD = 0.25
EVENTS = (2, 6)  # the world's default is 2 to 5; a little more makes the tower and the memory sturdier
SIZES = ((64, 64), (96, 96), (96, 128), (128, 128), (108, 192), (144, 256), (120, 160), (192, 192))

# What a visual token (one quadrant of one frame) is to show; 0 is "nothing" in the groups that have it.
GROUPS = {
    "colour": (None, *COLOURS),
    "shape": (None, *SHAPES),
    "digit": (None, *map(str, range(10))),
    "row": ("top", "bottom"),
    "column": ("left", "right"),
    "place": (None, *PLACES),
    "light": (None, *LIGHTS),
}


@dataclass(frozen=True)
class FrameSize:
    """How large a bank's frames are.

    height, width: as the vision tower sees them, in pixels.
    drawn: heights and widths they are rendered at before they are resized, in pixels.
    """

    height: int
    width: int
    drawn: tuple[tuple[int, int], ...]


SQUARE = FrameSize(64, 64, SIZES)
FOUR_TO_THREE = FrameSize(64, 80, ((96, 128), (120, 160), (144, 192), (180, 240)))
SIXTEEN_TO_NINE = FrameSize(48, 96, ((90, 160), (108, 192), (144, 256), (180, 320)))


def render_bank(directory: Path, chunks: int, seed: int, processes: int = 2, size: FrameSize = SQUARE) -> None:
    """Render chunks: frames.npy (chunks, 10, height, width, 3), labels.npy (chunks, 10, 4, groups) and scripts.pt."""
    directory.mkdir(parents=True, exist_ok=True)
    tasks = [(seed + part, min(200, chunks), size) for part in range(-(-chunks // 200))]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        parts = list(pool.imap(_render_part, tasks))
    np.save(directory / "frames.npy", np.concatenate([frames for frames, _, _ in parts]))
    np.save(directory / "labels.npy", np.concatenate([labels for _, labels, _ in parts]))
    torch.save([script for _, _, scripts in parts for script in scripts], directory / "scripts.pt")


def _render_part(task: tuple[int, int, FrameSize]) -> tuple[np.ndarray, np.ndarray, list[VideoScript]]:
    seed, chunks, size = task
    rng = random.Random(seed)
    frames = np.empty((chunks, FRAMES, size.height, size.width, 3), np.uint8)
    labels = np.zeros((chunks, FRAMES, 4, len(GROUPS)), np.int8)
    scripts = []
    # A part shares some pictures: making one costs as much as rendering twenty frames.
    pictures = [rng.getrandbits(31) for _ in range(10)]
    for chunk in range(chunks):
        script = chunk_script(rng, pictures)
        scripts.append(script)
        frames[chunk] = np.stack([np.asarray(_degrade(image, rng, size)) for image in _shoot(script, rng, size)])
        for second in range(FRAMES):
            labels[chunk, second] = frame_labels(script, second)
    return frames, labels, scripts


def chunk_script(rng: random.Random, pictures: list[int]) -> VideoScript:
    """A ten-second script: three in four show a place, cut into one to three shots, the others anything."""
    script = sample_script(rng, BLOCK_S, events_per_block=EVENTS, scenery=False)
    place, light = rng.choice(PLACES), rng.choice(LIGHTS)
    cuts = [0.0, *sorted(rng.sample(range(1, 10), rng.choice((0, 0, 1, 1, 2))))]
    anything = rng.random() < 0.25
    scenes = tuple(
        Scene(float(cut), rng.choice(pictures))
        if anything or rng.random() < 0.15
        else Scene(float(cut), rng.choice(pictures), place, light)
        for cut in cuts
    )
    return replace(script, scenes=scenes, place=None if anything else place, light=None if anything else light)


def _shoot(script: VideoScript, rng: random.Random, size: FrameSize) -> list[Image.Image]:
    height, width = rng.choice(size.drawn)
    return [Image.fromarray(render(script, second, height, width)) for second in range(FRAMES)]


def _degrade(image: Image.Image, rng: random.Random, size: FrameSize) -> Image.Image:
    """What cameras, codecs and players do to a frame, then the resize of the image processor."""
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6) * image.height / 64))
    if rng.random() < 0.5:
        curves = []
        for _ in range(3):
            gain, lift, gamma = rng.uniform(0.9, 1.1), rng.uniform(-8, 8), rng.uniform(0.88, 1.14)
            curves += [int(min(255, max(0, 255 * (v / 255) ** gamma * gain + lift))) for v in range(256)]
        image = image.point(curves)
    if rng.random() < 0.6:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(25, 90))
        image = Image.open(buffer).convert("RGB")
    return image.resize((size.width, size.height), Image.Resampling.BICUBIC)


def frame_labels(script: VideoScript, second: float) -> np.ndarray:
    """Index into each of GROUPS for the frame's four quadrants, (4, groups)."""
    scene = [scene for scene in script.scenes if scene.start_s <= second][-1]
    labels = np.zeros((4, len(GROUPS)), np.int8)
    labels[:, 3:] = [
        (quadrant // 2, quadrant % 2, GROUPS["place"].index(scene.place), GROUPS["light"].index(scene.light))
        for quadrant in range(4)
    ]
    for event in visible_events(script.events, second):
        labels[CORNERS.index(event.corner), :3] = (
            GROUPS["colour"].index(event.colour),
            GROUPS["shape"].index(event.shape),
            1 + event.digit,
        )
    return labels


def normalise(frames: Tensor) -> Tensor:
    """uint8 frames (T, 64, 64, 3) -> the tower's pixels (T, 3, 64, 64)."""
    return ((frames.float() / 255 - PIXEL_MEAN) / PIXEL_STD).permute(0, 3, 1, 2)
