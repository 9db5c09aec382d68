"""Video-XL's model: Qwen2 layers whose visual summary tokens have their own q, k, v projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from videox2l.kv.cache import KVCache
from videox2l.models.checkpoint import LoadedEmbedding
from videox2l.models.forward import Forward
from videox2l.models.llava_qwen.config import LlavaQwenConfig
from videox2l.models.llava_qwen.layer import Attention, DecoderLayer
from videox2l.models.llava_qwen.model import LlavaQwenModel
from videox2l.models.video_xl.config import VideoXLConfig
from videox2l.models.video_xl.window import Window


class SummaryAttention(Attention):
    """Qwen2's attention with a second set of q, k, v projections for summary tokens; parameters as for `Attention`."""

    def __init__(self, config: LlavaQwenConfig, layer: int):
        super().__init__(config, layer)
        self.beacon_q_proj = nn.Linear(config.hidden_size, self.q_proj.out_features)
        self.beacon_k_proj = nn.Linear(config.hidden_size, self.k_proj.out_features)
        self.beacon_v_proj = nn.Linear(config.hidden_size, self.v_proj.out_features)

    def project(self, states: Tensor, is_summary: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Un-rotated queries (heads, n, d_h), keys and values (n_h, n, d_h) of states (n, hidden).

        is_summary: bool (n,), which tokens are summaries; by default none is.
        """
        if is_summary is None:
            return super().project(states)
        raw, summaries = states[~is_summary], states[is_summary]
        back = torch.cat([(~is_summary).nonzero()[:, 0], is_summary.nonzero()[:, 0]]).argsort()
        query = torch.cat([self.q_proj(raw), self.beacon_q_proj(summaries)])[back]
        key = torch.cat([self.k_proj(raw), self.beacon_k_proj(summaries)])[back]
        value = torch.cat([self.v_proj(raw), self.beacon_v_proj(summaries)])[back]
        return self.split_heads(query), self.split_heads(key), self.split_heads(value)


class SummaryLayer(DecoderLayer):
    """Qwen2's decoder layer with `SummaryAttention`."""

    attention = SummaryAttention
    self_attn: SummaryAttention


class VideoXLModel(LlavaQwenModel):
    """A Video-XL checkpoint's `model.*`; parameters as for `LlavaQwenModel`."""

    layer = SummaryLayer
    layers: Sequence[SummaryLayer]

    def __init__(self, config: VideoXLConfig, vision_tower: nn.Module | None = None):
        super().__init__(config, vision_tower)
        self.beacon_embed_tokens = LoadedEmbedding(len(config.beacon_embed_ratios or (0,)), config.hidden_size)

    def compress(self, embeddings: Tensor, window: Window, memory: KVCache) -> tuple[Tensor, Tensor]:
        """Run a window's embeddings (n, hidden), main stream first, behind a memory, which is only read.

        Returns the un-rotated keys and the values (n_l, n_h, k, d_h) of the tokens that are kept. Work that reaches
        none of these is skipped: in the last layer all but the projections of kept tokens, in the layer before it the
        MLP of the others.
        """
        device = embeddings.device
        kept, is_summary = window.kept.to(device), window.is_summary.to(device)
        forward = Forward.behind(
            memory,
            len(window),
            positions=memory.next_position + window.positions.to(device),
            visible=window.visible(memory.length, device),
            records_kv=True,
        )
        forward.start()
        *layers, last_but_one, last = self.layers
        states = embeddings
        for layer in layers:
            states = layer(states, forward=forward, is_summary=is_summary)
        attended = last_but_one.self_attn(last_but_one.input_layernorm(states), forward, is_summary=is_summary)
        states = last_but_one.feed_forward((states + attended)[kept])
        _, key, value = last.self_attn.project(last.input_layernorm(states), is_summary[kept])
        keys = [*(keys[:, kept] for keys in forward.keys), key]
        values = [*(values[:, kept] for values in forward.values), value]
        return torch.stack(keys), torch.stack(values)
