"""Compression by the model's own visual summary tokens (Video-XL), at several levels, in one pass or in several.

two_pass is Video-X2L as published (arXiv 2506.21184): each level runs the video by itself and reads its own memory.
single_pass runs the raw tokens once, with the finest level's summaries exactly as that level's own pass; every other
level's summaries read the same raw tokens and the finest level's memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from videox2l.compression.base import Compression, Compressor
from videox2l.compression.context import Context
from videox2l.errors import ModelError, SettingsError
from videox2l.models.base import MLLM
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.models.video_xl.window import Window, summary_ends
from videox2l.types import KV, VideoTokens


@dataclass(frozen=True)
class SummaryTokens(Compressor):
    """Settings of the compression by summary tokens.

    levels, edge_ratio: as for every compressor.
    passes: how the levels are produced, see above.
    context_tokens: how many tokens of memory a chunk sees; beyond it the oldest summaries leave, the prompt stays.
        None is the model's trained context. It bounds memory whatever the video's length.
    """

    passes: Literal["single_pass", "two_pass"] = "single_pass"
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passes not in ("single_pass", "two_pass"):
            raise SettingsError(f"passes {self.passes!r} is unknown: pass single_pass or two_pass")

    def start(self, model: MLLM, prompt: KV) -> SummaryCompression:
        """Begin a video whose prompt KVs are given."""
        if not isinstance(model, VideoXL):
            raise ModelError(f"{model.name} has no visual summary tokens: it can't be compressed by them")
        return SummaryCompression(self, model, prompt)

    @property
    def level_passes(self) -> tuple[tuple[int, ...], ...]:
        """The levels that each pass over the video produces, the one whose memory it reads first."""
        return (self.levels,) if self.passes == "single_pass" else tuple((level,) for level in self.levels)

    @property
    def way(self) -> str:
        """One pass, or one for each level."""
        return self.passes

    @property
    def keeps_positions(self) -> bool:
        """Each of several passes has positions of its own."""
        return len(self.level_passes) == 1


@dataclass
class Remainders:
    """Raw tokens since each level's last summary; a level starts at 0 again when its ratio changes."""

    counts: dict[int, tuple[int, int]] = field(default_factory=dict)

    def ends(self, level: int, ratio: int, raw_tokens: int, layout: Literal["carry", "even"]) -> tuple[int, ...]:
        """After how many raw tokens the level's next summaries stand; counts the window as done."""
        last_ratio, carried = self.counts.get(level, (ratio, 0))
        ends, carried = summary_ends(raw_tokens, ratio, carried if last_ratio == ratio else 0, layout)
        self.counts[level] = (ratio, carried)
        return tuple(ends)


class SummaryCompression(Compression):
    """One video under compression: what each pass sees, by the level whose summaries that is."""

    settings: SummaryTokens

    def __init__(self, settings: SummaryTokens, model: VideoXL, prompt: KV):
        self.settings, self.model, self.prompt = settings, model, prompt
        max_tokens = settings.context_tokens or model.max_positions
        self.contexts = {levels[0]: Context(model, prompt, max_tokens=max_tokens) for levels in settings.level_passes}
        self.remainders = Remainders()

    def compress(self, tokens: VideoTokens, is_edge: bool) -> dict[int, KV]:
        """Run the next chunk with its summary tokens; the KVs of these at every level."""
        kvs: dict[int, KV] = {}
        for levels, window in self._next_windows(len(tokens), is_edge):
            compressed = self.model.compress(tokens.embeddings, window, self.contexts[levels[0]].cache)
            for level in levels:
                ratio = self.settings.ratio(level, is_edge)
                kvs[level] = replace(compressed[ratio], positions=tokens.positions[last_raw_tokens(window, ratio)])
        self._remember(kvs)
        return kvs

    def restore(self, kvs: Mapping[int, KV], is_text: Tensor, is_edge: bool) -> None:
        """Take a chunk that was compressed before as done, as if it had just been run."""
        self._next_windows(len(is_text), is_edge)
        self._remember(kvs)

    def decoder_tokens(self, chunk_tokens: list[int]) -> dict[str, int]:
        """Tokens the decoder runs for a whole video with such chunks, in either way of making the levels."""
        layout = self.model.config.beacon_layout
        ways: tuple[Literal["single_pass", "two_pass"], ...] = ("single_pass", "two_pass")
        return {way: decoder_tokens(replace(self.settings, passes=way), layout, chunk_tokens) for way in ways}

    def _next_windows(self, raw_tokens: int, is_edge: bool) -> list[tuple[tuple[int, ...], Window]]:
        """Every pass's levels and the window it runs next; makes room for that and counts its remainders."""
        layout = self.model.config.beacon_layout
        windows = []
        for levels in self.settings.level_passes:
            ends: dict[int, tuple[int, ...]] = {}
            for level in levels:
                ratio = self.settings.ratio(level, is_edge)
                level_ends = self.remainders.ends(level, ratio, raw_tokens, layout)
                ends.setdefault(ratio, level_ends)
            (main_ratio, main_ends), *extra = ends.items()
            window = Window(raw_tokens, main_ratio, main_ends, dict(extra))
            self.contexts[levels[0]].make_room(window.main_tokens)
            windows.append((levels, window))
        return windows

    def _remember(self, kvs: Mapping[int, KV]) -> None:
        for level, context in self.contexts.items():
            context.append(kvs[level])


def last_raw_tokens(window: Window, ratio: int) -> Tensor:
    """For each KV of a ratio the raw token it is of, or the last one it summarises, (KVs,)."""
    if ratio == 1:
        return torch.arange(window.raw_tokens)
    ends = window.ends if ratio == window.ratio else window.extra[ratio]
    return torch.tensor(ends, dtype=torch.long) - 1


def decoder_tokens(settings: SummaryTokens, layout: Literal["carry", "even"], chunk_tokens: list[int]) -> int:
    """Tokens the decoder runs for a video whose chunks have so many visual tokens, prompt left out."""
    remainders, total = Remainders(), 0
    for index, raw_tokens in enumerate(chunk_tokens):
        is_edge = index in (0, len(chunk_tokens) - 1)
        for levels in settings.level_passes:
            total += raw_tokens
            seen: set[int] = set()
            for level in levels:
                ratio = settings.ratio(level, is_edge)
                ends = remainders.ends(level, ratio, raw_tokens, layout)
                total += len(ends) if ratio not in seen else 0
                seen.add(ratio)
    return total
