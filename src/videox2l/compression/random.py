"""Tokens drawn by chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.compression.training_free import Eviction, Prefilled
from videox2l.errors import SettingsError

SEEDS = 2**31


@dataclass(frozen=True)
class Random(Eviction):
    """Keep visual tokens drawn by chance, others in every chunk.

    seed: int from 0 to 2**31 - 1, default 0. Another one draws other tokens.
    levels: compression ratios, finest first; (2, 32) by default.
    context: what a chunk sees of earlier ones; "compressed" by default, "window:N", "full" or "none".
    context_tokens: tokens of prompt and context at most; None by default, 8192.
    positions: where chunks stand; "contiguous" by default, or "original".
    one_time_from: the ratio from which on a chunk keeps one time of its text; 8 by default, None for no ratio.
    `TrainingFree` says when to change the last five.
    Raises: SettingsError for a seed out of its range, and what `TrainingFree` refuses.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.seed < SEEDS:
            raise SettingsError(f"seed={self.seed} is out of range: pass 0 to {SEEDS - 1}")

    def scores(self, chunk: Prefilled) -> Tensor:
        """Uniform random numbers; the same for every level, so that coarse levels are part of finer ones."""
        generator = torch.Generator().manual_seed(self.seed * SEEDS + chunk.number)
        return torch.rand(len(chunk.tokens), generator=generator).to(chunk.kv.keys.device)
