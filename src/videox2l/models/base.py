"""What the engine asks of a multimodal LLM; one adapter per family implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from videox2l.kv.cache import KVCache, KVShape
from videox2l.models.forward import Forward
from videox2l.types import KV, ChunkPlace, Frames, Positions, VideoOutline, VideoTokens


@dataclass(frozen=True)
class Turn:
    """One finished turn of a chat."""

    question: str
    answer: str


class MLLM(nn.Module, ABC):
    """A multimodal LLM driven step by step: frames to visual tokens, tokens through the decoder, states to logits.

    name: for display. fingerprint: hex digest of weights and configuration. max_positions: trained context, tokens.
    eos_ids: ids that end an answer. kv_shape: layers, KV heads and head size of the cache. model_type: of the family's
    config.json. frame_group: how many frames become visual tokens together; a chunk holds whole groups. chunk_frames:
    frames in a chunk, if the user does not say. compressor: the name of the compressor it is used with by default.
    positions: where that compressor's tokens stand by default, "original" if the positions tell the model the time.
    directory: where the checkpoint lies, if it was loaded from one.
    """

    name: str
    model_type: str
    fingerprint: str
    kv_shape: KVShape
    max_positions: int
    eos_ids: tuple[int, ...]
    tokenizer: PreTrainedTokenizerBase
    frame_group: int = 1
    chunk_frames: int = 10
    compressor: str = "keydiff"
    positions: Positions = "contiguous"
    directory: Path | None = None

    @classmethod
    def accepts(cls, config: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with this config.json is of the family; by default, whether its model_type is."""
        return config.get("model_type") == cls.model_type

    @classmethod
    @abstractmethod
    def from_directory(cls, directory: Path, device: torch.device, dtype: torch.dtype, name: str) -> MLLM:
        """Load a checkpoint directory. Raises: ModelError if it is incomplete, damaged, or not what is built here."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters, of the KVs and of the store."""
        return next(self.parameters()).dtype

    @abstractmethod
    def visual_tokens(self, frames: Frames, place: ChunkPlace) -> VideoTokens:
        """One chunk as it enters the decoder."""

    @abstractmethod
    def prompt_ids(self, video: VideoOutline) -> Tensor:
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
        """Rotate un-rotated queries or keys (..., n, d_h) to positions (n,), or (3, n) for M-RoPE."""

    @abstractmethod
    def run(self, embeddings: Tensor, forward: Forward) -> Tensor:
        """Run embeddings (n, hidden) as `forward` says; the states that `logits` takes, (n, hidden)."""

    @abstractmethod
    def logits(self, states: Tensor) -> Tensor:
        """fp32 logits (n, vocabulary) of states (n, hidden)."""

    def read(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Run text (n,) behind the cache at its next positions; states (n, hidden)."""
        return self.run(self.embed(ids), Forward.behind(cache, len(ids)))

    def prompt_kv(self, video: VideoOutline) -> KV:
        """Un-rotated KVs of the prompt before the video, at positions 0, 1, ..."""
        ids = self.prompt_ids(video)
        forward = Forward.behind(self.new_cache(len(ids)), len(ids), records_kv=True)
        self.run(self.embed(ids), forward)
        return replace(forward.kv(), positions=self.text_positions(forward.positions))

    def text_positions(self, positions: Tensor) -> Tensor:
        """Positions (n,) of text in the shape this model's KVs keep: (n,), or (3, n) for M-RoPE."""
        return positions

    def contiguous(self, positions: Tensor, before: Tensor) -> Tensor:
        """Re-number tokens to follow directly on others, as the model would number them had it seen no more.

        positions: those they were computed at, (n,) or (3, n). before: re-numbered ones of what stands before them.
        """
        start = int(before.max()) + 1
        return torch.arange(start, start + positions.shape[-1], device=positions.device)

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache on the model's device with room for so many tokens."""
        return KVCache(self.kv_shape, self.rotate, capacity, self.device, self.dtype)
