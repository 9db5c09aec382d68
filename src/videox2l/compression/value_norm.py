"""Large values."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from videox2l.compression.training_free import Eviction, Prefilled


@dataclass(frozen=True)
class ValueNorm(Eviction):
    """Keep tokens with the largest value norms (the VaN score of InfiniPot-V, arXiv 2506.15745)."""

    def scores(self, chunk: Prefilled) -> Tensor:
        """L2 norm of the values over the head's mean norm, mean over layers and heads."""
        norms = chunk.kv.values.float().norm(dim=-1)  # (n_l, n_h, n)
        return (norms / norms.mean(dim=-1, keepdim=True).clamp(min=1e-12)).mean(dim=(0, 1))
