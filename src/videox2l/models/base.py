"""What the engine asks of a multimodal LLM; one adapter per family implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from videox2l.cache import KVCache, KVShape
from videox2l.types import KV, Frames

if TYPE_CHECKING:
    from videox2l.oracles.dual_encoder import DualEncoder


@dataclass(frozen=True)
class Turn:
    """One finished turn of a chat."""

    question: str
    answer: str


class MLLM(nn.Module, ABC):
    """A multimodal LLM driven step by step: frames to visual tokens, tokens through the decoder, states to logits.

    name: for display. fingerprint: hex digest of weights and configuration. max_positions: trained context, tokens.
    eos_ids: ids that end an answer. kv_shape: layers, KV heads and head size of the cache. model_type: the key under
    which the family is registered.
    """

    name: str
    model_type: str
    fingerprint: str
    kv_shape: KVShape
    max_positions: int
    eos_ids: tuple[int, ...]
    tokenizer: PreTrainedTokenizerBase

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters, of the KVs and of the store."""
        return next(self.parameters()).dtype

    @abstractmethod
    def visual_tokens(self, frames: Frames) -> Tensor:
        """One chunk's visual tokens, (tokens, hidden), as they enter the decoder."""

    @abstractmethod
    def prompt_ids(self) -> Tensor:
        """Token ids of what stands before the video, (n,)."""

    @abstractmethod
    def question_ids(self, question: str, history: tuple[Turn, ...] = ()) -> Tensor:
        """Token ids of what stands after the video: earlier turns, the question, the answer's opening, (n,)."""

    @abstractmethod
    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Words of the text that the tokenizer has no token for."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Text token embeddings, (n, hidden)."""

    @abstractmethod
    def rotate(self, states: Tensor, positions: Tensor) -> Tensor:
        """Rotate un-rotated queries or keys (..., n, d_h) to positions (n,)."""

    @abstractmethod
    def run(
        self,
        embeddings: Tensor,
        cache: KVCache,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        queries: list[Tensor] | None = None,
    ) -> Tensor:
        """Run embeddings (n, hidden) behind the cache, adding their KVs to it.

        positions: (n,), by default the cache's next ones. mask: bool (n, cache length + n), by default causal.
        queries: if given, receives every layer's un-rotated queries (heads, n, d_h).
        Returns the states that `logits` takes, (n, hidden).
        """

    @abstractmethod
    def logits(self, states: Tensor) -> Tensor:
        """fp32 logits (n, vocabulary) of states (n, hidden)."""

    @abstractmethod
    def prompt_kv(self) -> KV:
        """Un-rotated KVs of the prompt before the video."""

    def dual_encoder(self) -> DualEncoder | None:
        """The dual encoder that the checkpoint brings along for the contrastive oracle, if it does."""
        return None

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache on the model's device with room for so many tokens."""
        return KVCache(self.kv_shape, self.rotate, capacity, self.device, self.dtype)
