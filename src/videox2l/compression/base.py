"""What a compressor is: settings that start a compression, which takes one video's chunks in temporal order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.models.base import MLLM
from videox2l.types import KV, VideoTokens


@dataclass(frozen=True)
class Compressor(ABC):
    """Settings that every compressor has.

    levels: compression ratios, finest first; 1 keeps every token's KVs.
    edge_ratio: the ratio of a video's first and last chunk at every level: "finest" (the finest level's), a number
        (published: 2, whatever the levels), or None for no exception.
    Raises: SettingsError for levels that are not increasing positive numbers.
    """

    levels: tuple[int, ...] = (2, 32)
    edge_ratio: int | Literal["finest"] | None = field(default="finest", kw_only=True)

    def __post_init__(self) -> None:
        if not self.levels or any(level < 1 for level in self.levels):
            raise SettingsError(f"levels {self.levels} are not compression ratios of 1 or more: pass for example 2,32")
        if any(fine >= coarse for fine, coarse in zip(self.levels, self.levels[1:], strict=False)):
            raise SettingsError(f"levels {self.levels} are not in increasing order: pass the finest first, as in 2,32")
        if isinstance(self.edge_ratio, int) and self.edge_ratio < 1:
            raise SettingsError(f"edge ratio {self.edge_ratio} is not 1 or more")

    def ratio(self, level: int, is_edge: bool) -> int:
        """The ratio a chunk really has at a level."""
        if not is_edge or self.edge_ratio is None:
            return level
        return self.levels[0] if self.edge_ratio == "finest" else self.edge_ratio

    @property
    def way(self) -> str:
        """How the levels are made: in a "single_pass" over the video, or in "two_pass"."""
        return "single_pass"

    @property
    def keeps_positions(self) -> bool:
        """Whether every level's KVs are computed at the same positions, so that these can be kept when asking."""
        return True

    @property
    def resumes(self) -> bool:
        """Whether a compression can go on from the KVs that an interrupted one left in the store."""
        return True

    @abstractmethod
    def start(self, model: MLLM, prompt: KV) -> Compression:
        """Begin a video whose prompt KVs are given. Raises: ModelError if the model can't be compressed so."""


class Compression(ABC):
    """One video under compression."""

    settings: Compressor
    prompt: KV

    @abstractmethod
    def compress(self, tokens: VideoTokens, is_edge: bool) -> dict[int, KV]:
        """Run the next chunk; its KVs at every level.

        is_edge: whether it is the video's first or last chunk.
        """

    @abstractmethod
    def restore(self, kvs: Mapping[int, KV], is_text: Tensor, is_edge: bool) -> None:
        """Take a chunk that was compressed before as done, as if it had just been run.

        is_text: of the VideoTokens it was made from.
        """

    @abstractmethod
    def decoder_tokens(self, chunk_tokens: list[int]) -> dict[str, int]:
        """Tokens the decoder runs for a whole video with such chunks, by the way of making the levels."""
