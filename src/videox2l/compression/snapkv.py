"""Tokens that the chunk's last tokens attend to (SnapKV)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from videox2l.compression.training_free import Eviction, Prefilled, budget, keep_best
from videox2l.errors import SettingsError
from videox2l.kv.attention import attention_weights
from videox2l.types import KV


@dataclass(frozen=True)
class SnapKV(Eviction):
    """Keep the tokens that a chunk's last tokens, the observers, attend to most, and observers (arXiv 2404.14469).

    The paper keeps every observer beside the tokens they chose, as its budget is a hundred times their number. A
    chunk's coarse levels have no room for that: the newest observers are kept as far as they fill a quarter of it.

    observers: int, tokens, default 32. How many of a chunk's last tokens look, an eighth of it at most. More give a
        steadier score and are more of the chunk's end.
    kernel: int, tokens, odd, default 5. A token takes the largest score among so many neighbours, itself in their
        middle; 1 is its own score alone. A larger one keeps runs of tokens rather than single ones.
    levels: compression ratios, finest first; (2, 32) by default.
    context: what a chunk sees of earlier ones; "compressed" by default, "window:N", "full" or "none".
    context_tokens: tokens of prompt and context at most; None by default, 8192.
    positions: where chunks stand; "contiguous" by default, or "original".
    one_time_from: the ratio from which on a chunk keeps one time of its text; 8 by default, None for no ratio.
    `TrainingFree` says when to change the last five.
    Raises: SettingsError for no observers, an even kernel, and what `TrainingFree` refuses.
    """

    observers: int = 32
    kernel: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.observers < 1:
            raise SettingsError(f"observers={self.observers} is too few: pass 1 or more")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise SettingsError(f"kernel={self.kernel} has no middle: pass an odd number, such as 5")

    @property
    def observes(self) -> bool:
        """The observers' queries are needed."""
        return True

    def scores(self, chunk: Prefilled) -> Tensor:
        """Attention mass from the observers within the chunk, mean over layers and heads."""
        n = len(chunk.tokens)
        observers = min(self.observers, max(1, n // 8))
        rotate, positions = chunk.model.rotate, chunk.run_positions
        hidden = torch.ones(observers, n, dtype=torch.bool, device=positions.device).triu(n - observers + 1)
        mass = torch.zeros(n, device=positions.device)
        for query, scale, keys in zip(chunk.queries, chunk.scales, chunk.kv.keys, strict=True):
            asked = rotate(query, positions)[:, -observers:]  # (heads, observers, d_h)
            mass += attention_weights(asked, rotate(keys, positions), hidden, scale).mean(dim=(0, 1))
        mass = F.max_pool1d(mass[None], self.kernel, stride=1, padding=self.kernel // 2)[0]
        return mass / max(1, len(chunk.queries))

    def reduce(self, chunk: Prefilled, level: int) -> KV:
        """The text tokens, the newest observers, and the visual tokens that score best beside them."""
        scores = self.scores(chunk)
        visual = (~chunk.tokens.is_text).nonzero()[:, 0]
        n = len(chunk.tokens)
        observers = visual[visual >= n - min(self.observers, max(1, n // 8))].flip(0)
        scores[observers[: budget(chunk.tokens, level) // 4]] = float("inf")
        return keep_best(chunk, scores, level)
