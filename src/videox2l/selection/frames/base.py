"""What a frame selector is: the frames' scores and a number of frames in, the frames that are read out."""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.levels import FRESH, NOTHING, Level, level_list, plain_level
from videox2l.selection.base import Selector
from videox2l.types import FrameScores, Scores, Selection


@dataclass(frozen=True)
class Frame:
    """A frame of the video that can be read by itself, or the frames that are encoded together.

    chunk: the number of its chunk. place: its own place in the chunk. time_s: when it is shown, in seconds.
    tokens: those it takes in a cache, the text that belongs to it included.
    """

    chunk: int
    place: int
    time_s: float
    tokens: int


@dataclass(frozen=True)
class FrameSelector(Selector):
    """Reads as many frames as fit into a number of tokens, in temporal order, and nothing of the rest of the video.

    A frame selector is a frozen dataclass with one method, `pick`. Where an oracle scores chunks alone, a frame has its
    chunk's score; of frames that are encoded together the best one counts.

    cache_tokens: tokens of the prompt and the video in the cache, at most; it has no default. The question and the
        answer come on top.
    level: FRESH prefills the frames anew; 1 re-loads their KVs, which were computed among all frames. None, the
        default, is the finest level of the index.
    Raises: SettingsError for less than one token, or another level.
    """

    cache_tokens: int
    level: Level | None = None
    fine_edges: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.cache_tokens < 1:
            raise SettingsError(f"cache_tokens={self.cache_tokens} leaves no room: pass 1 or more")
        if self.level not in (None, FRESH, 1):
            raise SettingsError(f"level {plain_level(self.level)} has no KVs of single frames: pass fresh or 1")

    def most_tokens(self, index: VideoIndex) -> int | None:
        """The budget."""
        return self.cache_tokens

    @abstractmethod
    def pick(self, scores: Tensor, count: int) -> Collection[int]:
        """Which frames to read, `count` of them at most.

        scores: float64 (frames,), finite, in temporal order; zeros where nothing was scored. count: from 1 to as many
        as there are.
        """

    def check(self, levels: tuple[Level, ...], read_by_oracle: Collection[int] = ()) -> None:
        """Raises: SettingsError if no level of these holds single frames, or not the one that is wanted."""
        wanted = levels[0] if self.level is None else self.level
        if wanted not in levels or wanted not in (FRESH, 1):
            raise SettingsError(
                f"single frames can't be read from levels {level_list(levels)}: index the video at level "
                f"{'fresh or 1' if self.level is None else plain_level(self.level)}"
            )

    def select(self, scores: Tensor | None, index: VideoIndex) -> Selection:
        """The frames, by the scores of their chunks."""
        return self.choose(None if scores is None else Scores(scores), index)

    def choose(self, scores: Scores | None, index: VideoIndex) -> Selection:
        """The frames; their chunks are the moments.

        Raises: SettingsError if the budget has no room for a frame, or the index no level that holds single ones.
        """
        self.check(index.levels)
        frames = frames_of(index)
        relevance = torch.zeros(len(frames), dtype=torch.float64)
        if scores is not None:
            relevance = scores_of(frames, scores)
        picked = self._fitting(relevance, frames, self.cache_tokens - len(index.prompt))
        chosen: dict[int, list[int]] = {}
        best: dict[int, float] = {}
        for number in sorted(picked):
            frame, score = frames[number], float(relevance[number])
            chosen.setdefault(frame.chunk, []).append(frame.place)
            best[frame.chunk] = max(score, best.get(frame.chunk, score))
        level = index.levels[0] if self.level is None else self.level
        return Selection(
            levels=tuple(level if chunk in chosen else NOTHING for chunk in range(len(index.entries))),
            scores=None if scores is None else tuple(scores.chunks.tolist()),
            moments=tuple(sorted(chosen, key=lambda chunk: -best[chunk])),
            chosen_frames={
                chunk: tuple(places)
                for chunk, places in chosen.items()
                if len(places) < len(index.entries[chunk].frames)
            },
        )

    def _fitting(self, relevance: Tensor, frames: list[Frame], budget: int) -> Collection[int]:
        """What is picked if as many frames are wanted as fit; frames differ by the length of their text."""
        least = min(frame.tokens for frame in frames)
        for count in range(min(len(frames), budget // least), 0, -1):
            picked = self.pick(relevance, count)
            if sum(frames[number].tokens for number in picked) <= budget:
                return picked
        raise SettingsError(
            f"cache_tokens={self.cache_tokens} has no room for a frame of {least} tokens behind the prompt: pass more"
        )


def frames_of(index: VideoIndex) -> list[Frame]:
    """All frames of a video that can be read by themselves, in temporal order."""
    return [
        Frame(entry.chunk.index, place, frame.time_s, frame.tokens)
        for entry in index.entries
        for place, frame in enumerate(entry.frames)
    ]


def scores_of(frames: list[Frame], scores: Scores) -> Tensor:
    """A score for each of the frames, float64 (frames,); those at times that the question names come first."""
    times_s = [frame.time_s for frame in frames]
    if scores.frames is None:
        relevance = scores.chunks.double()[[frame.chunk for frame in frames]]
    else:
        relevance = best_within(times_s, scores.frames)
    ends_s = [*times_s[1:], math.inf]
    is_named = [
        any(start_s < moment.end_s and moment.start_s < end_s for moment in scores.named)
        for start_s, end_s in zip(times_s, ends_s, strict=True)
    ]
    return relevance + torch.tensor(is_named) * (relevance.max() - relevance.min() + 1)


def best_within(times_s: list[float], scored: FrameScores) -> Tensor:
    """The best score from each of the times on to the next one, (times,); the lowest of all where nothing is scored."""
    best = torch.full((len(times_s),), float(scored.scores.min()), dtype=torch.float64)
    place = torch.tensor([max(bisect_right(times_s, time_s) - 1, 0) for time_s in scored.time_s.tolist()])
    return best.scatter_reduce(0, place, scored.scores.double(), "amax")


def min_max(scores: Tensor) -> Tensor:
    """Scores scaled to 0 to 1; zeros where they are all the same."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else torch.zeros_like(scores)


def filled_up(picked: Collection[int], scores: Tensor, count: int) -> set[int]:
    """The frames picked, and the best of the others if these are fewer than `count`."""
    chosen = set(picked)
    rest = [frame for frame in scores.sort(descending=True, stable=True).indices.tolist() if frame not in chosen]
    return chosen | set(rest[: max(0, count - len(chosen))])
