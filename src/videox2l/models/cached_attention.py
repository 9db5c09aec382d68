"""How a decoder of transformers runs over our KV cache: its own layers, our attention function, no rotation of its own.

Our attention function gets un-rotated queries and keys, because the decoder's rotary module is made to rotate nothing.
It rotates them to the positions that the run asks for, and attends over the cache.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface

from videox2l.models.forward import Forward

ATTENTION = "videox2l"
"""The name of our attention function in transformers' registry."""


def cached_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    forward: Forward,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: un-rotated (1, heads, n, d_h) states in, (1, n, heads, d_h) out."""
    layer: int = module.layer_idx  # type: ignore[assignment]
    attended = forward.attend(layer, query[0], key[0], value[0], scaling)  # (n, heads * d_h)
    return attended.unflatten(1, (query.shape[1], -1))[None], None


AttentionInterface.register(ATTENTION, cached_attention)


class NoRotation(nn.Module):
    """Stands in for a decoder's rotary module: cosines of 1 and sines of 0 leave queries and keys as they are."""

    def __init__(self, head_dim: int):
        super().__init__()
        self.head_dim = head_dim

    def forward(self, states: Tensor, position_ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cosines and sines, (1, n, d_h) each."""
        shape = (1, states.shape[1], self.head_dim)
        return states.new_ones(shape), states.new_zeros(shape)
