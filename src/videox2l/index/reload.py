"""Selective re-loading: the chosen level of every chunk, merged in temporal order into one KV cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import takewhile
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

ROOM_STEP = 128
"""A cache that may serve again has room for a multiple of so many tokens, since questions differ in length."""

ChunkPart = tuple[Level, tuple[int, ...] | None]
"""What is read of a chunk: its level, and the frames if not all are read."""


class MergedCache:
    """A cache in which chunks are merged behind the prompt, in temporal order.

    key: of their index. cache: what is decoded from. chunks: what was read of the chunks that are in it, so far.
    """

    def __init__(self, model: MLLM, index: VideoIndex, capacity: int):
        self.key, self.cache = index.key, model.new_cache(capacity)
        self.chunks: list[ChunkPart] = []
        self._before = index.prompt.positions
        put_prompt(model, self.cache, index)
        self._ends = [self._end()]

    def append(
        self,
        model: MLLM,
        index: VideoIndex,
        chunk: ChunkPart,
        while_prefilling: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Add the next chunk, or as much of it as is read."""
        level, frames = chunk
        if level != NOTHING:
            part = index.read(len(self.chunks), level, frames).to(model.device, non_blocking=True)
            if len(part):
                is_original = index.spec.positions == "original"
                self._before = part.positions if is_original else model.contiguous(part.positions, self._before)
                with while_prefilling() if isinstance(part, VideoTokens) else nullcontext():
                    put(model, self.cache, part, self._before)
        self.chunks.append(chunk)
        self._ends.append(self._end())

    def cut(self, chunks: list[ChunkPart]) -> None:
        """Forget all behind the chunks that were read as these are."""
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(self.chunks, chunks, strict=True))))
        del self.chunks[same:], self._ends[same + 1 :]
        length, next_position, self._before = self._ends[-1]
        self.cache.cut(length, next_position)

    def _end(self) -> tuple[int, int, Tensor]:
        """Tokens so far, the position that follows, and the positions of the last ones that were added."""
        return self.cache.length, self.cache.next_position, self._before


class LastCache:
    """The merged cache of the last answer, for a question about the same video that reads the first chunks alike.

    most: how many are kept: 1, or 0 to keep none.
    """

    def __init__(self, most: int = 1):
        self._kept: deque[MergedCache] = deque(maxlen=most)

    def keep(self, merged: MergedCache) -> None:
        """Keep a cache that nobody decodes from any more, instead of the one before."""
        self._kept.append(merged)

    def take(self, index: VideoIndex, tokens: int, device: torch.device) -> MergedCache | None:
        """The kept cache if it serves; none is kept after that.

        tokens: that are to find room in it, without leaving more than as much again unused.
        """
        try:
            merged = self._kept.pop()
        except IndexError:
            return None
        serves = merged.key == index.key and merged.cache.keys.device == device
        return merged if serves and tokens <= merged.cache.capacity <= 2 * tokens else None


def merge(
    model: MLLM,
    index: VideoIndex,
    levels: tuple[Level, ...],
    room: int = 0,
    frames: Mapping[int, Collection[int]] = ALL_FRAMES,
    while_prefilling: Callable[[], AbstractContextManager[None]] = nullcontext,
    last: LastCache | None = None,
) -> MergedCache:
    """The prompt and every chunk at its level in one cache, on the model's device.

    KVs are re-loaded; a chunk at FRESH is prefilled behind all that the cache holds by then; NOTHING leaves one out.
    An index with contiguous positions re-numbers the merged tokens to follow each other: 0, 1, ... (published), or for
    M-RoPE its time without gaps; one with original positions keeps those of the video.

    room: tokens to leave space for behind the video. frames: of chunks that are read only in part, as in
    `Selection.chosen_frames`. while_prefilling: a context for every prefill, to time it. last: the last answer's cache,
    to go on from what is the same; by default everything is loaded.
    """
    chunks: list[ChunkPart] = [
        (level, tuple(frames[chunk]) if chunk in frames else None) for chunk, level in enumerate(levels)
    ]
    tokens = index.tokens(levels, frames) + room
    merged = None if last is None else last.take(index, tokens, model.device)
    if merged is None:
        merged = MergedCache(model, index, tokens if last is None else -(-tokens // ROOM_STEP) * ROOM_STEP)
    else:
        merged.cut(chunks)
    for chunk in chunks[len(merged.chunks) :]:
        merged.append(model, index, chunk, while_prefilling)
    return merged


def load_cache(
    model: MLLM,
    index: VideoIndex,
    levels: tuple[Level, ...],
    room: int = 0,
    frames: Mapping[int, Collection[int]] = ALL_FRAMES,
    while_prefilling: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> KVCache:
    """The cache of `merge`, whose arguments these are."""
    return merge(model, index, levels, room, frames, while_prefilling).cache


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
