"""No KVs at all: an index of the chunks' tokens, which are prefilled anew whenever they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from videox2l.compression.base import Compression, Compressor
from videox2l.errors import SettingsError
from videox2l.levels import FRESH, Level
from videox2l.models.base import MLLM
from videox2l.types import KV, Positions, VideoTokens


@dataclass(frozen=True)
class Fresh(Compressor):
    """Keep every chunk as it enters the decoder, and nothing else; the decoder does not run while a video is indexed.

    levels: tuple, ("fresh",), which it can't be without and has no other.
    positions: "contiguous" (default) or "original". Where the chunks that are read stand: numbered as if the model had
        seen no others, or as in the whole video, as a model needs whose positions tell time.
    Raises: SettingsError for other levels, and for positions not named here.
    """

    makes_kvs: ClassVar[bool] = False

    levels: tuple[Level, ...] = (FRESH,)
    positions: Positions = "contiguous"  # type: ignore[assignment]  # a property of compressors without a choice

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels != (FRESH,):
            raise SettingsError(
                f"the compressor fresh keeps no KVs at {self.ratios[0]}x: pass another one, or no level"
            )
        if self.positions not in ("contiguous", "original"):
            raise SettingsError(f"positions {self.positions!r} are unknown: pass contiguous or original")

    def start(self, model: MLLM, prompt: KV) -> FreshCompression:
        """Begin a video whose prompt KVs are given."""
        return FreshCompression(self, prompt)


class FreshCompression(Compression):
    """One video that is not compressed."""

    def __init__(self, settings: Fresh, prompt: KV):
        self.settings, self.prompt = settings, prompt

    def compress(self, tokens: VideoTokens, is_edge: bool) -> dict[int, KV]:
        """No KVs."""
        return {}

    def restore(self, kvs: Mapping[int, KV], is_text: Tensor, is_edge: bool) -> None:
        """Nothing depends on earlier chunks."""

    def decoder_tokens(self, chunk_tokens: list[int]) -> dict[str, int]:
        """None."""
        return {"single_pass": 0}
