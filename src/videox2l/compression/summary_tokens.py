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

from videox2l.compression.base import Compression, Compressor, Passes
from videox2l.compression.context import Context, check_context_tokens
from videox2l.errors import ModelError, SettingsError
from videox2l.models.base import MLLM
from videox2l.models.video_xl.adapter import VideoXL
from videox2l.models.video_xl.window import Window, summary_ends
from videox2l.types import KV, VideoTokens


@dataclass(frozen=True)
class SummaryTokens(Compressor):
    """Settings of the compression by summary tokens.

    levels: tuple of int, default (2, 32). Raw tokens for each summary token, finest first; 1 keeps the raw tokens' own
        KVs. Video-XL was trained at 2, 4 and 8 and is published at 2 and 32.
    passes: "single_pass" (default) or "two_pass", see above. Two passes take about 1.65 times the time and give the
        published numbers.
    context_tokens: int or None, tokens; default None, what the model's trained context leaves beside a chunk. The
        prompt and the summaries that a chunk sees at most; beyond it the oldest chunks' leave. A smaller number bounds
        the accelerator's memory further.
    edge_ratio: int or None, default 2, of "two_pass" only. The ratio of a video's first and last chunk in every pass,
        whatever its level; published: 2, on which the memory of the coarse pass depends. None: no exception.
    Raises: SettingsError for levels that are not increasing positive numbers, and for values not named here.
    """

    passes: Passes = "single_pass"
    context_tokens: int | None = None
    edge_ratio: int | None = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passes not in ("single_pass", "two_pass"):
            raise SettingsError(f"passes {self.passes!r} is unknown: pass single_pass or two_pass")
        check_context_tokens(self.context_tokens)
        if self.edge_ratio is not None and self.edge_ratio < 1:
            raise SettingsError(f"edge_ratio={self.edge_ratio} is not a compression ratio: pass 1 or more, or None")

    def start(self, model: MLLM, prompt: KV) -> SummaryCompression:
        """Begin a video whose prompt KVs are given."""
        if not isinstance(model, VideoXL):
            raise ModelError(f"{model.name} has no visual summary tokens: it can't be compressed by them")
        return SummaryCompression(self, model, prompt)

    @property
    def level_passes(self) -> tuple[tuple[int, ...], ...]:
        """The levels that each pass over the video produces, the one whose memory it reads first."""
        return (self.ratios,) if self.passes == "single_pass" else tuple((level,) for level in self.ratios)

    def ratio(self, level: int, is_edge: bool) -> int:
        """Raw tokens for each summary of a chunk at a level."""
        if is_edge and self.passes == "two_pass" and self.edge_ratio is not None:
            return self.edge_ratio
        return level


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
        """Tokens that the decoder runs for a whole video of chunks of so many tokens, in one pass and in two."""
        layout = self.model.config.beacon_layout
        both: tuple[Passes, ...] = ("single_pass", "two_pass")
        return {passes: decoder_tokens(replace(self.settings, passes=passes), layout, chunk_tokens) for passes in both}

    def _next_windows(self, raw_tokens: int, is_edge: bool) -> list[tuple[tuple[int, ...], Window]]:
        """Every pass's levels and the window it runs next; makes room for that and counts its remainders."""
        layout = self.model.config.beacon_layout
        windows = []
        for levels in self.settings.level_passes:
            ends: dict[int, tuple[int, ...]] = {}
            for level in levels:
                ratio = self.settings.ratio(level, is_edge)
                ends[ratio] = self.remainders.ends(level, ratio, raw_tokens, layout)
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
            for level in levels:
                total += len(remainders.ends(level, settings.ratio(level, is_edge), raw_tokens, layout))
    return total
