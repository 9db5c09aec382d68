"""Attention of new tokens over a KV cache, one sequence at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Attention of (heads, n, d_h) queries over (n_h, m, d_h) keys -> (n, heads * d_h).

    Without a mask it is causal, the last query aligned with the last key. scale: by default 1 / sqrt(d_h).
    """
    n, m = query.shape[1], keys.shape[1]
    if n == 1 and mask is None:  # heads that share keys become rows of one product, which reads these once
        grouped = query.reshape(keys.shape[0], -1, query.shape[2])  # (heads, 1, d_h) -> (n_h, heads / n_h, d_h)
        return F.scaled_dot_product_attention(grouped[None], keys[None], values[None], scale=scale).reshape(1, -1)
    bias = mask if mask is not None or n == m else lower_right(n, m, query.device)
    out = F.scaled_dot_product_attention(
        query[None],
        keys[None],
        values[None],
        attn_mask=bias,
        is_causal=mask is None and n == m,
        scale=scale,
        enable_gqa=query.shape[0] != keys.shape[0],
    )
    return out[0].transpose(0, 1).flatten(1)  # (heads, n, d_h) -> (n, heads * d_h)


def attention_weights(query: Tensor, keys: Tensor, hidden: Tensor, scale: float | None = None) -> Tensor:
    """The fp32 weights (heads, n, m) that `attend` multiplies the values with, for a few queries.

    hidden: bool, broadcast to (heads, n, m): what is not attended to. query, keys, scale: as for `attend`.
    """
    keys = keys.repeat_interleave(query.shape[0] // keys.shape[0], dim=0)
    logits = (query @ keys.mT).float() * (query.shape[-1] ** -0.5 if scale is None else scale)
    return logits.masked_fill(hidden, float("-inf")).softmax(-1)


def lower_right(n: int, m: int, device: torch.device) -> Tensor:
    """The causal mask of n queries whose last one is aligned with the last of m keys, (n, m)."""
    if device.type == "cuda":  # a form that fused kernels take; importing it costs seconds
        from torch.nn.attention.bias import causal_lower_right

        return causal_lower_right(n, m)
    return torch.ones(n, m, dtype=torch.bool, device=device).tril(m - n)
