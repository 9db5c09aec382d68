"""The MLLM's own attention: how much of it the question pays to each chunk's H-KVs."""

from __future__ import annotations

from collections.abc import Sequence
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
        return self.relevances(model, index, [question])[0]

    def relevances(self, model: MLLM, index: VideoIndex, questions: Sequence[str]) -> list[Tensor]:
        """One forward of all questions over the whole video at one level; none of them sees another."""
        levels = (self.level_in(index),) * len(index.entries)
        ids = [model.question_ids(question) for question in questions]
        cache = load_cache(model, index, levels, room=sum(map(len, ids)))
        video_tokens = cache.length
        forward = Forward.side_by_side(cache, [len(tokens) for tokens in ids], records_queries=True)
        model.run(model.embed(torch.cat(ids)), forward)
        keys = cache.keys[:, :, : cache.length]  # (n_l, n_h, n, d_h)
        mass = [torch.zeros(video_tokens + len(tokens), device=keys.device) for tokens in ids]
        for query, scale, layer_keys in zip(forward.queries, forward.scales, keys, strict=True):
            rotated = model.rotate(query, forward.positions)  # (heads, tokens of all questions, d_h)
            for place, part in enumerate(forward.sequences[0].visible or ()):
                asked, seen = rotated[:, part.rows], layer_keys[:, part.columns]
                mass[place] += self._attention(asked, seen, scale)
        spans = chunk_spans(index, levels)
        layers = len(forward.queries)
        return [torch.stack([of[span].sum() / max(len(of[span]), 1) for span in spans]) / layers for of in mass]

    def _attention(self, asked: Tensor, keys: Tensor, scale: float | None) -> Tensor:
        """Mean attention (m,) of a question (heads, n, d_h) on keys (n_h, m, d_h), the last of which are its own."""
        tokens, seen = asked.shape[1], keys.shape[1]
        asking = slice(-1, None) if self.tokens == "last" else slice(None)
        steps = torch.arange(seen, device=keys.device)
        hidden = steps > steps[seen - tokens :][asking, None]
        return attention_weights(asked[:, asking], keys, hidden, scale).mean(dim=(0, 1))
