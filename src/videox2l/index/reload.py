"""Selective re-loading: the chosen level of every chunk, merged in temporal order into one KV cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType

import torch
from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.kv.cache import KVCache
from videox2l.levels import NOTHING, Level
from videox2l.models.base import MLLM
from videox2l.models.forward import Forward
from videox2l.types import KV, VideoTokens

ALL_FRAMES: Mapping[int, Collection[int]] = MappingProxyType({})


def load_cache(
    model: MLLM,
    index: VideoIndex,
    levels: tuple[Level, ...],
    room: int = 0,
    frames: Mapping[int, Collection[int]] = ALL_FRAMES,
    while_prefilling: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> KVCache:
    """One cache of the prompt and every chunk at its level, on the model's device.

    KVs are re-loaded; a chunk at FRESH is prefilled behind all that the cache holds by then; NOTHING leaves one out.
    An index with contiguous positions re-numbers the merged tokens to follow each other: 0, 1, ... (published), or for
    M-RoPE its time without gaps; one with original positions keeps those of the video.

    room: tokens to leave space for behind the video. frames: of chunks that are read only in part, as in
    `Selection.chosen_frames`. while_prefilling: a context for every prefill, to time it.
    """
    cache = model.new_cache(index.tokens(levels, frames) + room)
    put_prompt(model, cache, index)
    before = index.prompt.positions
    for chunk, level in enumerate(levels):
        if level == NOTHING:
            continue
        part = index.read(chunk, level, frames.get(chunk)).to(model.device, non_blocking=True)
        if not len(part):
            continue
        before = part.positions if index.spec.positions == "original" else model.contiguous(part.positions, before)
        with while_prefilling() if isinstance(part, VideoTokens) else nullcontext():
            put(model, cache, part, before)
    return cache


def load_chunk(model: MLLM, index: VideoIndex, chunk: int, level: Level, room: int = 0) -> KVCache:
    """One chunk at a level right behind the prompt, as if it were the whole video, on the model's device.

    room: tokens to leave space for behind the chunk.
    """
    part = index.read(chunk, level).to(model.device)
    cache = model.new_cache(len(index.prompt) + len(part) + room)
    put_prompt(model, cache, index)
    if len(part):
        put(model, cache, part, model.contiguous(part.positions, index.prompt.positions.to(model.device)))
    return cache


def put_prompt(model: MLLM, cache: KVCache, index: VideoIndex) -> None:
    """Add what stands before the video to an empty cache."""
    prompt = index.prompt if index.prompt_tokens is None else index.prompt_tokens
    put(model, cache, prompt, prompt.positions)


def put(model: MLLM, cache: KVCache, part: KV | VideoTokens, positions: Tensor) -> None:
    """Add KVs to a cache, or prefill tokens behind it, at these positions, (n,) or (3, n)."""
    if isinstance(part, KV):
        cache.append(part, positions)
    else:
        part, positions = part.to(model.device), positions.to(model.device)
        forward = Forward.behind(cache, len(part), positions=positions, deepstack=part.deepstack)
        model.run(part.embeddings, forward)


def chunk_spans(
    index: VideoIndex, levels: tuple[Level, ...], frames: Mapping[int, Collection[int]] = ALL_FRAMES
) -> list[slice]:
    """Where each chunk's KVs lie in the merged cache."""
    chosen = zip(index.entries, levels, strict=True)
    sizes = [entry.tokens_at(level, frames.get(entry.chunk.index)) for entry, level in chosen]
    ends = torch.tensor(sizes).cumsum(0) + len(index.prompt)
    return [slice(int(end) - size, int(end)) for end, size in zip(ends, sizes, strict=True)]
