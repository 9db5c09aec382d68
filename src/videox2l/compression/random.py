"""Tokens drawn by chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from videox2l.compression.training_free import Eviction, Prefilled


@dataclass(frozen=True)
class Random(Eviction):
    """Keep visual tokens drawn by chance, others in every chunk."""

    seed: int = 0

    def scores(self, chunk: Prefilled) -> Tensor:
        """Uniform random numbers; the same for every ratio, so that coarse levels are part of finer ones."""
        generator = torch.Generator().manual_seed(self.seed * 2**31 + chunk.number)
        return torch.rand(len(chunk.tokens), generator=generator).to(chunk.kv.keys.device)
