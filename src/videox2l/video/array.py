"""Frames that are already in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from videox2l.errors import VideoError
from videox2l.video.fingerprint import fingerprint
from videox2l.video.sampling import Sampling
from videox2l.video.video import Video


@dataclass(frozen=True, eq=False)
class FrameArray:
    """Frames in memory, as a source for `open_video`.

    pixels: uint8 RGB, shape (T, H, W, 3) or (T, 3, H, W).
    timestamps_s: T ascending times in seconds; the first frame's is the start of the video.
    name: for display.
    """

    pixels: Tensor | np.ndarray
    timestamps_s: Tensor | np.ndarray | Sequence[float]
    name: str = "frames"


class VideoArray(Video):
    """A video over frames in memory.

    Raises VideoError if the frames' shape or type, or the timestamps, are not those of a video.
    """

    def __init__(self, source: FrameArray, sampling: Sampling) -> None:
        pixels = torch.as_tensor(source.pixels)
        times_s = torch.as_tensor(source.timestamps_s, dtype=torch.float64).numpy()
        name, shape = source.name, tuple(pixels.shape)
        if pixels.dtype != torch.uint8:
            raise VideoError(f"{name}: frames are {pixels.dtype}, give RGB values from 0 to 255 as uint8")
        if pixels.ndim != 4 or 3 not in (shape[1], shape[3]):
            raise VideoError(f"{name}: frames have shape {shape}, give (T, H, W, 3) or (T, 3, H, W)")
        if 0 in shape:
            raise VideoError(f"{name}: frames have shape {shape}, give at least one frame with pixels")
        if times_s.shape != shape[:1]:
            raise VideoError(
                f"{name}: {shape[0]} frames with timestamps of shape {times_s.shape}, give one for each frame"
            )
        if not np.isfinite(times_s).all() or (np.diff(times_s) <= 0).any():
            raise VideoError(f"{name}: timestamps do not ascend from frame to frame: sort the frames by time")
        self._pixels = pixels if shape[3] == 3 else pixels.permute(0, 2, 3, 1)  # -> (T, H, W, 3)
        times_s = times_s - times_s[0]
        interval_s = float(times_s[-1]) / (len(times_s) - 1) if len(times_s) > 1 else 1.0
        super().__init__(name, times_s, float(times_s[-1]) + interval_s, 1 / interval_s, sampling)

    def fingerprint(self) -> str:
        """Hex digest of pixels and timestamps."""
        shape = torch.tensor(self._pixels.shape).numpy()
        frames = (frame.contiguous().numpy().tobytes() for frame in self._pixels)
        return fingerprint(chain([shape.tobytes(), self._times_s.tobytes()], frames))

    def _read(self, picks: np.ndarray) -> Iterator[tuple[int, Tensor]]:
        for frame in picks.tolist():
            yield frame, self._pixels[frame]
