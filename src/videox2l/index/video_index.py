"""A video's index: everything asking needs, with KVs and tracks fetched from the store only when they are needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from videox2l.errors import SettingsError
from videox2l.index.format import ChunkEntry, read_keys, read_kv, read_tokens
from videox2l.index.spec import IndexSpec
from videox2l.levels import FRESH, Level, level_list, level_name
from videox2l.store.base import Store
from videox2l.times import clock
from videox2l.tracks.dual_encoder import DualEncoder
from videox2l.tracks.embeddings import Embeddings
from videox2l.tracks.subtitles import SubtitleTrack, read_subtitles
from videox2l.tracks.thumbnails import Thumbnails, ThumbnailStrip
from videox2l.tracks.track import read_track
from videox2l.types import KV, Chunk, VideoTokens


@dataclass(frozen=True, repr=False)
class VideoIndex:
    """An indexed video.

    spec: what made it, with the levels that may be read.
    key: under which the store keeps it; there may be further levels there.
    video_name: for display. duration_s: the video's length in seconds.
    prompt: KVs of what stands before the video; of no layer for a model whose KVs can't be re-used.
    entries: the chunks in temporal order.
    decoder_tokens: tokens the decoder runs for this video, by passes.
    notes: what the user should know of the video.
    store: where KVs and tracks are.
    reused: whether the index was found in the store complete.
    seconds: what indexing, or opening the stored index, took.
    prompt_tokens: what stands before the video as it enters the decoder, for a model whose KVs can't be re-used.
    subtitles: those that were found, in the order in which they are preferred; none by default.
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
    prompt_tokens: VideoTokens | None = None
    subtitles: tuple[SubtitleTrack, ...] = ()

    def __repr__(self) -> str:
        levels, chunks = level_list(self.levels), len(self.entries)
        return f"VideoIndex({self.video_name!r}, {clock(self.duration_s)}, {chunks} chunks, levels {levels})"

    @property
    def levels(self) -> tuple[Level, ...]:
        """What every chunk is kept as, finest first."""
        return self.spec.levels

    @property
    def ratios(self) -> tuple[int, ...]:
        """The levels that are KVs, finest first."""
        return self.spec.ratios

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks in temporal order."""
        return tuple(entry.chunk for entry in self.entries)

    def kv(self, chunk: int, level: int) -> KV:
        """One chunk's KVs at one ratio, from the store."""
        return read_kv(self.store.shelf(self.key), self.entries[chunk], level)

    def keys(self, chunk: int, level: int) -> Tensor:
        """One chunk's un-rotated keys at one level, (n_l, n_h, n, d_h), from the store; half the bytes of its KVs."""
        return read_keys(self.store.shelf(self.key), self.entries[chunk], level)

    def read(self, chunk: int, level: Level, frames: Collection[int] | None = None) -> KV | VideoTokens:
        """One chunk at one level, from the store: its KVs, or its tokens at FRESH.

        frames: of the chunk, the ones that are wanted, ascending; by default all.
        Raises: SettingsError for frames at a level that has no KVs of single frames.
        """
        shelf, entry = self.store.shelf(self.key), self.entries[chunk]
        part = read_tokens(shelf, entry) if level == FRESH else read_kv(shelf, entry, level)
        if frames is None:
            return part
        if level not in (FRESH, 1):
            raise SettingsError(
                f"single frames can't be read at {level_name(level)}, where KVs stand for several: index the video at "
                "level fresh or 1"
            )
        sizes = torch.tensor([frame.tokens for frame in entry.frames])
        is_wanted = torch.zeros(len(sizes), dtype=torch.bool).index_fill(0, torch.tensor(sorted(frames)).long(), True)
        return part.take(is_wanted.repeat_interleave(sizes).nonzero()[:, 0])

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

    def tokens(self, levels: tuple[Level, ...], frames: Mapping[int, Collection[int]] = MappingProxyType({})) -> int:
        """KVs per layer and head in a cache with these levels, the prompt included.

        frames: as in `Selection.chosen_frames`.
        """
        chosen = zip(self.entries, levels, strict=True)
        return len(self.prompt) + sum(e.tokens_at(level, frames.get(e.chunk.index)) for e, level in chosen)

    def ratio(self, level: Level) -> float | None:
        """The real compression ratio of the whole video at a level; None where nothing of it is left."""
        kept = self.tokens((level,) * len(self.entries)) - len(self.prompt)
        return (self.full_tokens - len(self.prompt)) / kept if kept else None

    def with_subtitles(self, file: str | Path) -> VideoIndex:
        """The same index with the subtitles of a file in place of those that were found; no KV is made anew.

        file: .srt, .vtt or .ass.
        Raises: SettingsError if it can't be read, or has no cue within the video.
        """
        source = read_subtitles(Path(file), self.duration_s)
        return replace(self, subtitles=source.tracks, notes=(*self.notes, *source.notes))

    @property
    def token_bytes(self) -> int:
        """Bytes that the keys and values of one token take in a cache."""
        keys = self.prompt.keys
        return 2 * keys.shape[0] * keys.shape[1] * keys.shape[3] * keys.element_size()

    @property
    def full_tokens(self) -> int:
        """KVs per layer and head in an uncompressed cache, the prompt included."""
        return len(self.prompt) + sum(entry.raw_tokens for entry in self.entries)
