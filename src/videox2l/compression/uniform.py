"""Evenly spaced tokens: the floor that every score must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.compression.training_free import Eviction, Prefilled, budget
from videox2l.types import KV


@dataclass(frozen=True)
class Uniform(Eviction):
    """Keep every r-th visual token, whatever it shows.

    levels: compression ratios, finest first; (2, 32) by default.
    context: what a chunk sees of earlier ones; "compressed" by default, "window:N", "full" or "none".
    context_tokens: tokens of prompt and context at most; None by default, 8192.
    positions: where chunks stand; "contiguous" by default, or "original".
    one_time_from: the ratio from which on a chunk keeps one time of its text; 8 by default, None for no ratio.
    `TrainingFree` says when to change them, and what it refuses.
    """

    def scores(self, chunk: Prefilled) -> Tensor:
        """All the same: which ones are kept depends on the level alone."""
        return torch.zeros(len(chunk.tokens), device=chunk.kv.keys.device)

    def reduce(self, chunk: Prefilled, level: int) -> KV:
        """The text tokens and the middles of equal runs of visual tokens."""
        text, visual = chunk.tokens.is_text.nonzero()[:, 0], (~chunk.tokens.is_text).nonzero()[:, 0]
        count = budget(chunk.tokens, level)
        middles = ((torch.arange(count, device=visual.device) + 0.5) * len(visual) / count).long()
        return chunk.kv.take(torch.cat([text, visual[middles]]).sort().values)
