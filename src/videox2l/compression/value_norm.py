"""Large values."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from videox2l.compression.training_free import Eviction, Prefilled


@dataclass(frozen=True)
class ValueNorm(Eviction):
    """Keep the tokens with the largest value norms (the VaN score of InfiniPot-V, arXiv 2506.15745).

    levels: compression ratios, finest first; (2, 32) by default.
    context: what a chunk sees of earlier ones; "compressed" by default, "window:N", "full" or "none".
    context_tokens: tokens of prompt and context at most; None by default, 8192.
    positions: where chunks stand; "contiguous" by default, or "original".
    one_time_from: the ratio from which on a chunk keeps one time of its text; 8 by default, None for no ratio.
    `TrainingFree` says when to change them, and what it refuses.
    """

    def scores(self, chunk: Prefilled) -> Tensor:
        """L2 norm of the values over the head's mean norm, mean over layers and heads."""
        norms = chunk.kv.values.float().norm(dim=-1)  # (n_l, n_h, n)
        return (norms / norms.mean(dim=-1, keepdim=True).clamp(min=1e-12)).mean(dim=(0, 1))
