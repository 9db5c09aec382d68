"""A video's index: everything asking needs, with KVs and tracks fetched from the store only when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from videox2l.index.format import ChunkEntry, read_keys, read_kv
from videox2l.index.spec import IndexSpec
from videox2l.store.base import Store
from videox2l.times import clock
from videox2l.tracks.dual_encoder import DualEncoder
from videox2l.tracks.embeddings import Embeddings
from videox2l.tracks.thumbnails import Thumbnails, ThumbnailStrip
from videox2l.tracks.track import read_track
from videox2l.types import KV, Chunk


@dataclass(frozen=True, repr=False)
class VideoIndex:
    """An indexed video.

    spec: what made it, with the levels that may be read.
    key: under which the store keeps it; there may be further levels there.
    video_name: for display. duration_s: the video's length in seconds.
    prompt: KVs of what stands before the video.
    entries: the chunks in temporal order.
    decoder_tokens: tokens the decoder runs for this video, by passes.
    notes: what the user should know of the video.
    store: where KVs and tracks are.
    reused: whether the index was found in the store complete.
    seconds: what indexing, or opening the stored index, took.
    """

    spec: IndexSpec
    key: str
    video_name: str
    duration_s: float
    prompt: KV
    entries: tuple[ChunkEntry, ...]
    decoder_tokens: Mapping[str, int]
    notes: tuple[str, ...]
    store: Store
    reused: bool
    seconds: float

    def __repr__(self) -> str:
        levels = ",".join(map(str, self.levels))
        return f"VideoIndex({self.video_name!r}, {clock(self.duration_s)}, {len(self.entries)} chunks, levels {levels})"

    @property
    def levels(self) -> tuple[int, ...]:
        """Nominal compression ratios, finest first."""
        return self.spec.levels

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks in temporal order."""
        return tuple(entry.chunk for entry in self.entries)

    def kv(self, chunk: int, level: int) -> KV:
        """One chunk's KVs at one level, from the store."""
        return read_kv(self.store.shelf(self.key), self.entries[chunk], level)

    def keys(self, chunk: int, level: int) -> Tensor:
        """One chunk's un-rotated keys at one level, (n_l, n_h, n, d_h), from the store; half the bytes of its KVs."""
        return read_keys(self.store.shelf(self.key), self.entries[chunk], level)

    def embeddings(self, encoder: DualEncoder) -> tuple[Tensor, Tensor]:
        """A dual encoder's embeddings of the video, normalised (n, d), and their frames' times in seconds, (n,).

        Raises: StoreError if the index was made without this encoder.
        """
        embeddings, time_s = read_track(self.store, Embeddings(encoder), self.spec.video)
        return embeddings, time_s

    @cached_property
    def thumbnails(self) -> ThumbnailStrip:
        """A small picture of every sampled frame."""
        return ThumbnailStrip(*read_track(self.store, Thumbnails(), self.spec.video))

    def tokens(self, levels: tuple[int, ...]) -> int:
        """KVs per layer and head in a cache with these levels, the prompt included."""
        return len(self.prompt) + sum(e.tokens[level] for e, level in zip(self.entries, levels, strict=True))

    @property
    def full_tokens(self) -> int:
        """KVs per layer and head in an uncompressed cache, the prompt included."""
        return len(self.prompt) + sum(entry.raw_tokens for entry in self.entries)
