"""The words of the question among the video's subtitles, before whatever else scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch
from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.models.base import MLLM
from videox2l.oracles.base import Oracle
from videox2l.oracles.cue_search import CueSearch, guess_language
from videox2l.tracks.languages import script
from videox2l.tracks.subtitles import SubtitleTrack, choose_subtitles
from videox2l.types import Chunk, Cue, Moment, Scores

WEIGHT, SHARPNESS = 5, 4
"""The share of the question that a chunk's subtitles hold, squared, adds so many times as much as the best of the
other scores: half of the question somewhat more than it. The others are scaled to 0 to 1 and raised to a power: a chunk
that stands out keeps its place against a word or two, and one of many alike does not. Chosen on English prose."""

NAMED_SHARE = 0.6
"""A cue that holds as much of a question is the moment it names."""
MOST_NAMED = 3
"""Words that are said in more places name none of them."""


@dataclass(frozen=True)
class SubtitleOracle(Oracle):
    """Chunks whose subtitles hold the question's words come first: a quotation decides, a word or two weights.

    Cues are scored by BM25 (Robertson and Zaragoza, 2009); a chunk counts as its best cue. Where a video has several
    subtitles, the first in the question's script are read, else the first of all. If no cue holds any of the
    words, or there are no subtitles, the scores are those of the other oracle.

    oracle: what else scores. None, the default, is nothing: chunks are ranked by their subtitles, and are alike where
        these hold none of the words.
    """

    oracle: Oracle | None = None

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Scores:
        """The other oracle once; no model is run for the subtitles."""
        return self.relevances(model, index, [question])[0]

    def relevances(self, model: MLLM, index: VideoIndex, questions: Sequence[str]) -> list[Scores]:
        """The other oracle once for all questions."""
        if self.oracle is None:
            given = [Scores(torch.zeros(len(index.entries)))] * len(questions)
        else:
            given = self.oracle.score_all(model, index, questions)
        return [with_subtitles(scores, index, question) for scores, question in zip(given, questions, strict=True)]

    def notes(self, index: VideoIndex, question: str) -> tuple[str, ...]:
        """The other oracle's own notes, which subtitles were read, and where they were of no use."""
        others = () if self.oracle is None else self.oracle.notes(index, question)
        track, notes = choose_subtitles(index.subtitles, question)
        if track is None:
            missing = () if self.oracle or notes else ("the video has no subtitles, so all chunks count the same",)
            return (*others, *notes, *missing)
        if not cue_shares(track, question).any():
            if speaks_otherwise(track, question):
                why = f"{track.name} holds no word of the question and seems to be in another language: it was not used"
                notes = (*notes, why)
            elif self.oracle is None:
                notes = (*notes, f"{track.name} holds no word of the question, so all chunks count the same")
        return (*others, *notes)

    @property
    def levels(self) -> tuple[int, ...]:
        """The other oracle's own levels."""
        return () if self.oracle is None else self.oracle.levels

    @property
    def takes_times(self) -> bool:
        """Whether the other oracle does."""
        return self.oracle is None or self.oracle.takes_times

    @property
    def takes_subtitles(self) -> bool:
        """It reads them itself."""
        return False


def with_subtitles(given: Scores, index: VideoIndex, question: str) -> Scores:
    """Scores with those chunks first in which the question's words are said."""
    track, _ = choose_subtitles(index.subtitles, question)
    if track is None:
        return given
    cues = cue_shares(track, question)
    shares = chunk_shares(track.cues, cues, index.chunks)
    if not shares.any():
        return given
    low, high = given.chunks.min(), given.chunks.max()
    others = (given.chunks - low) / (high - low) if high > low else torch.zeros_like(given.chunks)
    first_s, last_s = index.chunks[0].start_s, index.chunks[-1].end_s
    moments = [moment for moment in cue_moments(track.cues, cues) if moment.start_s < last_s and moment.end_s > first_s]
    named = tuple(moment for moment in moments if moment.confidence == moments[0].confidence)
    fused = others**SHARPNESS + WEIGHT * shares**2
    return Scores(fused, given.frames, named if len(named) <= MOST_NAMED else given.named, track.name)


@lru_cache(maxsize=8)
def prepared(track: SubtitleTrack) -> CueSearch:
    """A track ready for questions."""
    return CueSearch(track.cues, track.language)


def cue_shares(track: SubtitleTrack, text: str) -> Tensor:
    """How much of a text the words of each cue are, from 0 to 1, (cues,); see `CueSearch.shares`."""
    return prepared(track).shares(text)


def chunk_shares(cues: Sequence[Cue], shares: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """The share of each chunk's best cue, (chunks,); a cue that reaches into several counts for all of them."""
    starts_s = torch.tensor([chunk.start_s for chunk in chunks], dtype=torch.float64)
    said = [
        (cue, share)
        for cue, share in zip(cues, shares.tolist(), strict=True)
        if share and cue.end_s > chunks[0].start_s and cue.start_s < chunks[-1].end_s
    ]
    scores = torch.zeros(len(chunks))
    if said:
        times_s = torch.tensor([(cue.start_s, cue.end_s) for cue, _ in said], dtype=torch.float64)
        first = (torch.bucketize(times_s[:, 0].contiguous(), starts_s, right=True) - 1).clamp(min=0)
        last = torch.bucketize(times_s[:, 1].contiguous(), starts_s) - 1  # a cue ends before its end
        values = torch.tensor([share for _, share in said])
        for step in range(int((last - first).max()) + 1):
            scores = scores.scatter_reduce(0, (first + step).minimum(last), values, "amax")
    return scores


def cue_moments(cues: Sequence[Cue], shares: Tensor) -> list[Moment]:
    """The moments whose cues hold most of a text, the best first; cues in a row that hold as much are one moment."""
    rounded = [0.0, *(round(share, 2) for share in shares.tolist()), 0.0]
    moments = []
    for share, places in groupby(range(1, len(cues) + 1), key=rounded.__getitem__):
        first, *_, last = [*places] * 2
        if share >= NAMED_SHARE and share > max(rounded[first - 1], rounded[last + 1]):
            said = cues[first - 1 : last]
            text = " ".join(cue.text for cue in said)
            moments.append(Moment(said[0].start_s, max(cue.end_s for cue in said), confidence=share, subtitle=text))
    return sorted(moments, key=lambda moment: -(moment.confidence or 0))


def speaks_otherwise(track: SubtitleTrack, question: str) -> bool:
    """Whether a question seems to be in another language than the subtitles."""
    asked, spoken = guess_language(question), prepared(track).language
    return script(question) != track.script or (None not in (asked, spoken) and asked != spoken)
