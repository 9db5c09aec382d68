"""Index a video: chunk after chunk through the model, every level to the store; resumes where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from videox2l.compression.base import Compressor
from videox2l.errors import SettingsError
from videox2l.index.format import (
    ChunkEntry,
    ChunkRecord,
    FrameEntry,
    Manifest,
    read_is_text,
    read_kv,
    read_prompt,
    read_prompt_tokens,
    read_record,
    shared_levels,
    write_chunk,
    write_prompt,
)
from videox2l.index.spec import IndexSpec
from videox2l.index.video_index import VideoIndex
from videox2l.levels import FRESH, Level
from videox2l.models.base import MLLM
from videox2l.store.base import Store
from videox2l.tracks.track import Track, TrackBuilder, make_track
from videox2l.types import Chunk, ChunkKVs, ChunkPlace, Frames, VideoOutline, VideoTokens
from videox2l.video import Reading, Video


@dataclass(frozen=True)
class IndexProgress:
    """How far indexing is.

    frames, total_frames: sampled ones. chunks: those in the store. tokens: theirs before compression.
    """

    frames: int
    total_frames: int
    chunks: int
    tokens: int


def index_video(
    video: Video,
    spec: IndexSpec,
    store: Store,
    model: MLLM,
    compressor: Compressor,
    tracks: Sequence[Track] = (),
    progress: Callable[[IndexProgress], None] = lambda _: None,
    richer: IndexSpec | None = None,
) -> VideoIndex:
    """A video's index from the store, or made now; tracks that the store lacks are added, without the decoder.

    richer: a spec with further levels; an index of it that is in the store already serves as well.
    """
    started = time.perf_counter()
    index = open_index(video, spec, store)
    if index is None and richer is not None and (found := open_index(video, richer, store)) is not None:
        index = replace(found, spec=spec)
    index = index or build_index(video, spec, store, model, compressor, tracks, progress)
    for track in tracks:
        make_track(track, video, spec.video, store, model)
    return replace(index, seconds=time.perf_counter() - started)


def open_index(video: Video, spec: IndexSpec, store: Store) -> VideoIndex | None:
    """The complete index of a spec, or None."""
    shelf = store.shelf(spec.key)
    stored = shelf.manifest()
    if stored is None:
        return None
    manifest = Manifest.from_json(stored)
    return VideoIndex(
        spec=spec,
        key=spec.key,
        video_name=video.name,
        duration_s=manifest.duration_s,
        prompt=read_prompt(shelf),
        entries=manifest.entries,
        decoder_tokens=manifest.decoder_tokens,
        notes=(*video.plan_notes, *manifest.notes),
        store=store,
        reused=True,
        seconds=0.0,
        prompt_tokens=read_prompt_tokens(shelf),
    )


@torch.no_grad()
def build_index(
    video: Video,
    spec: IndexSpec,
    store: Store,
    model: MLLM,
    compressor: Compressor,
    tracks: Sequence[Track],
    progress: Callable[[IndexProgress], None],
) -> VideoIndex:
    """Compress a video chunk by chunk, going on from what an interrupted run left in the store."""
    builder = IndexBuilder(spec, store, video.outline, model, compressor, tracks)

    def show() -> None:
        tokens = sum(entry.raw_tokens for entry in builder.entries)
        progress(IndexProgress(builder.reading.position, video.planned_frames, len(builder.entries), tokens))

    show()
    sizes = spec.video.chunk_frames
    for frames in video.chunks(sizes[len(builder.entries) :] or sizes[-1:], builder.reading):
        if builder.append(frames, video.reading):
            show()
    index = builder.seal(video.name, video.end_s, video.plan_notes, video.damage_notes)
    show()
    return index


class IndexBuilder:
    """An index in the making: chunks are appended as their frames come, until it is sealed.

    A chunk is held until the next one comes, since the model may write something else behind the last one; then its
    KVs are in the store before the next chunk is run. What an earlier builder left there is taken over.

    spec: what the index is made of and how. store: where it is kept. outline: what is known of the video.
    model, compressor: what makes the KVs. tracks: what else is made of the frames as they come.
    entries: the chunks that are in the store. reading: how far the video was read with them.
    """

    def __init__(
        self,
        spec: IndexSpec,
        store: Store,
        outline: VideoOutline,
        model: MLLM,
        compressor: Compressor,
        tracks: Sequence[Track] = (),
    ):
        self.spec, self.store, self.outline, self.model = spec, store, outline, model
        self.entries: list[ChunkEntry] = []
        self.reading = Reading()
        self._shelf = store.shelf(spec.key)
        self._compression = compressor.start(model, model.prompt_kv(outline))
        self._prompt_tokens = None if model.reuses_kvs else model.prompt_tokens(outline).to("cpu")
        self._tracks = [TrackBuilder(track, spec.video, store) for track in tracks]
        self._next_position = int(self._compression.prompt.positions.max()) + 1
        self._held: tuple[Frames, Reading] | None = None
        self._restore()

    def append(self, frames: Frames, reading: Reading) -> bool:
        """Take the next chunk's frames; whether the chunk before it is now in the store.

        reading: how far the video was read with these frames.
        """
        held, self._held = self._held, (frames, reading)
        if held is not None:
            self._run(*held, end_s=float(frames.timestamps_s[0]), is_last=False)
        return held is not None

    def seal(
        self, video_name: str, end_s: float, plan_notes: Sequence[str] = (), damage_notes: Sequence[str] = ()
    ) -> VideoIndex:
        """Run the last chunk and mark the index complete.

        end_s: where the sampled range ends, in seconds. plan_notes: of this call; damage_notes: of the video, stored.
        """
        if self._held is not None:
            self._run(*self._held, end_s=end_s, is_last=True)
            self._held = None
        prompt = self._compression.prompt.to("cpu")
        manifest = Manifest(
            spec=self.spec,
            video_name=video_name,
            duration_s=self.outline.duration_s,
            model_name=self.model.name,
            decoder_tokens=self._compression.decoder_tokens([entry.raw_tokens for entry in self.entries]),
            entries=tuple(self.entries),
            notes=tuple(damage_notes),
        )
        for track in self._tracks:
            track.seal(self.entries[-1].chunk.end_frame)
        write_prompt(self._shelf, prompt, self._prompt_tokens)
        self._shelf.finish(manifest.to_json())
        return VideoIndex(
            spec=self.spec,
            key=self.spec.key,
            video_name=video_name,
            duration_s=manifest.duration_s,
            prompt=prompt,
            entries=manifest.entries,
            decoder_tokens=manifest.decoder_tokens,
            notes=(*plan_notes, *damage_notes),
            store=self.store,
            reused=False,
            seconds=0.0,
            prompt_tokens=self._prompt_tokens,
        )

    def _run(self, frames: Frames, reading: Reading, end_s: float, is_last: bool) -> None:
        """One chunk: frames to tokens to KVs at every level, to the store."""
        index = len(self.entries)
        first_frame = self.entries[-1].chunk.end_frame if self.entries else 0
        tokens = self.model.visual_tokens(frames, ChunkPlace(self.outline, first_frame, self._next_position, is_last))
        if index == 0:
            check_levels(self.spec, len(tokens.visual) / len(frames))
        is_edge = index == 0 or is_last
        kvs = self._compression.compress(tokens, is_edge)
        entry = ChunkEntry(
            Chunk(index, first_frame, first_frame + len(frames), float(frames.timestamps_s[0]), end_s),
            raw_tokens=len(tokens),
            tokens=tokens_by_level(self.spec.levels, tokens, kvs),
            stored_as=shared_levels(kvs),
            frames=frame_entries(frames, tokens, self.model.frame_group),
        )
        for track in self._tracks:
            track.append(first_frame, frames, tokens)
        self._next_position = int(tokens.positions.max()) + 1
        write_chunk(self._shelf, ChunkRecord(entry, is_edge, self._next_position, reading), kvs, tokens)
        self.entries.append(entry)
        self.reading = reading

    def _restore(self) -> None:
        """Take over the chunks that an interrupted run left."""
        if not self._compression.settings.resumes:
            return
        while (record := read_record(self._shelf, len(self.entries))) is not None:
            entry = record.entry
            kvs = {level: read_kv(self._shelf, entry, level) for level in entry.stored_as}
            self._compression.restore(kvs, read_is_text(self._shelf, entry.chunk.index), record.is_edge)
            self.entries.append(entry)
            self._next_position, self.reading = record.next_position, record.reading


def tokens_by_level(levels: tuple[Level, ...], tokens: VideoTokens, kvs: ChunkKVs) -> dict[Level, int]:
    """How many tokens of a chunk are in a cache at each level."""
    return {level: len(tokens if level == FRESH else kvs[level]) for level in levels}


def frame_entries(frames: Frames, tokens: VideoTokens, group: int) -> tuple[FrameEntry, ...]:
    """The frames of a chunk that can be read by themselves. group: how many are encoded together."""
    sizes = tokens.frame.bincount().tolist()
    return tuple(FrameEntry(*pair) for pair in zip(frames.timestamps_s[::group].tolist(), sizes, strict=True))


def check_levels(spec: IndexSpec, tokens_per_frame: float) -> None:
    """Raises: SettingsError if the coarsest level is coarser than a whole chunk."""
    frames = spec.video.chunk_frames[-1]
    tokens = round(tokens_per_frame * frames)
    if spec.levels[-1] > tokens:
        raise SettingsError(
            f"level {spec.levels[-1]} is not possible: a chunk of {frames} frames has {tokens} visual tokens; choose a "
            "lower level or longer chunks"
        )
