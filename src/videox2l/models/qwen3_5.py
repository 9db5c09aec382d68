"""Qwen3.5: three of four layers keep a recurrent state (gated delta net), which chunks' KVs can't be merged into.

Its frames and texts are those of Qwen3-VL, without DeepStack. Selected chunks are prefilled anew by the class's own
layers over the class's own cache; nothing of its decoder is taken over.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from videox2l.models.forward import Forward
from videox2l.models.qwen3_vl import Qwen3VL
from videox2l.models.recurrent import RecurrentCache, run_behind


class Qwen3_5(Qwen3VL):
    """transformers' Qwen3_5ForConditionalGeneration."""

    model_type = "qwen3_5"
    reuses_kvs: ClassVar[bool] = False
    compressor = "fresh"
    oracle = "probe"

    def rotate(self, states: Tensor, positions: Tensor) -> Tensor:
        """Its own layers rotate what they keep."""
        return states

    def new_cache(self, capacity: int) -> RecurrentCache:
        """An empty cache on the model's device, which grows as it is filled."""
        config = self.config.get_text_config()
        return RecurrentCache(self.kv_shape, self.rotate, self.device, self.dtype, config)

    def run(self, embeddings: Tensor, forward: Forward) -> Tensor:
        """Run embeddings through the decoder's own layers and attention."""
        return run_behind(self.decoder, embeddings, forward).to(self.device)
