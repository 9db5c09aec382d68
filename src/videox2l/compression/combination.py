"""Several scores together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.compression.temporal_redundancy import TemporalRedundancy
from videox2l.compression.training_free import Eviction, Prefilled
from videox2l.compression.value_norm import ValueNorm
from videox2l.errors import SettingsError


@dataclass(frozen=True)
class Combination(Eviction):
    """Keep the tokens with the best mean rank over several scores.

    parts: tuple of compressors that evict, default the two of InfiniPot-V (arXiv 2506.15745): temporal redundancy and
        value norm. Their scores are combined; their levels, context and positions count for nothing.
    levels: compression ratios, finest first; (2, 32) by default.
    context: what a chunk sees of earlier ones; "compressed" by default, "window:N", "full" or "none".
    context_tokens: tokens of prompt and context at most; None by default, 8192.
    positions: where chunks stand; "contiguous" by default, or "original".
    one_time_from: the ratio from which on a chunk keeps one time of its text; 8 by default, None for no ratio.
    `TrainingFree` says when to change the last five.
    Raises: SettingsError for no parts, and what `TrainingFree` refuses.
    """

    parts: tuple[Eviction, ...] = (TemporalRedundancy(), ValueNorm())

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts:
            raise SettingsError("parts=() has nothing to combine: pass compressors that evict tokens")

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
