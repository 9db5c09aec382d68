"""A video's index: everything asking needs, with the KVs fetched from the store only when they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from videox2l.store.base import Shelf
from videox2l.types import KV, Chunk, ChunkKVs


@dataclass(frozen=True)
class ChunkEntry:
    """What is known of a chunk without loading it.

    raw_tokens: tokens before compression. ratios, tokens: the real compression ratio, raw tokens over KVs, and the
    number of KVs at each level. stored_as: the level under which each level's KVs are stored; two levels share them
    where they are the same.
    """

    chunk: Chunk
    raw_tokens: int
    ratios: Mapping[int, float]
    tokens: Mapping[int, int]
    stored_as: Mapping[int, int]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ChunkEntry:
        """From what `to_json` gave, read back."""
        return cls(
            Chunk(**values["chunk"]),
            values["raw_tokens"],
            {int(level): ratio for level, ratio in values["ratios"].items()},
            {int(level): tokens for level, tokens in values["tokens"].items()},
            {int(level): stored for level, stored in values["stored_as"].items()},
        )


@dataclass(frozen=True)
class VideoIndex:
    """An indexed video: chunks, prompt KVs, and per chunk, in the store, its KVs at every level and its embeddings.

    key: the fingerprint of content, sampling, model and settings. levels: nominal ratios, finest first.
    reused: whether the index was found in the store whole. decoder_tokens: tokens the decoder runs for this video
    in a "single_pass" and in a "two_pass" compression. notes: what the user should know of the video. seconds: what
    indexing, or opening the stored index, took.
    """

    key: str
    video_name: str
    duration_s: float
    levels: tuple[int, ...]
    prompt: KV
    entries: tuple[ChunkEntry, ...]
    shelf: Shelf
    reused: bool
    decoder_tokens: Mapping[str, int]
    notes: tuple[str, ...]
    seconds: float

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks in temporal order."""
        return tuple(entry.chunk for entry in self.entries)

    def kv(self, chunk: int, level: int) -> KV:
        """One chunk's KVs at one level, from the store."""
        return read_kv(self.shelf, self.entries[chunk], level)

    def embeddings(self, chunk: int) -> Tensor:
        """The dual encoder's embeddings of one chunk, (n, d), normalised.

        Raises: StoreError if the index was made without a dual encoder.
        """
        return self.shelf.read(chunk, ["embeddings"])[0]

    def thumbnail(self, chunk: int) -> Tensor:
        """A small picture of the chunk's middle frame, uint8 (3, h, w)."""
        return self.shelf.read(chunk, ["thumbnail"])[0]

    def tokens(self, levels: tuple[int, ...]) -> int:
        """KVs per layer and head in a cache with these levels, the prompt included."""
        return len(self.prompt) + sum(e.tokens[level] for e, level in zip(self.entries, levels, strict=True))

    @property
    def full_tokens(self) -> int:
        """KVs per layer and head in an uncompressed cache, the prompt included."""
        return len(self.prompt) + sum(entry.raw_tokens for entry in self.entries)


def shared_levels(kvs: ChunkKVs) -> dict[int, int]:
    """For each level, the first level that holds the very same KVs."""
    first: dict[int, int] = {}
    return {level: first.setdefault(id(kv.keys), level) for level, kv in kvs.items()}


def chunk_tensors(
    kvs: ChunkKVs, stored_as: Mapping[int, int], is_text: Tensor, embeddings: Tensor | None, thumbnail: Tensor
) -> dict[str, Tensor]:
    """The tensors of one chunk by the names the store keeps them under, on the host."""
    tensors = {"is_text": is_text, "thumbnail": thumbnail}
    if embeddings is not None:
        tensors["embeddings"] = embeddings
    for level in sorted(set(stored_as.values())):
        kv = kvs[level]
        tensors |= {f"{level}.keys": kv.keys, f"{level}.values": kv.values, f"{level}.positions": kv.positions}
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def read_kv(shelf: Shelf, entry: ChunkEntry, level: int) -> KV:
    """One chunk's KVs at one level."""
    stored = entry.stored_as[level]
    keys, values, positions = shelf.read(
        entry.chunk.index, [f"{stored}.keys", f"{stored}.values", f"{stored}.positions"]
    )
    return KV(keys, values, positions)
