"""Real video files for tests: every frame carries its index in its pixels, read back by `frame_numbers`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from torch import Tensor

BITS = 12
WIDTH, HEIGHT = 8 * BITS, 48


def numbered_picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """RGB pixels (H, W, 3): columns are the bits of the number, low bit left; the top is grey."""
    bits = [(number >> bit & 1) * 255 for bit in range(BITS)]
    picture = np.repeat(np.array(bits, dtype=np.uint8), width // BITS)
    picture = np.tile(picture[None, :, None], (height, 1, 3))
    picture[: height // 4] = 128
    return picture


def frame_numbers(pixels: Tensor) -> list[int]:
    """The number in each of the frames (T, 3, H, W) made by `numbered_picture`, whatever their size."""
    height, width = pixels.shape[2:]
    columns = [width * (2 * bit + 1) // (2 * BITS) for bit in range(BITS)]
    rows = pixels[:, :, height // 2 :, columns].float().mean(dim=(1, 2)) > 128  # (T, BITS)
    return [sum(int(on) << bit for bit, on in enumerate(row)) for row in rows]


def write_video(
    path: Path,
    frames: int | Iterable[np.ndarray] = 60,
    *,
    fps: int = 30,
    gop: int = 12,
    b_frames: int = 0,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    rotation: float | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode a video file and return its path.

    frames: how many numbered frames, or pictures (H, W, 3) uint8 RGB of your own.
    gop, b_frames: the longest run between keyframes, and B-frames in a row.
    times: presentation time of each frame in 1/1000 s, for variable frame rates; by default i / fps.
    rotation: degrees counter-clockwise a player has to turn the picture by.
    """
    pictures = map(numbered_picture, range(frames)) if isinstance(frames, int) else iter(frames)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = None
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=fps)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixel_format
                # one thread and no scene cuts: the same bytes and keyframes on every machine
                stream.options = {"g": str(gop), "bf": str(b_frames), "threads": "1"} | (options or {})
                if codec == "libx264":
                    stream.options |= {"preset": "ultrafast", "sc_threshold": "0", "crf": "18"} | (options or {})
                if rotation is not None:
                    stream.set_display_rotation(rotation)
                if times is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
    return path
