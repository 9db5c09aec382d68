"""Real footage as the haystack: the frames of a video at a steady rate, from the start again where it ends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videox2l.video import Sampling, open_video

_FRAMES_READ = 8  # at a time: footage may be large


@dataclass(frozen=True)
class Footage:
    """A video file to lay needles over, opened once to know its length and content.

    duration_s: its length in seconds. fingerprint: hex digest of its content.
    """

    path: Path
    duration_s: float
    fingerprint: str

    @classmethod
    def open(cls, path: str | Path) -> Footage:
        """Look at a video. Raises: VideoError if it can't be read."""
        video = open_video(path)
        return cls(Path(path), video.duration_s, video.fingerprint())

    def start_for(self, rng: random.Random, duration_s: float) -> float:
        """A random second to start at, so that duration_s seconds fit if the footage is long enough."""
        slack_s = self.duration_s - duration_s
        return rng.uniform(0, slack_s if slack_s > 0 else 0.9 * self.duration_s)

    def frames(self, fps: float, start_s: float) -> Iterator[NDArray[np.uint8]]:
        """Frames (H, W, 3) at start_s, start_s + 1 / fps, ... without end, looping."""
        while True:
            yield from self._once(fps, start_s)
            start_s = 0.0

    def _once(self, fps: float, start_s: float) -> Iterator[NDArray[np.uint8]]:
        video = open_video(self.path, Sampling(fps=fps, start_s=start_s))
        shown, due_s = None, start_s
        for chunk in video.chunks(_FRAMES_READ):
            for pixels, time_s in zip(chunk.pixels, chunk.timestamps_s.tolist(), strict=True):
                while shown is not None and due_s < time_s - 1e-3:  # footage with fewer frames a second: hold each
                    yield shown
                    due_s += 1 / fps
                shown = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        while shown is not None and due_s < self.duration_s - 1e-3:
            yield shown
            due_s += 1 / fps
