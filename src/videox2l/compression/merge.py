"""Token merging by similarity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from videox2l.compression.training_free import Averaging, Prefilled, budget


@dataclass(frozen=True)
class Merge(Averaging):
    """Average the KVs of the visual tokens whose keys are most alike (ToMe, arXiv 2210.09461).

    Round by round, every other token finds its most similar one among the rest, and the closest pairs become one,
    until the level is reached. A token takes the position of the one it is merged into.

    levels: compression ratios, finest first; (2, 32) by default.
    context: what a chunk sees of earlier ones; "compressed" by default, "window:N", "full" or "none".
    context_tokens: tokens of prompt and context at most; None by default, 8192.
    positions: where chunks stand; "contiguous" by default, or "original".
    one_time_from: the ratio from which on a chunk keeps one time of its text; 8 by default, None for no ratio.
    `TrainingFree` says when to change them, and what it refuses.
    """

    def groups(self, chunk: Prefilled, keys: Tensor, level: int) -> Tensor:
        """Bipartite soft matching on the keys of all layers and heads."""
        features = F.normalize(keys.float(), dim=-1).permute(2, 0, 1, 3).flatten(1)  # (n, n_l * n_h * d_h)
        sizes = features.new_ones(len(features))
        target = budget(chunk.tokens, level)
        alive = torch.arange(len(features), device=keys.device)
        group = alive.clone()
        while len(alive) > target:
            sources, sinks = alive[1::2], alive[::2]
            similarity = F.normalize(features[sources], dim=1) @ F.normalize(features[sinks], dim=1).T
            closeness, nearest = similarity.max(dim=1)
            merged = closeness.sort(descending=True, stable=True).indices[: len(alive) - target]
            gone, into = sources[merged], sinks[nearest[merged]]
            sums = features * sizes[:, None]
            sums.index_add_(0, into, sums[gone])
            sizes.index_add_(0, into, sizes[gone])
            features = sums / sizes[:, None]
            become = torch.arange(len(group), device=keys.device)
            become[gone] = into
            group = become[group]
            alive = group.unique()
        return group
