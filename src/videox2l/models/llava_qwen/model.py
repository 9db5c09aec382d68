"""The parameters of a `llava_qwen` checkpoint's `model.*`: transformers' Qwen2 layers run over our KV cache."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RMSNorm

from videox2l.models.cached_attention import NoRotation
from videox2l.models.forward import Forward
from videox2l.models.llava_qwen.config import LlavaQwenConfig


class LlavaQwenModel(nn.Module):
    """Word table, decoder layers, final norm, vision tower and projector, under their official names.

    config: sizes of all of these but the tower's.
    vision_tower: None, the default, leaves out tower and projector: the language model alone.
    """

    layer: ClassVar[type[Qwen2DecoderLayer]] = Qwen2DecoderLayer
    layers: list[Qwen2DecoderLayer]

    def __init__(self, config: LlavaQwenConfig, vision_tower: nn.Module | None = None):
        super().__init__()
        qwen2 = config.qwen2()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            self.layer(qwen2, index) for index in range(config.num_hidden_layers)
        )
        self.norm = Qwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = NoRotation(config.head_dim)
        if vision_tower is not None:
            self.vision_tower = vision_tower
            self.mm_projector = nn.Sequential(
                nn.Linear(config.mm_hidden_size, config.hidden_size),
                nn.GELU(),
                nn.Linear(config.hidden_size, config.hidden_size),
            )

    def forward(self, embeddings: Tensor, forward: Forward, **inputs: Any) -> Tensor:
        """Run embeddings (n, hidden) as `forward` says; normed states (n, hidden).

        inputs: what a family's layers take besides.
        """
        forward.start()
        states = embeddings[None]  # transformers' layers take a batch: (1, n, hidden)
        rotation = self.rotary_emb(states)
        for layer in self.layers:
            states = layer(states, position_embeddings=rotation, forward=forward, **inputs)
        forward.finish()
        return self.norm(states[0])
