"""Tokens that later tokens attend to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from videox2l.compression.training_free import Eviction, Prefilled


@dataclass(frozen=True)
class Attention(Eviction):
    """Keep tokens that the chunk's last tokens attend to most (SnapKV, arXiv 2404.14469).

    observers: how many of the last tokens look. kernel: scores are smoothed by the maximum over so many neighbours.
    """

    observers: int = 32
    kernel: int = 5

    @property
    def observes(self) -> bool:
        """The observers' queries are needed."""
        return True

    def scores(self, chunk: Prefilled) -> Tensor:
        """Attention mass from the observers within the chunk, mean over layers and heads; observers rank first."""
        n = len(chunk.tokens)
        observers = min(self.observers, max(1, n // 8))
        rotate, positions = chunk.model.rotate, chunk.run_positions
        hidden = torch.ones(observers, n, dtype=torch.bool, device=positions.device).triu(n - observers + 1)
        mass = torch.zeros(n, device=positions.device)
        for layer, query in enumerate(chunk.queries):
            asked = rotate(query, positions)[:, -observers:]  # (heads, observers, d_h)
            keys = rotate(chunk.kv.keys[layer], positions)  # (n_h, n, d_h)
            keys = keys.repeat_interleave(asked.shape[0] // keys.shape[0], dim=0)
            logits = (asked @ keys.transpose(1, 2)).float() / asked.shape[-1] ** 0.5
            mass += logits.masked_fill(hidden, float("-inf")).softmax(-1).mean(dim=(0, 1))
        mass = F.max_pool1d(mass[None], self.kernel, stride=1, padding=self.kernel // 2)[0]
        return mass / max(1, len(chunk.queries))
