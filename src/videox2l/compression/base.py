"""What a compressor is: settings that start a compression, which takes one video's chunks in temporal order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.levels import Level, kept_levels, ratios_of
from videox2l.models.base import MLLM
from videox2l.types import KV, Positions, VideoTokens

Passes = Literal["single_pass", "two_pass"]
"""How the levels are made: all of them in one pass over the video, or each in its own."""


@dataclass(frozen=True)
class Compressor(ABC):
    """Settings that every compressor has.

    levels: tuple of int or "fresh", default (2, 32). What every chunk is kept as, finest first: KVs at a compression
        ratio, of which 1 keeps every token's, and before them "fresh": the tokens as they enter the decoder, which are
        prefilled anew when they are read. A ratio is nominal: text among the visual tokens stays, and chunks do not
        always divide evenly. More levels cost storage; a finer first one makes chunks that are read in detail larger.
    Raises: SettingsError for levels that are not increasing positive numbers behind "fresh", or that have no number.
    """

    makes_kvs: ClassVar[bool] = True
    """Whether the decoder runs and KVs are kept."""

    levels: tuple[Level, ...] = (2, 32)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", kept_levels(self.levels))
        if not self.ratios and self.makes_kvs:
            raise SettingsError(
                f"{type(self).__name__} makes KVs, and level fresh alone has none: pass a ratio too, as in fresh,32, "
                "or the compressor fresh"
            )

    @property
    def ratios(self) -> tuple[int, ...]:
        """The levels that are KVs, finest first."""
        return ratios_of(self.levels)

    @property
    def passes(self) -> Passes:
        """How the levels are made."""
        return "single_pass"

    @property
    def positions(self) -> Positions:
        """Where chunks, their context and what is re-loaded stand: "contiguous" or "original"."""
        return "contiguous"

    @property
    def resumes(self) -> bool:
        """Whether a compression can go on from the KVs that an interrupted one left in the store."""
        return True

    def predicted_tokens(self, tokens: VideoTokens, ratio: int) -> int:
        """About how many KVs of a chunk a ratio keeps: the text, and one for so many visual tokens."""
        text = int(tokens.is_text.sum())
        return text + max(1, int((len(tokens) - text) / ratio + 0.5))

    @abstractmethod
    def start(self, model: MLLM, prompt: KV) -> Compression:
        """Begin a video whose prompt KVs are given. Raises: ModelError if the model can't be compressed so."""


class Compression(ABC):
    """One video under compression.

    `compress` and `restore` take its chunks in temporal order and leave the very same state.
    """

    settings: Compressor
    prompt: KV

    @abstractmethod
    def compress(self, tokens: VideoTokens, is_edge: bool) -> dict[int, KV]:
        """Run the next chunk; its KVs at every ratio, with the positions that its tokens have in the video.

        is_edge: whether it is the video's first or last chunk.
        """

    @abstractmethod
    def restore(self, kvs: Mapping[int, KV], is_text: Tensor, is_edge: bool) -> None:
        """Take a chunk that was compressed before as done, as if it had just been run.

        kvs: what `compress` gave. is_text: (n,), of the VideoTokens it was made from. is_edge: as it was then.
        """

    @abstractmethod
    def decoder_tokens(self, chunk_tokens: list[int]) -> dict[str, int]:
        """Tokens that the decoder runs for a whole video of chunks of so many tokens, by "single_pass", "two_pass"."""
