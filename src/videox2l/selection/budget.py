"""The best use of a number of tokens, over all levels of the index."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import ClassVar

from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.video_index import VideoIndex
from videox2l.levels import NOTHING, Level, level_name
from videox2l.selection.base import Selector, best_first
from videox2l.types import Selection


@dataclass(frozen=True)
class Budget(Selector):
    """As much detail as fits into a cache of a given size, where it is worth most.

    Every chunk starts at the coarsest level. Upgrades, each of one chunk by one level, are made in the order of their
    worth per token, until the next one does not fit. A chunk read with n tokens is worth w log(1 + n), where w, the
    softmax of the standardised scores, does not depend on the scale an oracle scores in; the logarithm makes each
    further token of a chunk worth less than the one before. The order does not depend on the budget, so a bigger
    budget never reads a chunk less finely.

    cache_tokens: tokens of the prompt and the video in the cache, at most; it has no default. The question and the
        answer come on top.
    fine_edges: whether the upgrades of the video's first and last chunk come before all others. True by default, as
        published; False lets them take their turn.
    leaves_out: whether chunks start at NOTHING, so that those for which there is no room are left out, rather than at
        the coarsest level. False by default.
    Raises: SettingsError for less than one token.
    """

    uses_middle_levels: ClassVar[bool] = True

    cache_tokens: int
    leaves_out: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.cache_tokens < 1:
            raise SettingsError(f"cache_tokens={self.cache_tokens} leaves no room: pass 1 or more")

    def select(self, scores: Tensor | None, index: VideoIndex) -> Selection:
        """The longest run of upgrades within the budget.

        Raises: SettingsError if the coarsest level everywhere needs more tokens.
        """
        assert scores is not None
        levels = [self._levels(index)[-1]] * len(index.entries)
        used = index.tokens(tuple(levels))
        if used > self.cache_tokens:
            raise SettingsError(
                f"cache_tokens={self.cache_tokens} is too small for this video, which needs {used} at its coarsest "
                f"level, {level_name(levels[0])}: pass {used} or more"
            )
        for chunk, coarse, fine in self._upgrades(scores, index):
            entry = index.entries[chunk]
            used += entry.tokens_at(fine) - entry.tokens_at(coarse)
            if used > self.cache_tokens:
                break
            levels[chunk] = fine
        return self._selection(levels, scores, index)

    def _levels(self, index: VideoIndex) -> tuple[Level, ...]:
        """All that a chunk may be read at, finest first."""
        return (*index.levels, NOTHING) if self.leaves_out else index.levels

    def _upgrades(self, scores: Tensor, index: VideoIndex) -> list[tuple[int, int, int]]:
        """Every (chunk, from level, to level), the one worth most per token first."""
        centred = scores.double() - scores.double().mean()
        spread = centred.square().mean().sqrt()
        weights = (centred / spread if spread > 0 else centred).exp()
        edges = self.edges(index)
        upgrades: list[tuple[float, tuple[int, int, int]]] = []
        for chunk, (entry, weight) in enumerate(zip(index.entries, weights.tolist(), strict=True)):
            steps = list(pairwise(reversed(self._levels(index))))
            worth = [weight * worth_per_token(entry.tokens_at(coarse), entry.tokens_at(fine)) for coarse, fine in steps]
            if chunk in edges:
                worth = [math.inf] * len(steps)
            # A finer step is never worth more than the one it stands on, so that a stable sort keeps their order.
            upgrades += zip(accumulate(worth, min), ((chunk, *step) for step in steps), strict=True)
        return [upgrade for _, upgrade in sorted(upgrades, key=lambda upgrade: -upgrade[0])]

    def _selection(self, levels: list[int], scores: Tensor, index: VideoIndex) -> Selection:
        """The moments are what is read at the finest level; an edge if it is among as many best as are not edges."""
        finest, edges = index.levels[0], self.edges(index)
        fine = [chunk for chunk in best_first(scores) if levels[chunk] == finest]
        inner = len(set(fine) - edges)
        moments = tuple(chunk for rank, chunk in enumerate(fine) if chunk not in edges or rank < inner)
        notes = [f"{self.cache_tokens} tokens have no room for the first and last chunk in full detail"]
        if edges <= set(fine):
            notes = []
        return Selection(tuple(levels), tuple(scores.tolist()), moments, tuple(notes))


def worth_per_token(coarse_tokens: int, fine_tokens: int) -> float:
    """Growth of log(1 + tokens) per token; an upgrade that costs nothing is worth most."""
    if fine_tokens <= coarse_tokens:
        return math.inf
    return (math.log1p(fine_tokens) - math.log1p(coarse_tokens)) / (fine_tokens - coarse_tokens)
