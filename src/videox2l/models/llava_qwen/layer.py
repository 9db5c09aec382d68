"""Qwen2's decoder layer (arXiv 2407.10671) over our KV cache, under its official parameter names.

transformers has it too, but importing its modelling code takes longer than answering a question from a stored index.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videox2l.models.forward import Forward
from videox2l.models.llava_qwen.config import LlavaQwenConfig


class RMSNorm(nn.Module):
    """Root-mean-square norm with a weight, computed in fp32."""

    def __init__(self, config: LlavaQwenConfig):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, states: Tensor) -> Tensor:
        """Normed states (..., hidden)."""
        full = states.float()
        normed = full * torch.rsqrt(full.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(states.dtype)


class MLP(nn.Module):
    """The gated feed-forward part of a layer (SwiGLU)."""

    def __init__(self, config: LlavaQwenConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """States (..., hidden) in and out."""
        return self.down_proj(F.silu(self.gate_proj(states)) * self.up_proj(states))


class Attention(nn.Module):
    """Grouped-query attention over our KV cache.

    config: sizes. layer: the number of the layer.
    """

    def __init__(self, config: LlavaQwenConfig, layer: int):
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.scaling = self.head_dim**-0.5
        queries, keys = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries)
        self.k_proj = nn.Linear(config.hidden_size, keys)
        self.v_proj = nn.Linear(config.hidden_size, keys)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=False)

    def forward(self, states: Tensor, forward: Forward, **inputs: Any) -> Tensor:
        """States (n, hidden) in and out. inputs: what `project` takes besides."""
        return self.o_proj(forward.attend(self.layer, *self.project(states, **inputs), self.scaling))

    def project(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Un-rotated queries (heads, n, d_h), keys and values (n_h, n, d_h) of states (n, hidden)."""
        query, key, value = self.q_proj(states), self.k_proj(states), self.v_proj(states)
        return self.split_heads(query), self.split_heads(key), self.split_heads(value)

    def split_heads(self, states: Tensor) -> Tensor:
        """(n, heads * d_h) -> (heads, n, d_h)."""
        return states.unflatten(1, (-1, self.head_dim)).transpose(0, 1)


class DecoderLayer(nn.Module):
    """A pre-norm layer; parameters as for `Attention`."""

    attention: ClassVar[type[Attention]] = Attention
    self_attn: Attention

    def __init__(self, config: LlavaQwenConfig, layer: int):
        super().__init__()
        self.self_attn = self.attention(config, layer)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config)
        self.post_attention_layernorm = RMSNorm(config)

    def forward(self, states: Tensor, forward: Forward, **inputs: Any) -> Tensor:
        """States (n, hidden) in and out. inputs: what the attention takes besides."""
        return self.feed_forward(states + self.self_attn(self.input_layernorm(states), forward, **inputs))

    def feed_forward(self, states: Tensor) -> Tensor:
        """The layer's second half: the MLP's output added to states (..., hidden)."""
        return states + self.mlp(self.post_attention_layernorm(states))
