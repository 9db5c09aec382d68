"""Video-XL-2's language model: a plain Qwen2 decoder over our KV cache.

One sequence at a time, so hidden states are (n, hidden); keys are cached rotated and handed out un-rotated.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP, Qwen2RMSNorm

from videox2l.attention import attend
from videox2l.cache import KVCache
from videox2l.models.video_xl_2.config import VideoXL2Config
from videox2l.models.video_xl_2.temporal import TemporalModule
from videox2l.models.video_xl_2.visibility import Sight
from videox2l.models.video_xl_2.vision import TowerHolder


class Attention(nn.Module):
    """Grouped-query attention."""

    def __init__(self, config: VideoXL2Config):
        super().__init__()
        self.head_dim = config.head_dim
        query_size = config.num_attention_heads * config.head_dim
        kv_size = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_size)
        self.k_proj = nn.Linear(config.hidden_size, kv_size)
        self.v_proj = nn.Linear(config.hidden_size, kv_size)
        self.o_proj = nn.Linear(query_size, config.hidden_size, bias=False)

    def project(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Un-rotated queries, keys and values of (n, hidden) states, (heads, n, d_h) each."""
        query, key, value = (
            projection(hidden).unflatten(1, (-1, self.head_dim)).transpose(0, 1)  # (n, heads * d_h) -> (heads, n, d_h)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return query, key, value


class DecoderLayer(nn.Module):
    """Pre-norm attention and SwiGLU, as in Qwen2."""

    def __init__(self, config: VideoXL2Config):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = Qwen2MLP(config)
        self.input_layernorm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Both residuals: the attention output (n, heads * d_h), then the MLP."""
        hidden = hidden + self.self_attn.o_proj(attended)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


def attend_by_sight(query: Tensor, keys: Tensor, values: Tensor, seen: list[Sight]) -> Tensor:
    """Attention of (heads, n, d_h) queries, each over the keys it sees alone -> (n, heads * d_h)."""
    out = query.new_empty(query.shape[1], query.shape[0] * query.shape[2])
    for sight in seen:
        out[sight.rows] = attend(query[:, sight.rows], keys[:, sight.columns], values[:, sight.columns], sight.mask)
    return out


class Decoder(nn.Module):
    """The layers and the final norm, with vision tower, temporal module and projector under their official names."""

    def __init__(self, config: VideoXL2Config, vision_tower: TowerHolder):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers: list[DecoderLayer] = nn.ModuleList(  # type: ignore[assignment]
            DecoderLayer(config) for _ in range(config.num_hidden_layers)
        )
        self.norm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.vision_tower = vision_tower
        self.sae = TemporalModule(config.mm_hidden_size)
        self.mm_projector = nn.Sequential(
            nn.Linear(config.mm_hidden_size, config.hidden_size),
            nn.GELU(),
            nn.Linear(config.hidden_size, config.hidden_size),
        )

    def forward(
        self,
        hidden: Tensor,
        cache: KVCache,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        seen: list[Sight] | None = None,
        keys: list[Tensor] | None = None,
        queries: list[Tensor] | None = None,
    ) -> Tensor:
        """Run embeddings (n, hidden) behind the cache, add their KVs to it, return normed states (n, hidden).

        positions: (n,), by default the next ones. mask: bool (n, length + n), by default causal; seen: what each token
        sees, instead of a mask. keys, queries: receive every layer's un-rotated keys (n_h, n, d_h) and queries
        (heads, n, d_h).
        """
        if positions is None:
            positions = cache.next_positions(hidden.shape[0])
        cache.reserve(hidden.shape[0])
        for index, layer in enumerate(self.layers):
            query, key, value = layer.self_attn.project(layer.input_layernorm(hidden))
            if queries is not None:
                queries.append(query)
            if keys is not None:
                keys.append(key)
            query = cache.rotate(query, positions)
            held = cache.write(index, cache.rotate(key, positions), value)
            attended = attend_by_sight(query, *held, seen) if seen else attend(query, *held, mask)
            hidden = layer.finish(hidden, attended)
        cache.advance(positions)
        return self.norm(hidden)
