"""All that an index keeps on a shelf: a part per chunk, the prompt's KVs, and the manifest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from videox2l.index.spec import IndexSpec
from videox2l.levels import FRESH, NOTHING, Level
from videox2l.store.base import Shelf
from videox2l.types import KV, Chunk, ChunkKVs, VideoTokens
from videox2l.video import Reading

PROMPT = "prompt"
"""The part with the prompt's KVs."""


@dataclass(frozen=True)
class FrameEntry:
    """A frame of a chunk, or the frames that are encoded together.

    time_s: when it is shown, or the first of them.
    tokens: its tokens before compression, the text that belongs to it included.
    """

    time_s: float
    tokens: int


@dataclass(frozen=True)
class ChunkEntry:
    """What is known of a chunk without loading it.

    chunk: its frames and times.
    raw_tokens: visual tokens, and text among them, before compression.
    tokens: the number of tokens in a cache at each level.
    stored_as: the ratio under which each ratio's KVs are stored; levels share them where they are the same.
    frames: those that can be read by themselves, in temporal order.
    """

    chunk: Chunk
    raw_tokens: int
    tokens: Mapping[Level, int]
    stored_as: Mapping[int, int]
    frames: tuple[FrameEntry, ...]

    def tokens_at(self, level: Level, frames: Collection[int] | None = None) -> int:
        """The number of tokens in a cache at a level, of some frames or, by default, of all."""
        if level == NOTHING:
            return 0
        return self.tokens[level] if frames is None else sum(self.frames[frame].tokens for frame in frames)

    def ratio(self, level: Level, frames: Collection[int] | None = None) -> float | None:
        """The real compression ratio at a level: tokens before over tokens in the cache; None where there are none."""
        tokens = self.tokens_at(level, frames)
        return self.raw_tokens / tokens if tokens else None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ChunkEntry:
        """From what `to_json` gave, read back."""
        return cls(
            Chunk(**values["chunk"]),
            values["raw_tokens"],
            {int(level): tokens for level, tokens in values["tokens"].items()},
            {int(level): stored for level, stored in values["stored_as"].items()},
            tuple(FrameEntry(**frame) for frame in values["frames"]),
        )


@dataclass(frozen=True)
class ChunkRecord:
    """What a chunk's part says of it, and what an interrupted run goes on from.

    entry: the chunk.
    is_edge: whether it is the video's first or last one.
    next_position: the position behind it.
    reading: how far the video had been read with it.
    """

    entry: ChunkEntry
    is_edge: bool
    next_position: int
    reading: Reading

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ChunkRecord:
        """From what `to_json` gave, read back."""
        reading = values["reading"]
        return cls(
            ChunkEntry.from_json(values["entry"]),
            values["is_edge"],
            values["next_position"],
            Reading(reading["position"], tuple(reading["missing"]), tuple(reading["resized"])),
        )


