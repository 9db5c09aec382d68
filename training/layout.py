"""How the chunks of a training video are laid out: [raw tokens of all chunks | summary tokens of all chunks]."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from videox2l.models.video_xl.window import Window, summary_ends

CHUNK_TOKENS = 40
"""Visual tokens of a chunk: ten frames of four."""


@lru_cache
def window(ratio: int, extra: tuple[int, ...] = ()) -> Window:
    """The layout of a chunk in a pass of one ratio, with extra ratios behind it."""
    ends = {r: tuple(summary_ends(CHUNK_TOKENS, r, 0, "even")[0]) for r in (ratio, *extra)}
    return Window(CHUNK_TOKENS, ratio, ends[ratio], {r: ends[r] for r in extra})


@lru_cache(maxsize=1024)
def window_mask(ratio: int, extra: tuple[int, ...], memory: int) -> Tensor:
    """What each of a chunk's tokens, ordered [raw | summaries | extra summaries], sees of [memory | the same]."""
    layout = window(ratio, extra)
    main = layout.main_tokens
    mask = torch.ones(main + layout.extra_tokens, main + layout.extra_tokens, dtype=torch.bool).tril()
    mask[main:] = layout.extra_mask
    order = torch.cat([layout.raw_offsets, layout.summary_offsets, torch.arange(main, len(mask))])
    return torch.cat([torch.ones(len(mask), memory, dtype=torch.bool), mask[order][:, order]], dim=1)


@lru_cache
def span_means(ends: tuple[int, ...]) -> Tensor:
    """The matrix (summaries, 40) that averages, for each summary token, the raw tokens since the one before."""
    means = torch.zeros(len(ends), CHUNK_TOKENS)
    for row, (start, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
        means[row, start:end] = 1 / (end - start)
    return means


class Placement:
    """Where the tokens [raw of all chunks | summaries of all chunks] stand, by chunk, in memory and in time.

    windows: the layout of every chunk. prompt_tokens: how many tokens stand before the first.
    """

    def __init__(self, windows: Sequence[Window], prompt_tokens: int):
        self.windows = windows
        self.raw_tokens = CHUNK_TOKENS * len(windows)
        self.keeps_raw = windows[0].ratio == 1
        self.raw, self.summaries, self.memory_tokens, self.kept_slices = [], [], [], []
        raw_positions, summary_positions, main = [], [], []
        past, at, kept = prompt_tokens, self.raw_tokens, prompt_tokens
        for chunk, layout in enumerate(windows):
            total = len(layout.ends) + layout.extra_tokens
            self.raw.append(slice(CHUNK_TOKENS * chunk, CHUNK_TOKENS * (chunk + 1)))
            self.summaries.append(slice(at, at + total))
            self.memory_tokens.append(past)
            raw_positions.append(past + layout.positions[layout.raw_offsets])
            order = torch.cat([layout.summary_offsets, torch.arange(layout.main_tokens, len(layout.positions))])
            summary_positions.append(past + layout.positions[order])
            main.append(
                torch.arange(self.raw[-1].start, self.raw[-1].stop)
                if self.keeps_raw
                else torch.arange(at, at + len(layout.ends))
            )
            slices = {}
            for ratio, size in (
                (layout.ratio, len(main[-1])),
                *((r, len(ends)) for r, ends in layout.extra.items()),
            ):
                slices[ratio] = slice(kept, kept + size)
                kept += size
            self.kept_slices.append(slices)
            past += len(main[-1])
            at += total
        self.positions = torch.cat(raw_positions + summary_positions)
        self.main = torch.cat(main)
        self.kept = slice(0, self.raw_tokens) if self.keeps_raw else slice(self.raw_tokens, at)
