"""Video-XL's model: Qwen2 layers whose visual summary tokens have their own q, k, v projections."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2DecoderLayer

from videox2l.kv.cache import KVCache
from videox2l.models.forward import Forward
from videox2l.models.llava_qwen.model import LlavaQwenModel
from videox2l.models.video_xl.config import VideoXLConfig
from videox2l.models.video_xl.window import Window
from videox2l.models.video_xl.window_forward import WindowForward


class SummaryAttention(Qwen2Attention):
    """Qwen2's attention over our KV cache, with a second set of q, k, v projections for summary tokens."""

    def __init__(self, config: Qwen2Config, layer_idx: int):
        super().__init__(config, layer_idx)
        self.beacon_q_proj = nn.Linear(config.hidden_size, self.q_proj.out_features)
        self.beacon_k_proj = nn.Linear(config.hidden_size, self.k_proj.out_features)
        self.beacon_v_proj = nn.Linear(config.hidden_size, self.v_proj.out_features)

    def forward(
        self, hidden_states: Tensor, forward: Forward | WindowForward, is_summary: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None]:
        """transformers' interface of an attention layer: states (1, n, hidden) in and out.

        is_summary: bool (n,), which tokens are summaries; by default none is.
        """
        states = hidden_states[0]
        query, key, value = (project(states, is_summary) for project in (self.queries, self.keys, self.values))
        attended = forward.attend(self.layer_idx, query, key, value, self.scaling)
        return self.o_proj(attended)[None], None

    def queries(self, states: Tensor, is_summary: Tensor | None) -> Tensor:
        """Un-rotated queries (heads, n, d_h) of states (n, hidden)."""
        return self._project(states, is_summary, self.q_proj, self.beacon_q_proj)

    def keys(self, states: Tensor, is_summary: Tensor | None) -> Tensor:
        """Un-rotated keys (n_h, n, d_h) of states (n, hidden)."""
        return self._project(states, is_summary, self.k_proj, self.beacon_k_proj)

    def values(self, states: Tensor, is_summary: Tensor | None) -> Tensor:
        """Values (n_h, n, d_h) of states (n, hidden)."""
        return self._project(states, is_summary, self.v_proj, self.beacon_v_proj)

    def _project(self, states: Tensor, is_summary: Tensor | None, ordinary: nn.Linear, summary: nn.Linear) -> Tensor:
        if is_summary is None:
            projected = ordinary(states)
        else:
            projected = states.new_empty(len(states), ordinary.out_features)
            projected[~is_summary] = ordinary(states[~is_summary])
            projected[is_summary] = summary(states[is_summary])
        return projected.unflatten(1, (-1, self.head_dim)).transpose(0, 1)  # (n, heads * d_h) -> (heads, n, d_h)


class SummaryLayer(Qwen2DecoderLayer):
    """Qwen2's decoder layer with `SummaryAttention`."""

    def __init__(self, config: Qwen2Config, layer_idx: int):
        super().__init__(config, layer_idx)
        self.self_attn = SummaryAttention(config, layer_idx)

    def finish(self, states: Tensor, attended: Tensor) -> Tensor:
        """What follows the attention: its output (..., heads * d_h), then the MLP's, added to states (..., hidden)."""
        states = states + self.self_attn.o_proj(attended)
        return states + self.mlp(self.post_attention_layernorm(states))


class VideoXLModel(LlavaQwenModel):
    """A Video-XL checkpoint's `model.*`; parameters as for `LlavaQwenModel`."""

    layer = SummaryLayer
    layers: list[SummaryLayer]

    def __init__(self, config: VideoXLConfig, vision_tower: nn.Module | None = None):
        super().__init__(config, vision_tower)
        self.beacon_embed_tokens = nn.Embedding(len(config.beacon_embed_ratios or (0,)), config.hidden_size)

    def compress(self, embeddings: Tensor, window: Window, memory: KVCache) -> tuple[Tensor, Tensor]:
        """Run a window's embeddings (n, hidden), main stream first, behind a memory, which is only read.

        Returns the un-rotated keys and the values (n_l, n_h, k, d_h) of the tokens that are kept. Work that reaches
        none of these is skipped: in the last layer all but keys and values of kept tokens, in the layer before it the
        queries of the other tokens and all that follows from them.
        """
        forward = WindowForward(window, memory)
        is_summary, kept = forward.is_summary, forward.kept
        *layers, last_but_one, last = self.layers
        states = embeddings[None]
        for layer in layers:
            states = layer(states, forward=forward, is_summary=is_summary)
        states = states[0]

        attention, normed = last_but_one.self_attn, last_but_one.input_layernorm(states)
        query = attention.queries(normed[kept], is_summary[kept])
        key, value = attention.keys(normed, is_summary), attention.values(normed, is_summary)
        attended = forward.attend_kept(attention.layer_idx, query, key, value, attention.scaling)
        states = last_but_one.finish(states[kept], attended)

        attention, normed = last.self_attn, last.input_layernorm(states)
        forward.keep(attention.keys(normed, is_summary[kept]), attention.values(normed, is_summary[kept]))
        return torch.stack(forward.keys), torch.stack(forward.values)
