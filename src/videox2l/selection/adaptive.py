"""As many chunks in detail as the scores say, within a budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from videox2l.checks import check_number
from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.levels import NOTHING, Level, level_name
from videox2l.selection.base import Selector, best_first
from videox2l.types import Selection

HALF_HEIGHT = 0.5
"""A chunk is chosen if its score exceeds the mean by at least this share of what the best one's does. From 0.4 to 0.6
little changes: on nano and a Qwen3-VL class model of its size, with contrastive scores, all chunks of a needle are
chosen and of the two that an order or a comparison needs at least nine in ten."""

OWN_BUDGET = 10
"""Chunks that are read in detail at most, or as many tokens spread over the video, where no budget is given."""


@dataclass(frozen=True)
class Adaptive(Selector):
    """The chunks that stand out at the finest level, however many they are; where none does, the whole video alike.

    Chunks of at least half the best one's height above the mean score are chosen, and read at the finest level, the
    best first, as far as the budget goes: one chunk for a question that hangs on one moment, several for one that
    compares moments or counts. Heights do not depend on the scale an oracle scores in. Where more than half of the
    chunks would be chosen, the scores are flat and none is: all are read one level finer, spread evenly over the video,
    then the next level, as far as the budget goes. The order does not depend on the budget, so a bigger one never reads
    a chunk less finely.

    cache_tokens: tokens of the prompt and the video in the cache, at most. The question and the answer come on top.
        None, the default, is what the coarsest level takes, and ten chunks at the finest one.
    cache_bytes: the same as bytes of keys and values; None by default. If both are given, both are kept.
    fine_edges: whether the video's first and last chunk are read at the finest level before all others. Here False by
        default: they are read in detail if they are chosen.
    leaves_out: whether NOTHING is below the coarsest level, so that chunks which are not chosen, or for which there is
        no room, are left out. False by default.
    Raises: SettingsError for a budget that is not a number from 1 on.
    """

    uses_middle_levels: ClassVar[bool] = True

    cache_tokens: int | None = None
    cache_bytes: int | None = None
    fine_edges: bool = field(default=False, kw_only=True)
    leaves_out: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.cache_tokens is not None:
            check_number(self.cache_tokens, 1, "cache_tokens", "tokens")
        if self.cache_bytes is not None:
            check_number(self.cache_bytes, 1, "cache_bytes", "bytes")

    def select(self, scores: Tensor | None, index: VideoIndex) -> Selection:
        """The longest run of upgrades within the budget.

        Raises: SettingsError if the coarsest level everywhere needs more.
        """
        assert scores is not None
        coarsest = self._levels(index)[-1]
        levels = [coarsest] * len(index.entries)
        used = index.tokens(tuple(levels))
        given, own = self.most_tokens(index), used + own_budget(index, coarsest)
        if given is not None:
            self._check_room(given, index)
        chosen, notes = standing_out(scores), []
        for chunk, level in self._upgrades(chosen, index):
            entry = index.entries[chunk]
            used += entry.tokens_at(level) - entry.tokens_at(levels[chunk])
            if used > (own if given is None else given):
                if given is not None and chosen:
                    notes = [f"{given} tokens have no room for all chunks that stand out in full detail"]
                break
            levels[chunk] = level
        moments = tuple(chunk for chunk in chosen if levels[chunk] != coarsest)
        return Selection(tuple(levels), tuple(scores.tolist()), moments, tuple(notes))

    def most_tokens(self, index: VideoIndex) -> int | None:
        """What the user allows, in tokens."""
        given = [self.cache_tokens, None if self.cache_bytes is None else self.cache_bytes // index.token_bytes]
        return min((tokens for tokens in given if tokens is not None), default=None)

    def _check_room(self, budget: int, index: VideoIndex) -> None:
        """Raises: SettingsError for a budget that nothing can keep to."""
        coarsest = self._levels(index)[-1]
        least = index.tokens((coarsest,) * len(index.entries))
        if budget >= least:
            return
        given = f"cache_tokens={self.cache_tokens}"
        if self.cache_tokens != budget:
            given = f"cache_bytes={self.cache_bytes}, room for {budget} tokens,"
        needs = (
            f"needs {least} tokens, {least * index.token_bytes} bytes, at its coarsest level, {level_name(coarsest)}"
        )
        if budget < len(index.prompt):
            needs = f"{needs}, {len(index.prompt)} of them for the prompt before it"
        raise SettingsError(f"{given} is too small for this video, which {needs}: pass that or more")

    def _levels(self, index: VideoIndex) -> tuple[Level, ...]:
        """All that a chunk may be read at, finest first."""
        return (*index.levels, NOTHING) if self.leaves_out else index.levels

    def _upgrades(self, chosen: list[int], index: VideoIndex) -> Iterator[tuple[int, Level]]:
        """Every (chunk, next finer level) that is worth reading, the most urgent first."""
        finer = self._levels(index)[-2::-1]
        edges = sorted(self.edges(index))
        for chunk in [*edges, *(chunk for chunk in chosen if chunk not in edges)]:
            for level in finer:
                yield chunk, level
        if not chosen:
            for level in finer:
                for chunk in spread(len(index.entries)):
                    if chunk not in edges:
                        yield chunk, level


def standing_out(scores: Tensor) -> list[int]:
    """The chunks that stand out, the best first; none where more than half would."""
    heights = scores.double() - scores.double().mean()
    is_chosen = heights >= HALF_HEIGHT * heights.max()
    if 2 * int(is_chosen.sum()) > len(scores):
        return []
    return [chunk for chunk in best_first(scores) if is_chosen[chunk]]


def own_budget(index: VideoIndex, coarsest: Level) -> int:
    """What the finest level of OWN_BUDGET chunks of mean size takes more than their coarsest, in tokens."""
    fine, coarse = (index.tokens((level,) * len(index.entries)) for level in (index.levels[0], coarsest))
    return OWN_BUDGET * (fine - coarse) // len(index.entries)


def spread(count: int) -> list[int]:
    """The numbers below a count, in an order of which every beginning is spread evenly (van der Corput, 1935)."""
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda number: f"{number:0{bits}b}"[::-1])
