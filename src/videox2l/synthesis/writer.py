"""Write a needle video as an H.264 mp4, frame by frame: memory does not grow with its length."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from videox2l.errors import SettingsError, StoreError
from videox2l.synthesis.world import VideoScript, render

SMALLEST, LARGEST = 64, 4096
"""Pixels a side: below, a needle's digit has less than two pixels a stroke; above, players give up."""

# The same frames give the same bytes. With mbtree x264 does not: its B-frames then read memory it never wrote.
_ENCODER = {"preset": "veryfast", "crf": "23", "mbtree": "0", "threads": "1"}
_KEYFRAME_EVERY_S = 4


@dataclass(frozen=True)
class VideoFormat:
    """Rate and size of the videos to write.

    fps: frames a second, 1 to 120; a needle may be seen for no more than a second. width, height: pixels, even
    numbers from 64 to 4096.
    Raises: SettingsError for a value out of its domain.
    """

    fps: float = 2.0
    width: int = 160
    height: int = 160

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and 1 <= self.fps <= 120):
            raise SettingsError(
                f"fps={self.fps:g} can't show every needle, some last a second: pass a rate from 1 to 120"
            )
        for name, pixels in (("width", self.width), ("height", self.height)):
            if pixels % 2 or not SMALLEST <= pixels <= LARGEST:
                raise SettingsError(
                    f"{name}={pixels} is not a size needles can be seen and encoded at: pass an even number of pixels "
                    f"from {SMALLEST} to {LARGEST}"
                )

    @property
    def rate(self) -> Fraction:
        """The frame rate as containers hold it."""
        return Fraction(self.fps).limit_denominator(1001)

    def frames(self, duration_s: float) -> int:
        """How many frames a video of so many seconds has."""
        return max(1, round(duration_s * float(self.rate)))


def write_video(
    path: Path,
    script: VideoScript,
    video_format: VideoFormat,
    background: Iterator[NDArray[np.uint8]] | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> None:
    """Render a script into an mp4 file; it appears under its name only when it is complete.

    background: frames of real footage (any size), one for each frame written. progress: called with the number of
    frames done.
    Raises: StoreError if the file can't be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=video_format.rate, options=_ENCODER)
            stream.width, stream.height, stream.pix_fmt = video_format.width, video_format.height, "yuv420p"
            stream.gop_size = max(1, round(_KEYFRAME_EVERY_S * video_format.fps))
            for frame in range(video_format.frames(script.duration_s)):
                time_s = float(frame / video_format.rate)
                footage = None if background is None else next(background)
                picture = render(script, time_s, video_format.height, video_format.width, footage)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                progress(frame + 1)
            container.mux(stream.encode(None))
        os.replace(part, path)
    except (OSError, av.FFmpegError) as error:
        raise StoreError(f"can't write {path} ({error.strerror}): free some space or choose another place") from error
