"""Several scores together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.compression.temporal_redundancy import TemporalRedundancy
from videox2l.compression.training_free import Eviction, Prefilled
from videox2l.compression.value_norm import ValueNorm


@dataclass(frozen=True)
class Combination(Eviction):
    """Keep the tokens with the best mean rank over several scores.

    parts: whose scores; by default the two of InfiniPot-V (arXiv 2506.15745), temporal redundancy and value norm.
    """

    parts: tuple[Eviction, ...] = (TemporalRedundancy(), ValueNorm())

    @property
    def observes(self) -> bool:
        """Whether any part does."""
        return any(part.observes for part in self.parts)

    def scores(self, chunk: Prefilled) -> Tensor:
        """Mean rank among the visual tokens; tokens that score the same share the middle of their ranks."""
        visual = ~chunk.tokens.is_text
        ranks = torch.zeros(len(chunk.tokens), device=chunk.kv.keys.device)
        for part in self.parts:
            scores = part.scores(chunk)[visual]
            ascending = scores.sort().values
            ranks[visual] += torch.searchsorted(ascending, scores) + torch.searchsorted(ascending, scores, right=True)
        return ranks / (2 * len(self.parts))
