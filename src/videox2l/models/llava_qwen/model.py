"""The parameters of a `llava_qwen` checkpoint's `model.*`: Qwen2 layers run over our KV cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from videox2l.models.checkpoint import LoadedEmbedding
from videox2l.models.forward import Forward
from videox2l.models.llava_qwen.config import LlavaQwenConfig
from videox2l.models.llava_qwen.layer import DecoderLayer, RMSNorm


class LlavaQwenModel(nn.Module):
    """Word table, decoder layers, final norm, vision tower and projector, under their official names.

    config: sizes of all of these but the tower's.
    vision_tower: None, the default, leaves out tower and projector: the language model alone.
    """

    layer: ClassVar[type[DecoderLayer]] = DecoderLayer
    layers: Sequence[DecoderLayer]

    def __init__(self, config: LlavaQwenConfig, vision_tower: nn.Module | None = None):
        super().__init__()
        self.embed_tokens = LoadedEmbedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            self.layer(config, index) for index in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config)
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
        states = embeddings
        for layer in self.layers:
            states = layer(states, forward, **inputs)
        forward.finish()
        return self.norm(states)
