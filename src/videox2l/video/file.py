"""Video files: frame-exact sampling with one seek for each group of frames behind a keyframe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import av
import numpy as np
import torch
from av.buffer import Buffer
from av.video.frame import VideoFrame
from torch import Tensor

from videox2l.errors import VideoError
from videox2l.video.container import opened
from videox2l.video.decoder import Decoder
from videox2l.video.fingerprint import file_fingerprint
from videox2l.video.packets import index_packets
from videox2l.video.sampling import Sampling
from videox2l.video.subtitle_streams import SubtitleStream, read_streams
from videox2l.video.video import Video


class VideoFile(Video):
    """A video file in any container and codec libav reads, by path or as an open binary file.

    Times are presentation times relative to the first frame. Frames that don't decode are left out and noted.

    source: the path or open file. packets: of its video stream, and the frames they show. origin_s: time of the first
    frame by the container's clock.
    Raises VideoError if the source is missing, no video, or has no frame.
    """

    def __init__(self, source: Path | BinaryIO, sampling: Sampling) -> None:
        name = Path(str(getattr(source, "name", "video"))).name
        with opened(source, name) as (container, stream):
            self._size = (stream.codec_context.width, stream.codec_context.height)
            self.packets = index_packets(container, stream)
            tick_s = float(stream.time_base or 0)
            average_rate, declared_frames = stream.average_rate, stream.frames
            declared_s = (container.duration or 0) / av.time_base
            if stream.duration and stream.time_base:
                declared_s = float(stream.duration * stream.time_base)
        frames, duration_s = len(self.packets.shown), self.packets.duration_s
        if not frames:
            raise VideoError(f"{name} has no video frames, it is empty or cut off: get the complete file")
        self.origin_s = float(self.packets.ticks[self.packets.shown[0]]) * tick_s if self.packets.timed else 0.0
        fps = float(average_rate) if average_rate and self.packets.timed else frames / duration_s
        super().__init__(name, self.packets.times_s, duration_s, fps, sampling)
        self.source = source
        self._fingerprint: str | None = None
        if len(self.packets.ticks) < declared_frames:
            declared_s = max(declared_s, declared_frames / fps)
        if duration_s < declared_s - 1 and (not declared_frames or len(self.packets.ticks) < declared_frames):
            self._known_notes.append(
                f"file is truncated, or its pictures end before its sound: it holds {duration_s:.1f} s of "
                f"{declared_s:.1f} s, using these"
            )

    def fingerprint(self) -> str:
        """Hex digest of the file's bytes."""
        if self._fingerprint is None:
            self._fingerprint = file_fingerprint(self.source)
        return self._fingerprint

    @property
    def path(self) -> Path | None:
        """The file, if it was given by its path."""
        return self.source if isinstance(self.source, Path) else None

    def subtitle_streams(self) -> tuple[SubtitleStream, ...]:
        """Every subtitle stream of the file; reads all of it."""
        with opened(self.source, self.name) as (container, _):
            return read_streams(container, self.origin_s)

    def _read(self, picks: np.ndarray) -> Iterator[tuple[int, Tensor]]:
        with opened(self.source, self.name) as (container, stream):
            decoder = Decoder(container, stream, self.packets)
            for run in self.packets.runs(picks):
                for frame, picture in decoder.decode(run):
                    if (picture.width, picture.height) != self._size:
                        self._resized.add(frame)
                    yield frame, self._pixels(picture)

    def _pixels(self, picture: VideoFrame) -> Tensor:
        width, height = self._size
        try:
            rgb = picture.to_ndarray(format="rgb24", width=width, height=height)
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self.name}: its pixel format {picture.format.name} can't be converted to RGB ({error}), "
                "re-encode it to H.264"
            ) from None
        return torch.from_numpy(_upright(rgb, picture))


def _upright(rgb: np.ndarray, picture: VideoFrame) -> np.ndarray:
    """Apply the display matrix: x' = a x + c y, y' = b x + d y, here always quarter turns and mirrors."""
    side_data = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return rgb
    a, b, _, c, d = np.frombuffer(bytes(cast(Buffer, side_data)), dtype=np.int32)[:5]
    if abs(a) >= abs(b):
        flip_x, flip_y = a < 0, d < 0
    else:
        rgb = rgb.transpose(1, 0, 2)  # (H, W, 3) -> (W, H, 3)
        flip_x, flip_y = c < 0, b < 0
    return np.ascontiguousarray(rgb[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
