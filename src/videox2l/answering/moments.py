"""Moments: the stretches of a video that an answer came from, or that a search found, by the scores of its frames.

A frame stands out if its score lies so far above the video's median that chance alone would hardly lift the best of as
many frames there; the spread is the median absolute deviation, which a few relevant frames do not change. A question
about the whole video has no frame that stands out, and then no moment is named.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from videox2l.types import ChunkReport, FrameScores, Moment

UNLIKELY = 0.9
"""A moment's best frame stands out further than the best of as many frames would by chance, nine times of ten."""

SHARE = 0.7
"""A frame belongs to a moment, and a moment to an answer, if it stands out at least this share as far as the best one:
on needle videos of 100 s and 10 minutes this names the needle's moment and no other for one that is asked after (352
questions on nano)."""

LEAST_MATCH = 0.05
"""No moment is less likely than this to show what was asked for, where the encoder was calibrated to say so."""

TO_DEVIATION = 1.4826
"""Standard deviations in a median absolute deviation, of normal scores."""


@dataclass(frozen=True)
class ScoredFrames:
    """A video's frames with what is told from all of their scores.

    frames: n frames and their scores. end_s: where the video's sampled range ends, in seconds.
    """

    frames: FrameScores
    end_s: float

    @cached_property
    def times_s(self) -> list[float]:
        """When each frame is shown, and the end."""
        return [*self.frames.time_s.tolist(), self.end_s]

    @cached_property
    def heights(self) -> list[float]:
        """How far each frame lies above the median, in the scores' own unit."""
        scores = self.frames.scores.double()
        return (scores - scores.median()).tolist()

    @cached_property
    def deviation(self) -> float:
        """The scores' standard deviation, but for a few that stand out."""
        return TO_DEVIATION * sorted(map(abs, self.heights))[len(self.heights) // 2]

    def unlikelihood(self, frame: int) -> float:
        """The probability that chance leaves the best of as many frames below this one."""
        height = self.heights[frame]
        if height <= 0 or self.deviation == 0:
            return float(height > 0)
        below = 0.5 * (1 + math.erf(height / self.deviation / math.sqrt(2)))
        return below ** len(self.heights)

    def moment(self, best: int) -> Moment:
        """The stretch around a frame."""
        least, match = SHARE * self.heights[best], self.frames.match
        first = last = best
        while first > 0 and self.heights[first - 1] >= least:
            first -= 1
        while last + 1 < len(self.heights) and self.heights[last + 1] >= least:
            last += 1
        return Moment(
            start_s=self.times_s[first],
            end_s=self.times_s[last + 1],
            peak_s=self.times_s[best],
            score=float(self.frames.scores[best]),
            confidence=self.unlikelihood(best) if match is None else float(match[best]),
        )

    def moments(self, frames: Iterable[int]) -> Iterator[Moment]:
        """Those of these frames that stand out, the best first, each with its stretch; stretches do not overlap.

        Where the encoder was calibrated they are also likely to show what was asked for.
        """
        named: list[Moment] = []
        for frame in sorted(frames, key=lambda frame: -self.heights[frame]):
            if self.unlikelihood(frame) < UNLIKELY:
                return
            if self.frames.match is not None and self.frames.match[frame] < LEAST_MATCH:
                continue
            moment = self.moment(frame)
            if all(moment.end_s <= other.start_s or other.end_s <= moment.start_s for other in named):
                named.append(moment)
                yield moment

    def found(self, k: int) -> tuple[Moment, ...]:
        """The k best moments of the video, fewer if fewer stand out."""
        return tuple(islice(self.moments(range(len(self.heights))), k))

    def of_chunks(self, chunks: Sequence[ChunkReport]) -> tuple[Moment, ...]:
        """The moments in these chunks that stand out nearly as far as the best of them, the best first."""
        starts = [bisect_left(self.times_s, chunk.start_s) for chunk in chunks]
        ends = [bisect_left(self.times_s, chunk.end_s) for chunk in chunks]
        inside = [range(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
        peaks = [max(frames, key=self.heights.__getitem__) for frames in inside]
        least = SHARE * max((self.heights[peak] for peak in peaks), default=0.0)
        return tuple(self.moments(peak for peak in peaks if self.heights[peak] >= least))


def answer_moments(chosen: Sequence[ChunkReport], frames: FrameScores | None, end_s: float) -> tuple[Moment, ...]:
    """The moments that an answer came from, the best first.

    chosen: the chunks that the selector chose to read in full detail; without scores of frames they are the moments.
    frames: the scores of all of the video's frames. end_s: where its sampled range ends, in seconds.
    """
    if frames is None:
        return tuple(Moment(chunk.start_s, chunk.end_s, score=chunk.score) for chunk in chosen)
    return ScoredFrames(frames, end_s).of_chunks(chosen)
