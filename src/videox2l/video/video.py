"""What every source of frames has in common: a plan of sampled frames, read in chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videox2l.errors import SettingsError, VideoError
from videox2l.types import Frames, VideoOutline, VideoSpec
from videox2l.video.sampling import TOLERANCE_S, Sampling, plan_frames
from videox2l.video.subtitle_streams import SubtitleStream


@dataclass(frozen=True)
class Reading:
    """How far a video was read, and what went wrong until then; reading goes on from it as if never interrupted.

    position: planned frames passed; it equals the number of frames received unless some did not decode.
    missing: planned frames that did not decode. resized: frames that came in another size than the first.
    """

    position: int = 0
    missing: tuple[int, ...] = ()
    resized: tuple[int, ...] = ()


class Video(ABC):
    """A video opened for reading: what is known of it, and its sampled frames as a stream of chunks.

    name: for display.
    source_fps: the source's average frame rate.
    duration_s: from the first frame's start to the last frame's end.
    planned_frames: how many sampled frames will come; a damaged file may give fewer.
    """

    def __init__(
        self, name: str, times_s: np.ndarray, duration_s: float, source_fps: float, sampling: Sampling
    ) -> None:
        self.name = name
        self.source_fps = source_fps
        self.duration_s = duration_s
        self._position = 0
        self._end_s = min(duration_s, sampling.end_s or duration_s)
        self._times_s = times_s
        try:
            plan = plan_frames(sampling, times_s, duration_s)
        except VideoError as error:
            raise VideoError(f"{name}: {error}") from None
        self._picks = plan.picks
        self._known_notes = list(plan.notes)
        self._missing: set[int] = set()  # planned frames that did not decode, as far as read
        self._resized: set[int] = set()  # frames that came in another size than the first

    @property
    def planned_frames(self) -> int:
        """How many sampled frames will come; a damaged file may give fewer."""
        return len(self._picks)

    def spec(self, chunk_frames: Sequence[int]) -> VideoSpec:
        """What identifies the video's sampled frames, cut into chunks of so many; reads all of the content."""
        sizes = tuple(chunk_frames)
        while len(sizes) > 1 and sizes[-1] == sizes[-2]:
            sizes = sizes[:-1]
        times_s = tuple(round(time_s, 6) for time_s in self._times_s[self._picks].tolist())
        return VideoSpec(self.fingerprint(), times_s, round(self.end_s, 6), sizes)

    @property
    def outline(self) -> VideoOutline:
        """What is known before the first frame."""
        return VideoOutline(self.planned_frames, self.duration_s, self.start_s)

    @property
    def reading(self) -> Reading:
        """How far the video was read with the last chunk that came."""
        return Reading(self._position, tuple(sorted(self._missing)), tuple(sorted(self._resized)))

    @property
    def plan_notes(self) -> tuple[str, ...]:
        """What the user should know of the video and its sampling before a frame is read."""
        return tuple(self._known_notes)

    @property
    def damage_notes(self) -> tuple[str, ...]:
        """Damage, as far as the video was read."""
        return tuple(self._damage())

    @property
    def notes(self) -> tuple[str, ...]:
        """All that the user should know."""
        return (*self.plan_notes, *self.damage_notes)

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest of the content; independent of path and sampling."""

    @abstractmethod
    def _read(self, picks: np.ndarray) -> Iterator[tuple[int, Tensor]]:
        """Yield (frame index, uint8 pixels (H, W, 3)) for the ascending picks that decode."""

    @property
    def path(self) -> Path | None:
        """Where the video lies, if it is a file or folder."""
        return None

    def subtitle_streams(self) -> tuple[SubtitleStream, ...]:
        """The subtitles that the video carries in itself, all of them read."""
        return ()

    @property
    def start_s(self) -> float:
        """Time of the first sampled frame, in seconds."""
        return float(self._times_s[self._picks[0]]) if len(self._picks) else 0.0

    @property
    def end_s(self) -> float:
        """Where the sampled range ends, in seconds."""
        return self._end_s

    def chunks(self, size: int | Sequence[int], after: Reading | None = None) -> Iterator[Frames]:
        """Read the sampled frames, about one chunk in memory at a time.

        size: frames in a chunk, or the sizes of the first chunks, the last one repeated; a video's last chunk may
            have fewer.
        after: go on after what was read before; by default from the start.

        Raises SettingsError if size is out of its domain; VideoError, while reading, if no frame
        decodes.
        """
        sizes = (size,) if isinstance(size, int) else tuple(size)
        if not sizes or min(sizes) < 1:
            raise SettingsError(f"size={size} is not a chunk size: give a number of frames from 1 up")
        return self._chunks(chain(sizes, repeat(sizes[-1])), after or Reading())

    def frames_between(self, start_s: float, end_s: float) -> Iterator[tuple[float, Tensor]]:
        """Every frame on screen at any time of a range, sampled or not: its time in seconds, and uint8 (H, W, 3).

        The range is half open; the first frame is the one that is on screen at its start.
        """
        frames = self.frame_range(start_s, end_s)
        for frame, pixels in self._read(np.arange(frames.start, frames.stop)):
            yield float(self._times_s[frame]), pixels

    def frame_range(self, start_s: float, end_s: float) -> range:
        """The frames that are on screen at any time of a half-open range, at least one."""
        first = max(int(np.searchsorted(self._times_s, start_s + TOLERANCE_S, side="right")) - 1, 0)
        stop = int(np.searchsorted(self._times_s, end_s - TOLERANCE_S, side="left"))
        return range(first, max(stop, first + 1))

    def _chunks(self, sizes: Iterator[int], after: Reading) -> Iterator[Frames]:
        skip = after.position
        self._missing, self._resized = set(after.missing), set(after.resized)
        planned = enumerate(self._picks.tolist()[skip:], start=skip)
        size = next(sizes)
        chunk: Tensor | None = None
        times_s: list[float] = []
        self._position = skip
        for frame, pixels in self._read(self._picks[skip:]):
            for place, pick in planned:
                if pick == frame:
                    break
                self._missing.add(place)
            if chunk is None:
                rows = min(size, self.planned_frames - place)
                chunk = torch.empty((rows, 3, *pixels.shape[:2]), dtype=torch.uint8)
            chunk[len(times_s)] = pixels.permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
            times_s.append(float(self._times_s[frame]))
            self._missing.discard(place)
            if len(times_s) == size:
                ready = Frames(chunk, torch.tensor(times_s, dtype=torch.float64))
                chunk, times_s = None, []
                self._position = place + 1
                size = next(sizes)
                yield ready
                del ready
        self._missing.update(place for place, _ in planned)
        if self.planned_frames and len(self._missing) == self.planned_frames:
            raise VideoError(
                f"{self.name}: none of its {self.planned_frames} sampled frames decodes, "
                "the file is damaged: re-encode it or get it again"
            )
        if chunk is not None:
            self._position = self.planned_frames
            yield Frames(chunk[: len(times_s)], torch.tensor(times_s, dtype=torch.float64))

    def _damage(self) -> list[str]:
        notes = []
        if self._resized:
            notes.append(f"{len(self._resized)} frames have another size than the first: resized to its size")
        tail = self.planned_frames  # the frames from here on are missing to the last
        while tail - 1 in self._missing:
            tail -= 1
        inside = sorted(place for place in self._missing if place < tail)
        if inside:
            first_s = self._times_s[self._picks[inside[0]]]
            notes.append(
                f"{len(inside)} of {self.planned_frames} sampled frames did not decode, the first at "
                f"{first_s:.1f} s: left out"
            )
        if tail < self.planned_frames:
            until_s = self._times_s[self._picks[tail]]
            notes.append(
                f"file is damaged or truncated: decoded up to {until_s:.1f} s of {self.duration_s:.1f} s, "
                f"{tail - len(inside)} of {self.planned_frames} sampled frames"
            )
        return notes
