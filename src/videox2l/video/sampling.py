"""Which frames of a video are looked at, chosen by presentation time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

from videox2l.checks import check_number
from videox2l.errors import SettingsError, VideoError

TOLERANCE_S = 1e-3
"""Times closer than this are the same: Matroska and FLV round a frame's time to 1 ms, so 2/30 s becomes 0.067 s."""


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are looked at; by default one a second.

    frames: so many frames, uniformly over the range, as the published implementation picks them:
        `linspace(0, total - 1, frames)` truncated to integers.
    fps: or so many a second: the frames shown at `start_s + i / fps`, each used once.
    max_frames: never more than this; a rate that would give more becomes `max_frames` uniform frames.
    start_s, end_s: the range in seconds from the start of the video, half open; by default all of it.
        A frame is in the range if it is shown at any time of it.

    Raises SettingsError if a value is out of its domain or two contradict each other.
    """

    frames: int | None = None
    fps: float | None = None
    max_frames: int | None = None
    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and self.fps is not None:
            raise SettingsError(f"frames={self.frames} and fps={self.fps} both say how many frames: give one of them")
        for name, count in (("frames", self.frames), ("max_frames", self.max_frames)):
            if count is not None:
                check_number(count, 1, name, "frames")
        if self.fps is not None and not (is_finite(self.fps) and self.fps > 0):
            raise SettingsError(f"fps={self.fps!r} is not a sampling rate: give a number above 0")
        for name, time_s in (("start_s", self.start_s), ("end_s", self.end_s)):
            if time_s is not None and not (is_finite(time_s) and time_s >= 0):
                raise SettingsError(
                    f"{name}={time_s!r} is not a time in the video: give seconds from its start, 0 or more"
                )
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise SettingsError(
                f"end_s={self.end_s} is not after start_s={self.start_s or 0}: give a range with a length"
            )


def is_finite(value: object) -> bool:
    """Whether this is a finite number."""
    return isinstance(value, Real) and math.isfinite(value)


@dataclass(frozen=True)
class Plan:
    """The frames a sampling picks: ascending frame indices, and what the user should know."""

    picks: np.ndarray
    notes: tuple[str, ...] = ()


def plan_frames(sampling: Sampling, times_s: np.ndarray, duration_s: float) -> Plan:
    """Pick the frames of a video.

    times_s: presentation times of all its frames, shape (total,), ascending, the first at 0.
    duration_s: when the last frame's time on screen ends.

    Raises VideoError if the range lies outside the video.
    """
    start_s, end_s = sampling.start_s or 0.0, duration_s
    notes = []
    if start_s >= duration_s:
        raise VideoError(f"start_s={start_s:g} is past the video's end at {duration_s:.6g} s: choose an earlier start")
    if sampling.end_s is not None:
        if sampling.end_s > duration_s + 0.05:
            notes.append(f"asked up to {sampling.end_s:g} s, the video ends at {duration_s:.6g} s")
        end_s = min(sampling.end_s, duration_s)

    first = max(int(np.searchsorted(times_s, start_s + TOLERANCE_S, side="right")) - 1, 0)
    stop = max(int(np.searchsorted(times_s, end_s - TOLERANCE_S, side="left")), first + 1)
    total = stop - first

    if sampling.frames is not None:
        asked = min(sampling.frames, sampling.max_frames or sampling.frames)
        if asked > total:
            notes.append(f"asked for {asked} frames, the video has {total}{_in_range(sampling)}: using all")
        return Plan(first + _uniform(total, min(asked, total)), tuple(notes))

    rate = sampling.fps or 1.0
    # sampling instants start_s + i / rate that pass before each frame is shown, and before the end
    borders_s = np.append(times_s[first:stop], end_s)
    passed = np.ceil((borders_s - start_s - TOLERANCE_S) * rate)
    passed[0] = 0
    picks = first + np.flatnonzero(np.diff(passed) > 0)
    if sampling.max_frames is not None and len(picks) > sampling.max_frames:
        notes.append(f"{rate:g} frames a second would be {len(picks)} frames: using {sampling.max_frames}, uniformly")
        return Plan(first + _uniform(total, sampling.max_frames), tuple(notes))
    if len(picks) < passed[-1]:
        notes.append(
            f"{rate:g} frames a second would be {passed[-1]:.0f} frames, the video has "
            f"{len(picks)} different ones{_in_range(sampling)}: using each once"
        )
    return Plan(picks, tuple(notes))


def _uniform(total: int, frames: int) -> np.ndarray:
    return np.linspace(0, total - 1, frames).astype(int)


def _in_range(sampling: Sampling) -> str:
    return "" if sampling.start_s is None and sampling.end_s is None else " in the range"
