"""Video-XL-2's language model: a plain Qwen2 decoder over our KV cache.

One sequence at a time, so hidden states are (n, hidden); keys are cached rotated and handed out un-rotated.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP, Qwen2RMSNorm

from videox2l.models.forward import Forward
from videox2l.models.video_xl_2.config import VideoXL2Config
from videox2l.models.video_xl_2.temporal import TemporalModule
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
        self.mlp = Qwen2MLP(config.qwen2())
        self.input_layernorm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Both residuals: the attention output (n, heads * d_h), then the MLP."""
        hidden = hidden + self.self_attn.o_proj(attended)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


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
        forward: Forward,
    ) -> Tensor:
        """Run embeddings (n, hidden); normed states (n, hidden)."""
        forward.start()
        for index, layer in enumerate(self.layers):
            states = layer.self_attn.project(layer.input_layernorm(hidden))
            hidden = layer.finish(hidden, forward.attend(index, *states))
        forward.finish()
        return self.norm(hidden)
