"""The question's queries, as its tokens have them before any video."""

from __future__ import annotations

import torch
from torch import Tensor

from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.types import KV


def question_queries(model: MLLM, prompt: KV, question: str) -> Tensor:
    """Un-rotated queries of every token of a question behind the prompt alone, fp32 (n_l, n_h, groups, n, d_h).

    They are scaled, so that their products with keys are attention's logits. groups: query heads for each KV head.
    """
    ids = model.question_ids(question)
    cache = model.new_cache(len(prompt) + len(ids))
    cache.append(prompt)
    forward = Forward.behind(cache, len(ids), records_queries=True)
    model.run(model.embed(ids), forward)
    scales = (model.kv_shape.head_dim**-0.5 if scale is None else scale for scale in forward.scales)
    scaled = [query.float() * scale for query, scale in zip(forward.queries, scales, strict=True)]
    return torch.stack(scaled).unflatten(1, (model.kv_shape.heads, -1))  # (n_l, heads, ...) -> (n_l, n_h, groups, ...)
