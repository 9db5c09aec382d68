"""Tracks: what is made of a video's frames beside its KVs, each under a key of its own, one part for the whole video.

While a video is read a track grows part by part, so that an interrupted run goes on; once the video's end is reached
the parts become one. A track that was not asked for when a video was indexed is made later without the decoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from videox2l.digest import digest
from videox2l.errors import StoreError
from videox2l.models.base import MLLM
from videox2l.store.base import Store
from videox2l.types import ChunkPlace, Frames, VideoSpec, VideoTokens
from videox2l.video import Video

FORMAT = 2
"""Of what a track stores; raised when that changes."""

WHOLE = "track"
"""The part that holds the whole video's track."""


class Track(ABC):
    """Something made of every chunk's frames, concatenated over the video.

    name: of the track. tensors: names of what it makes. needs_tokens: whether it is made of the visual tokens too.
    """

    name: ClassVar[str]
    tensors: ClassVar[tuple[str, ...]]

    @property
    def needs_tokens(self) -> bool:
        """Whether `make` needs the chunk's visual tokens."""
        return False

    @abstractmethod
    def made_of(self, spec: VideoSpec) -> Mapping[str, Any]:
        """What the track depends on beside the video's content and sampled times, as plain data."""

    @abstractmethod
    def make(self, first_frame: int, frames: Frames, tokens: VideoTokens | None) -> tuple[Tensor, ...]:
        """Rows of every tensor for one chunk.

        first_frame: sampled frames before the chunk. tokens: the chunk's, if `needs_tokens`.
        """

    def key(self, spec: VideoSpec) -> str:
        """Under which the store keeps the track of a video."""
        values = {"format": FORMAT, "content": spec.content, "times_s": spec.times_s, **self.made_of(spec)}
        return f"{self.name}-{digest(values)}"


class TrackBuilder:
    """A track in the making: rows are appended chunk by chunk until the video's end."""

    def __init__(self, track: Track, spec: VideoSpec, store: Store):
        self.track, self._spec = track, spec
        self._shelf = store.shelf(track.key(spec))
        self.is_complete = self._shelf.manifest() is not None
        self.end_frame, self._parts = 0, 0
        while not self.is_complete and (header := self._shelf.header(self._part(self._parts))) is not None:
            self.end_frame = header["end_frame"]
            self._parts += 1

    def append(self, first_frame: int, frames: Frames, tokens: VideoTokens | None) -> None:
        """Add a chunk's rows, if they are the next that are missing."""
        if self.is_complete or first_frame != self.end_frame:
            return  # what an earlier run made is there already; a gap is for `make_track`
        rows = self.track.make(first_frame, frames, tokens)
        tensors = {name: row.cpu().contiguous() for name, row in zip(self.track.tensors, rows, strict=True)}
        self.end_frame += len(frames)
        self._shelf.write(self._part(self._parts), tensors, {"end_frame": self.end_frame})
        self._parts += 1

    def seal(self, frames: int) -> None:
        """Join the parts, if they cover all of the video's frames."""
        if self.is_complete or self.end_frame != frames:
            return
        try:
            parts = [self._shelf.read(self._part(part), self.track.tensors) for part in range(self._parts)]
        except StoreError:
            if self._shelf.manifest() is None:  # else another run has joined the same parts in the meantime
                raise
        else:
            columns = zip(self.track.tensors, zip(*parts, strict=True), strict=True)
            self._shelf.write(WHOLE, {name: torch.cat(rows) for name, rows in columns}, {})
            self._shelf.finish({"track": self.track.name, **self.track.made_of(self._spec)})
        for part in range(self._parts):
            self._shelf.remove(self._part(part))
        self.is_complete = True

    @staticmethod
    def _part(part: int) -> str:
        return f"part-{part:05d}"


@torch.no_grad()
def make_track(
    track: Track,
    video: Video,
    spec: VideoSpec,
    store: Store,
    model: MLLM | None,
    progress: Callable[[int], None] = lambda frames: None,
) -> None:
    """Read a video for a track that its index was made without; nothing to do if the store has it.

    model: its vision encoder runs for a track of visual tokens alone, which needs it; the decoder never runs.
    progress: called with the number of frames done, at first 0.
    """
    builder = TrackBuilder(track, spec, store)
    if builder.is_complete:
        return
    first_frame = 0
    progress(first_frame)
    for frames in video.chunks(spec.chunk_frames):
        tokens = None
        if track.needs_tokens:
            assert model is not None
            tokens = model.visual_tokens(frames, ChunkPlace(video.outline, first_frame, next_position=0, is_last=False))
        builder.append(first_frame, frames, tokens)
        first_frame += len(frames)
        progress(first_frame)
    builder.seal(first_frame)


def read_track(store: Store, track: Track, spec: VideoSpec) -> list[Tensor]:
    """A track's tensors, over the whole video. Raises: StoreError if it was not made."""
    shelf = store.shelf(track.key(spec))
    if shelf.manifest() is None:
        raise StoreError(f"the store has no {track.name} of this video: index the video again, which adds them")
    return shelf.read(WHOLE, track.tensors)
