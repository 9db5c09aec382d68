"""Video-XL's language model: a Qwen2 decoder whose visual summary tokens have their own q, k, v projections.

One sequence at a time, so hidden states are (n, hidden); keys are cached rotated and handed out un-rotated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP, Qwen2RMSNorm

from videox2l.kv.attention import attend
from videox2l.kv.cache import KVCache
from videox2l.models.forward import Forward
from videox2l.models.video_xl.config import VideoXLConfig
from videox2l.models.video_xl.window import Window


class Attention(nn.Module):
    """Grouped-query attention with a second set of q, k, v projections for summary tokens."""

    def __init__(self, config: VideoXLConfig):
        super().__init__()
        self.head_dim = config.head_dim
        query_size = config.num_attention_heads * config.head_dim
        kv_size = config.num_key_value_heads * config.head_dim
        for prefix in ("", "beacon_"):
            setattr(self, f"{prefix}q_proj", nn.Linear(config.hidden_size, query_size))
            setattr(self, f"{prefix}k_proj", nn.Linear(config.hidden_size, kv_size))
            setattr(self, f"{prefix}v_proj", nn.Linear(config.hidden_size, kv_size))
        self.o_proj = nn.Linear(query_size, config.hidden_size, bias=False)

    def project(self, name: str, hidden: Tensor, is_summary: Tensor | None = None) -> Tensor:
        """Un-rotated "q", "k" or "v" of (n, hidden) states -> (heads, n, d_h); summary tokens by their own weights."""
        ordinary, summary = getattr(self, f"{name}_proj"), getattr(self, f"beacon_{name}_proj")
        if is_summary is None:
            out = ordinary(hidden)
        else:
            out = hidden.new_empty(hidden.shape[0], ordinary.out_features)
            out[~is_summary] = ordinary(hidden[~is_summary])
            out[is_summary] = summary(hidden[is_summary])
        return out.unflatten(1, (-1, self.head_dim)).transpose(0, 1)


class DecoderLayer(nn.Module):
    """Pre-norm attention and SwiGLU, as in Qwen2."""

    self_attn: Attention
    input_layernorm: nn.Module

    def __init__(self, config: VideoXLConfig):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = Qwen2MLP(config.qwen2())
        self.input_layernorm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Both residuals: the attention output (n, heads * d_h), then the MLP."""
        hidden = hidden + self.self_attn.o_proj(attended)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Decoder(nn.Module):
    """The layers and the final norm; embedding, vision tower and projector are set beside them by the model."""

    embed_tokens: nn.Embedding
    beacon_embed_tokens: nn.Embedding
    vision_tower: nn.Module
    mm_projector: nn.Module

    def __init__(self, config: VideoXLConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.beacon_embed_tokens = nn.Embedding(len(config.beacon_embed_ratios or (0,)), config.hidden_size)
        self.layers: list[DecoderLayer] = nn.ModuleList(  # type: ignore[assignment]
            DecoderLayer(config) for _ in range(config.num_hidden_layers)
        )
        self.norm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden: Tensor,
        forward: Forward,
        is_summary: Tensor | None = None,
    ) -> Tensor:
        """Run embeddings (n, hidden); normed states (n, hidden)."""
        forward.start()
        for index, layer in enumerate(self.layers):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            states = (attention.project(name, normed, is_summary) for name in "qkv")
            hidden = layer.finish(hidden, forward.attend(index, *states))
        forward.finish()
        return self.norm(hidden)

    def compress(self, hidden: Tensor, window: Window, memory: KVCache) -> tuple[Tensor, Tensor]:
        """Run a window's main stream and extra summaries (main + extra, hidden) behind the memory.

        Returns the un-rotated keys and the values (n_l, n_h, kept + extra, d_h) of the tokens whose KVs are kept. The
        memory is only read. Work that reaches no kept KV is skipped: the last layer runs its k and v projections
        alone, the layer before it runs the queries of kept tokens alone.
        """
        device, main = hidden.device, window.main_tokens
        everyone = torch.arange(main + window.extra_tokens, device=device)
        kept = torch.cat([window.kept_offsets.to(device), everyone[main:]])
        is_summary = torch.ones(main + window.extra_tokens, dtype=torch.bool)
        is_summary[window.raw_offsets] = False
        is_summary = is_summary.to(device)
        positions = memory.next_position + window.positions.to(device)
        memory_seen = torch.ones(window.extra_tokens, memory.length, dtype=torch.bool)
        extra_mask = torch.cat([memory_seen, window.extra_mask], dim=1).to(device)
        kept_main = window.kept_offsets.to(device)
        causal = torch.arange(memory.length + main, device=device) <= memory.length + kept_main[:, None]

        memory.reserve(main + window.extra_tokens)
        kept_keys, kept_values = [], []
        for index, layer in enumerate(self.layers):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            if index == len(self.layers) - 1:  # only kept tokens, and only their keys and values
                normed = normed if normed.shape[0] == kept.shape[0] else normed[kept]
                kept_keys.append(attention.project("k", normed, is_summary[kept]))
                kept_values.append(attention.project("v", normed, is_summary[kept]))
                break
            keys = attention.project("k", normed, is_summary)
            values = attention.project("v", normed, is_summary)
            kept_keys.append(keys[:, kept])
            kept_values.append(values[:, kept])
            all_keys, all_values = memory.write(index, memory.rotate(keys, positions), values)
            last_but_one = index == len(self.layers) - 2
            asking = kept if last_but_one else everyone
            split, main_mask = (kept_main.shape[0], causal) if last_but_one else (main, None)
            query = memory.rotate(attention.project("q", normed[asking], is_summary[asking]), positions[asking])
            filled = memory.length + main
            attended = attend(query[:, :split], all_keys[:, :filled], all_values[:, :filled], main_mask)
            if window.extra_tokens:
                attended = torch.cat([attended, attend(query[:, split:], all_keys, all_values, extra_mask)])
            hidden = layer.finish(hidden[asking], attended)
        return torch.stack(kept_keys), torch.stack(kept_values)
