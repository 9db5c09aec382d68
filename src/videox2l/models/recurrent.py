"""A decoder with recurrent layers, run over transformers' own cache, from which no token can be taken."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig

from videox2l.errors import ModelError
from videox2l.kv.cache import KVCache, KVShape, Rotate
from videox2l.models.forward import Forward
from videox2l.types import KV


class RecurrentCache(KVCache):
    """The states of all layers behind the interface of our cache; the class's own layers fill it.

    shape, rotate, device, dtype: as for `KVCache`, whose buffer stays empty. config: of the decoder.
    """

    def __init__(
        self, shape: KVShape, rotate: Rotate, device: torch.device, dtype: torch.dtype, config: PreTrainedConfig
    ):
        super().__init__(shape, rotate, 0, device, dtype)
        self.states = DynamicCache(config=config)

    def append(self, kv: KV, positions: Tensor | None = None) -> None:
        """Raises: ModelError, since a recurrent state has no place for KVs computed elsewhere."""
        raise ModelError("KVs can't be put into a model with recurrent layers: prefill the chunk anew")

    def cut(self, length: int, next_position: int) -> None:
        """Raises: ModelError, since a recurrent state forgets nothing."""
        raise ModelError("a model with recurrent layers can't forget tokens: begin with an empty cache")


def run_behind(decoder: nn.Module, embeddings: Tensor, forward: Forward) -> Tensor:
    """Run embeddings (n, hidden) as `forward` says, each sequence by itself; the last layer's states (n, hidden).

    Raises: ModelError if KVs or queries are to be recorded, which only some of the layers have.
    """
    if forward.records_kv or forward.records_queries:
        raise ModelError(
            "a model with recurrent layers has KVs and attention in some layers only: choose an oracle that reads none "
            "of them, as contrastive, probe or time"
        )
    states = []
    parts = embeddings.split(forward.sizes), forward.positions.split(forward.sizes, -1)
    for sequence, part, positions in zip(forward.sequences, *parts, strict=True):
        assert isinstance(sequence.cache, RecurrentCache)
        made = decoder(
            inputs_embeds=part[None],
            position_ids=positions.expand(3, -1)[:, None],  # (n,) or (3, n) -> (3, 1, n)
            cache=sequence.cache.states,
            use_cache=True,
        )
        states.append(made.last_hidden_state[0])
    forward.finish()
    return torch.cat(states)
