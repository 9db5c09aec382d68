"""The MLLM's own attention: how much of it the question pays to each chunk's H-KVs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from videox2l.index.reload import chunk_spans, load_cache
from videox2l.index.video_index import VideoIndex
from videox2l.kv.attention import attention_weights
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.oracles.base import KVOracle


@dataclass(frozen=True)
class AttentionOracle(KVOracle):
    """Attention on a chunk, mean over heads, layers and the chunk's KVs (Video-X2L, arXiv 2506.21184, section 3.3).

    The mean over KVs changes nothing among chunks of equal size; it keeps a chunk that is stored finer from looking
    relevant because of its size. A chunk without KVs at the level gets no attention: 0, the lowest score.

    tokens: whose attention counts: the "last" question token's, the default, which recalls best, or the mean over
        "all" of them.
    level: the level whose KVs are read, as its nominal compression ratio. None, the default, is the coarsest one,
        which costs least; a finer one holds more to find.
    """

    tokens: Literal["last", "all"] = "last"

    def relevance(self, model: MLLM, index: VideoIndex, question: str) -> Tensor:
        """One forward of the question over the whole video at one level."""
        levels = (self.level_in(index),) * len(index.entries)
        ids = model.question_ids(question)
        cache = load_cache(model, index, levels, room=len(ids))
        video_tokens = cache.length
        forward = Forward.behind(cache, len(ids), records_queries=True)
        model.run(model.embed(ids), forward)
        asking = slice(-1, None) if self.tokens == "last" else slice(None)
        keys = cache.keys[:, :, : cache.length]  # (n_l, n_h, n, d_h)
        steps = torch.arange(cache.length, device=keys.device)
        hidden = steps > torch.arange(video_tokens, cache.length, device=keys.device)[asking, None]
        mass = torch.zeros(cache.length, device=keys.device)
        for query, scale, layer_keys in zip(forward.queries, forward.scales, keys, strict=True):
            asked = model.rotate(query, forward.positions)[:, asking]  # (heads, asking, d_h)
            mass += attention_weights(asked, layer_keys, hidden, scale).mean(dim=(0, 1))
        spans = [mass[span] for span in chunk_spans(index, levels)]
        return torch.stack([span.sum() / max(len(span), 1) for span in spans]) / len(forward.queries)
