"""Selective re-loading: the chosen level of every chunk, merged in temporal order into one KV cache."""

from __future__ import annotations

import torch

from videox2l.index.video_index import VideoIndex
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM
from videox2l.types import Positions


def load_cache(
    model: MLLM,
    index: VideoIndex,
    levels: tuple[int, ...],
    positions: Positions = "contiguous",
    room: int = 0,
) -> KVCache:
    """One cache of the prompt and every chunk at its level, on the model's device.

    positions: those of the compressor that made the index. "contiguous" (published) re-numbers the merged KVs,
        "original" leaves them where the whole video has them.
    room: tokens to leave space for behind the video.
    """
    cache = model.new_cache(index.tokens(levels) + room)
    cache.append(index.prompt)
    before = index.prompt.positions
    for entry, level in zip(index.entries, levels, strict=True):
        kv = index.kv(entry.chunk.index, level).to(model.device, non_blocking=True)
        if len(kv):
            before = kv.positions if positions == "original" else model.contiguous(kv.positions, before)
            cache.append(kv, before)
    return cache


def load_chunk(model: MLLM, index: VideoIndex, chunk: int, level: int, room: int = 0) -> KVCache:
    """One chunk at a level right behind the prompt, as if it were the whole video, on the model's device.

    room: tokens to leave space for behind the chunk.
    """
    kv = index.kv(chunk, level).to(model.device)
    cache = model.new_cache(len(index.prompt) + len(kv) + room)
    cache.append(index.prompt)
    if len(kv):
        cache.append(kv, model.contiguous(kv.positions, index.prompt.positions.to(model.device)))
    return cache


def chunk_spans(index: VideoIndex, levels: tuple[int, ...]) -> list[slice]:
    """Where each chunk's KVs lie in the merged cache."""
    sizes = [entry.tokens[level] for entry, level in zip(index.entries, levels, strict=True)]
    ends = torch.tensor(sizes).cumsum(0) + len(index.prompt)
    return [slice(int(end) - size, int(end)) for end, size in zip(ends, sizes, strict=True)]
