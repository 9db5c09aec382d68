"""Keys unlike the others."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from videox2l.compression.training_free import Eviction, Prefilled


@dataclass(frozen=True)
class KeyDiff(Eviction):
    """Keep the tokens whose keys differ most from the chunk's mean key (KeyDiff, arXiv 2504.15364).

    levels: compression ratios, finest first; (2, 32) by default.
    context: what a chunk sees of earlier ones; "compressed" by default, "window:N", "full" or "none".
    context_tokens: tokens of prompt and context at most; None by default, 8192.
    positions: where chunks stand; "contiguous" by default, or "original".
    one_time_from: the ratio from which on a chunk keeps one time of its text; 8 by default, None for no ratio.
    `TrainingFree` says when to change them, and what it refuses.
    """

    def scores(self, chunk: Prefilled) -> Tensor:
        """Minus the cosine with the mean of the normalised keys, mean over layers and heads."""
        keys = F.normalize(chunk.kv.keys.float(), dim=-1)  # (n_l, n_h, n, d_h)
        anchor = keys[:, :, ~chunk.tokens.is_text].mean(dim=2, keepdim=True)
        return -F.cosine_similarity(keys, anchor, dim=-1).mean(dim=(0, 1))
