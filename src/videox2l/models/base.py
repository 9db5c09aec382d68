"""What the engine asks of a multimodal LLM; one adapter per family implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from videox2l.errors import SettingsError
from videox2l.kv.cache import KVCache, KVShape
from videox2l.models.forward import Forward
from videox2l.types import KV, ChunkPlace, Frames, Positions, VideoOutline, VideoTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Turn:
    """One finished turn of a chat."""

    question: str
    answer: str


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen from the logits.

    temperature, top_k, top_p, repetition_penalty: as in `Generation`.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0


DEFAULT_FRAME_TOKENS = 256
"""Visual tokens of the frames that are encoded together, at most, if the user does not say."""


@dataclass(frozen=True)
class FrameLimits:
    """How large frames are when they enter the vision encoder of a family that resizes them (Qwen's).

    max_pixels: pixels of a frame; larger ones are made smaller. None is the pixels of 256 visual tokens, or the
        checkpoint's own limit where that is less: an hour of 1080p at a frame a second is then about 450,000 tokens
        with Qwen2.5-VL, whose own limit makes it 4.8 million. 0 is the checkpoint's own limit.
    min_pixels: pixels of a frame; smaller ones are made larger. None is the checkpoint's own limit.
    Raises: SettingsError for limits that no frame can keep.
    """

    max_pixels: int | None = None
    min_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.max_pixels is not None and self.max_pixels < 0:
            raise SettingsError(f"max_pixels={self.max_pixels} is negative: pass 0 for the checkpoint's own limit")
        if self.min_pixels is not None and self.min_pixels < 1:
            raise SettingsError(f"min_pixels={self.min_pixels} is not a number of pixels: pass 1 or more")
        if self.max_pixels and self.min_pixels and self.max_pixels < self.min_pixels:
            raise SettingsError(f"max_pixels={self.max_pixels} is less than min_pixels={self.min_pixels}: swap them")

    def check_family(self, adapter: type[MLLM]) -> None:
        """Raises: SettingsError if an adapter's frames have a fixed size, which limits do not change."""
        if not adapter.resizes_frames:
            raise SettingsError(
                f"{adapter.model_type} models take frames of a fixed size: leave the limit of pixels out"
            )


class MLLM(nn.Module, ABC):
    """A multimodal LLM driven step by step: frames to visual tokens, tokens through the decoder, states to logits.

    name: for display.
    model_type: the family's, in config.json.
    fingerprint: hex digest of all that KVs depend on: weights, configuration, tokenizer, the size of frames.
    kv_shape: layers, KV heads and head size of the cache.
    max_positions: the context it was trained for, in tokens.
    eos_ids: the ids that end an answer.
    tokenizer: its own.
    frame_group: how many frames become visual tokens together; a chunk holds full groups.
    resizes_frames: whether frames have no fixed size, so that FrameLimits mean something.
    chunk_frames: frames in a chunk, if the user does not say.
    compressor: the name of the compressor it is used with, if the user does not say.
    oracle: the name of the oracle that scores chunks where there is no encoder, if the user does not say.
    reuses_kvs: whether a chunk's KVs can stand behind others than those they were computed behind. A model with
        recurrent layers has none that can: its chunks are prefilled anew, or left out.
    positions: where that compressor's tokens stand by default, "original" if the positions tell the model the time.
    directory: where the checkpoint lies, if it was loaded from one.
    decoding: the checkpoint's own, from its generation_config.json, for what `Generation` leaves to it.
    trained_on_conversations: whether earlier turns may stand in its context; its generation_config.json says so if not.
    """

    name: str
    model_type: str
    fingerprint: str
    kv_shape: KVShape
    max_positions: int
    eos_ids: tuple[int, ...]
    tokenizer: PreTrainedTokenizerBase
    frame_group: int = 1
    resizes_frames: ClassVar[bool] = False
    chunk_frames: int = 10
    compressor: str = "keydiff"
    oracle: str = "cascade"
    reuses_kvs: ClassVar[bool] = True
    positions: Positions = "contiguous"
    directory: Path | None = None
    decoding: Decoding = Decoding()
    trained_on_conversations: bool = True

    @classmethod
    def accepts(cls, config: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with this config.json is of the family; by default, whether its model_type is."""
        return config.get("model_type") == cls.model_type

    @classmethod
    @abstractmethod
    def from_directory(cls, directory: Path, device: torch.device, dtype: torch.dtype, name: str) -> Self:
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

    @torch.no_grad()
    def tokens_per_frame(self, height: int, width: int, frames: int) -> float:
        """Visual tokens that a frame of this size costs before compression, in a video of so many sampled frames."""
        group = self.frame_group
        blank = Frames(torch.zeros(group, 3, height, width, dtype=torch.uint8), torch.arange(group).double())
        place = ChunkPlace(VideoOutline(frames, float(frames)), 0, 0, is_last=False)
        return len(self.visual_tokens(blank, place).visual) / group

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
        """Un-rotated KVs of the prompt before the video, at positions 0, 1, ...; of no layer if none can be re-used."""
        ids = self.prompt_ids(video)
        if not self.reuses_kvs:
            none = torch.empty(0, 0, len(ids), 0)
            return KV(none, none.clone(), self.text_positions(torch.arange(len(ids))))
        forward = Forward.behind(self.new_cache(len(ids)), len(ids), records_kv=True)
        self.run(self.embed(ids), forward)
        return replace(forward.kv(), positions=self.text_positions(forward.positions))

    def prompt_tokens(self, video: VideoOutline) -> VideoTokens:
        """The prompt before the video as it enters the decoder, at positions 0, 1, ..."""
        embeddings = self.embed(self.prompt_ids(video))
        positions = torch.arange(len(embeddings), device=embeddings.device)
        return VideoTokens.of_text(embeddings, self.text_positions(positions))

    def text_positions(self, positions: Tensor) -> Tensor:
        """Positions (n,) of text in the shape this model's KVs keep: (n,), or (3, n) for M-RoPE."""
        return positions

    def contiguous(self, positions: Tensor, before: Tensor) -> Tensor:
        """Re-number tokens to follow directly on others, as if nothing had stood between them.

        positions: those they were computed at, (n,) or (3, n).
        before: the re-numbered positions of what now stands before them.
        """
        start = int(before.max()) + 1
        return torch.arange(start, start + positions.shape[-1], device=positions.device)

    def new_cache(self, capacity: int) -> KVCache:
        """An empty cache on the model's device with room for so many tokens."""
        return KVCache(self.kv_shape, self.rotate, capacity, self.device, self.dtype)
