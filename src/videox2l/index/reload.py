"""Selective re-loading: the chosen level of every chunk, merged in temporal order into one KV cache."""

from __future__ import annotations

from collections import deque
from itertools import takewhile

import torch
from torch import Tensor

from videox2l.index.video_index import VideoIndex
from videox2l.kv.cache import KVCache
from videox2l.models.base import MLLM

ROOM_STEP = 128
"""A cache that may serve again has room for a multiple of so many tokens, since questions differ in length."""


class MergedCache:
    """A cache in which chunks are merged behind the prompt, in temporal order.

    key: of their index. cache: the KVs. levels: of the chunks that are in it, so far.
    """

    def __init__(self, model: MLLM, index: VideoIndex, capacity: int):
        self.key, self.cache = index.key, model.new_cache(capacity)
        self.levels: list[int] = []
        self._before = index.prompt.positions
        self.cache.append(index.prompt)
        self._ends = [self._end()]

    def append(self, model: MLLM, index: VideoIndex, level: int) -> None:
        """Add the next chunk at a level."""
        kv = index.kv(len(self.levels), level).to(model.device, non_blocking=True)
        if len(kv):
            is_original = index.spec.positions == "original"
            self._before = kv.positions if is_original else model.contiguous(kv.positions, self._before)
            self.cache.append(kv, self._before)
        self.levels.append(level)
        self._ends.append(self._end())

    def cut(self, levels: tuple[int, ...]) -> None:
        """Forget all behind the first chunk whose level is not the one it has here."""
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(self.levels, levels, strict=True))))
        del self.levels[same:], self._ends[same + 1 :]
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
    model: MLLM, index: VideoIndex, levels: tuple[int, ...], room: int = 0, last: LastCache | None = None
) -> MergedCache:
    """The prompt and every chunk at its level in one cache, on the model's device.

    An index with contiguous positions re-numbers the merged KVs to follow each other: 0, 1, ... (published), or for
    M-RoPE its time without gaps; one with original positions keeps those of the video.

    room: tokens to leave space for behind the video. last: the last answer's cache, to go on from what is the same.
    """
    tokens = index.tokens(levels) + room
    merged = None if last is None else last.take(index, tokens, model.device)
    if merged is None:
        merged = MergedCache(model, index, tokens if last is None else -(-tokens // ROOM_STEP) * ROOM_STEP)
    else:
        merged.cut(levels)
    for level in levels[len(merged.levels) :]:
        merged.append(model, index, level)
    return merged


def load_cache(model: MLLM, index: VideoIndex, levels: tuple[int, ...], room: int = 0) -> KVCache:
    """The cache of `merge`."""
    return merge(model, index, levels, room).cache


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
