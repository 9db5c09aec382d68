"""The times that a question names, before whatever else scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.oracles.question_times import QuestionTime, question_times
from videox2l.times import clock
from videox2l.types import Chunk, Moment, Scores

VAGUE_WEIGHT, SHARPNESS = 0.9, 4
"""A vague time adds this weight to the other scores, scaled to 0 to 1 and raised to this power: a chunk that stands out
alone keeps its place wherever it lies, and one of many alike does not. On nano at 100 s and 20 minutes, 120 questions
each with "around" and their needle's second: recall@3 of attention .97 and .97 (.52 and .27 without the time), and of
contrastive 1.00, even where the second was drawn at random."""

SOFT_S = 20.0
"""Standard deviation, in seconds, of the Gaussian by which a chunk's weight falls with its distance from a time."""


@dataclass(frozen=True)
class TimeOracle(Oracle):
    """Chunks at the times that a question names come first: a clear time decides, a vague one weights.

    "At 1:23" is clear: chunks that overlap it are more relevant than all others. "Around 1:23" is vague: it adds to
    the scores, less and less with the distance. Without a time the scores are those of the other oracle. A time that
    the video does not have is left out of account, and a note says so.

    oracle: what else scores. None, the default, is nothing: chunks are ranked by their distance from the time, and
        are alike where there is none.
    """

    oracle: Oracle | None = None

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Scores:
        """The other oracle once; no model is run for the times."""
        return self.relevances(model, index, [question])[0]

    def relevances(self, model: MLLM, index: VideoIndex, questions: Sequence[str]) -> list[Scores]:
        """The other oracle once for all questions."""
        if self.oracle is None:
            given = [Scores(torch.zeros(len(index.entries)))] * len(questions)
        else:
            given = self.oracle.score_all(model, index, questions)
        return [with_times(scores, index, question) for scores, question in zip(given, questions, strict=True)]

    def notes(self, index: VideoIndex, question: str) -> tuple[str, ...]:
        """The other oracle's own notes, and what was done about times that the video does not have."""
        times = asked_times(index, question)
        notes = () if self.oracle is None else self.oracle.notes(index, question)
        if self.oracle is None and not times:
            notes = ("the time oracle found no time in the question, so all chunks count the same",)
        return (*notes, *(why for time in times if (why := why_unusable(time, index))))

    @property
    def levels(self) -> tuple[int, ...]:
        """The other oracle's own levels."""
        return () if self.oracle is None else self.oracle.levels

    @property
    def takes_times(self) -> bool:
        """It reads them itself."""
        return False

    @property
    def takes_subtitles(self) -> bool:
        """Whether the other oracle does; the times alone are not mixed with anything."""
        return self.oracle is not None and self.oracle.takes_subtitles


def with_times(given: Scores, index: VideoIndex, question: str) -> Scores:
    """Scores with those chunks first at which the question names a clear time, or nearer to a vague one."""
    times = [time for time in asked_times(index, question) if why_unusable(time, index) is None]
    if not times:
        return given
    decides = any(time.is_clear for time in times)
    times = [time for time in times if time.is_clear is decides]
    overlap = torch.tensor([max(share_of(chunk, time) for time in times) for chunk in index.chunks])
    closeness = torch.tensor([max(weight(chunk, time) for time in times) for chunk in index.chunks])
    low, high = given.chunks.min(), given.chunks.max()
    scores = (given.chunks - low) / (high - low) if high > low else (overlap + closeness) / 2
    if not decides:
        return replace(given, chunks=scores**SHARPNESS + VAGUE_WEIGHT * closeness)
    first_s, last_s = bounds(index)
    named = tuple(Moment(max(time.start_s, first_s), min(time.end_s, last_s)) for time in times)
    return replace(given, chunks=scores + 2 * (overlap > 0), named=named)


def asked_times(index: VideoIndex, question: str) -> tuple[QuestionTime, ...]:
    """The times that a question about a video names."""
    return question_times(question, *bounds(index))


def bounds(index: VideoIndex) -> tuple[float, float]:
    """Where what was looked at of a video starts and ends, in seconds."""
    return index.chunks[0].start_s, index.spec.video.end_s


def why_unusable(time: QuestionTime, index: VideoIndex) -> str | None:
    """Why a time is left out of account; None if it is not."""
    first_s, last_s = bounds(index)
    if time.start_s >= last_s:
        why = f"the question names {clock(time.start_s)} and the video ends at {clock(last_s)}"
    elif time.end_s <= first_s:
        why = f"the question names a time before {clock(first_s)}, where the video starts"
    elif time.end_s <= time.start_s:
        why = (
            f"the question names a time from {clock(time.start_s)} to {clock(time.end_s)}, which ends before it starts"
        )
    else:
        return None
    return f"{why}: it was left out of account"


def share_of(chunk: Chunk, time: QuestionTime) -> float:
    """How much of the shorter of the two overlaps."""
    overlap_s = min(chunk.end_s, time.end_s) - max(chunk.start_s, time.start_s)
    shorter_s = min(chunk.end_s - chunk.start_s, time.end_s - time.start_s)
    return max(0.0, overlap_s) / shorter_s if shorter_s > 0 else 0.0


def weight(chunk: Chunk, time: QuestionTime) -> float:
    """1 at a time, falling with the distance of the chunk's middle from it."""
    middle_s = (chunk.start_s + chunk.end_s) / 2
    gap_s = max(0.0, time.start_s - middle_s, middle_s - time.end_s)
    return math.exp(-((gap_s / SOFT_S) ** 2) / 2)