@dataclass(frozen=True)
class Manifest:
    """What a complete index says of itself, readably.

    spec: what made it.
    video_name, duration_s: of the video; the length in seconds.
    model_name: the model's name for display.
    decoder_tokens: tokens the decoder runs for this video, by passes.
    entries: the chunks in temporal order.
    notes: damage that was found while the video was read.
    """

    spec: IndexSpec
    video_name: str
    duration_s: float
    model_name: str
    decoder_tokens: Mapping[str, int]
    entries: tuple[ChunkEntry, ...]
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        entries = [entry.to_json() for entry in self.entries]
        return asdict(self) | {"entries": entries, "notes": list(self.notes), "spec": self.spec.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Manifest:
        """From what `to_json` gave, read back."""
        return cls(
            spec=IndexSpec.from_json(values["spec"]),
            video_name=values["video_name"],
            duration_s=values["duration_s"],
            model_name=values["model_name"],
            decoder_tokens=values["decoder_tokens"],
            entries=tuple(ChunkEntry.from_json(entry) for entry in values["entries"]),
            notes=tuple(values["notes"]),
        )


def chunk_part(chunk: int) -> str:
    """The name of a chunk's part."""
    return f"chunk-{chunk:05d}"


def write_chunk(shelf: Shelf, record: ChunkRecord, kvs: ChunkKVs, tokens: VideoTokens) -> None:
    """Keep a chunk's KVs at every ratio, which of its tokens are text, and if FRESH is a level the tokens."""
    entry = record.entry
    tensors = {"is_text": on_host(tokens.is_text)}
    if FRESH in entry.tokens:
        deepstack = (
            tokens.embeddings.new_empty(0, *tokens.embeddings.shape) if tokens.deepstack is None else tokens.deepstack
        )
        fresh = {"embeddings": tokens.embeddings, "positions": tokens.positions, "deepstack": deepstack}
        tensors |= {f"fresh.{name}": on_host(tensor) for name, tensor in fresh.items()}
    for level in sorted(set(entry.stored_as.values())):
        tensors |= kv_tensors(kvs[level], f"{level}.")
    shelf.write(chunk_part(entry.chunk.index), tensors, record.to_json())


def read_record(shelf: Shelf, chunk: int) -> ChunkRecord | None:
    """What an interrupted run left of a chunk; None if nothing, or nothing that can be read."""
    header = shelf.header(chunk_part(chunk))
    return None if header is None else ChunkRecord.from_json(header)


def read_is_text(shelf: Shelf, chunk: int) -> Tensor:
    """Which of a chunk's tokens were text, bool (n,)."""
    return shelf.read(chunk_part(chunk), ["is_text"])[0]


def read_kv(shelf: Shelf, entry: ChunkEntry, level: int) -> KV:
    """One chunk's KVs at one level."""
    stored = entry.stored_as[level]
    names = [f"{stored}.keys", f"{stored}.values", f"{stored}.positions"]
    return KV(*shelf.read(chunk_part(entry.chunk.index), names))


def read_tokens(shelf: Shelf, entry: ChunkEntry) -> VideoTokens:
    """One chunk as it enters the decoder."""
    names = ["fresh.embeddings", "fresh.positions", "is_text", "fresh.deepstack"]
    embeddings, positions, is_text, deepstack = shelf.read(chunk_part(entry.chunk.index), names)
    frames = torch.tensor([frame.tokens for frame in entry.frames])
    frame = torch.arange(len(frames)).repeat_interleave(frames)
    return VideoTokens(embeddings, positions, is_text, frame, deepstack if len(deepstack) else None)


def read_keys(shelf: Shelf, entry: ChunkEntry, level: int) -> Tensor:
    """One chunk's un-rotated keys at one level, (n_l, n_h, n, d_h), without its values."""
    return shelf.read(chunk_part(entry.chunk.index), [f"{entry.stored_as[level]}.keys"])[0]


def write_prompt(shelf: Shelf, prompt: KV, tokens: VideoTokens | None = None) -> None:
    """Keep the prompt's KVs, and its tokens where these are given."""
    fresh = {} if tokens is None else {"embeddings": on_host(tokens.embeddings)}
    shelf.write(PROMPT, kv_tensors(prompt) | fresh, {"has_tokens": tokens is not None})


def read_prompt(shelf: Shelf) -> KV:
    """The prompt's KVs."""
    return KV(*shelf.read(PROMPT, ["keys", "values", "positions"]))


def read_prompt_tokens(shelf: Shelf) -> VideoTokens | None:
    """The prompt as it enters the decoder, where it was kept."""
    if not (shelf.header(PROMPT) or {}).get("has_tokens"):
        return None
    return VideoTokens.of_text(*shelf.read(PROMPT, ["embeddings", "positions"]))


def shared_levels(kvs: ChunkKVs) -> dict[int, int]:
    """For each level, the first level that holds the very same KVs."""
    first: dict[int, int] = {}
    return {level: first.setdefault(id(kv.keys), level) for level, kv in kvs.items()}


def kv_tensors(kv: KV, prefix: str = "") -> dict[str, Tensor]:
    """KVs by the names they are stored under, on the host."""
    tensors = {"keys": kv.keys, "values": kv.values, "positions": kv.positions}
    return {prefix + name: on_host(tensor) for name, tensor in tensors.items()}


def on_host(tensor: Tensor) -> Tensor:
    """The tensor in host memory as a store takes it."""
    return tensor.cpu().contiguous()
