"""Index a video: chunk after chunk through the model, every level to the store; resumes where it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from videox2l.compression.base import Compression, Compressor
from videox2l.errors import SettingsError
from videox2l.index.video_index import ChunkEntry, VideoIndex, chunk_tensors, read_kv, shared_levels
from videox2l.models.base import MLLM
from videox2l.store.base import Shelf
from videox2l.tracks.dual_encoder import DualEncoder
from videox2l.types import KV, Chunk, ChunkPlace, Frames, VideoOutline
from videox2l.video import Video

THUMBNAIL_HEIGHT = 72


@dataclass(frozen=True)
class IndexProgress:
    """How far indexing is, in sampled frames and in chunks."""

    frames: int
    total_frames: int
    chunks: int


def open_index(key: str, shelf: Shelf) -> VideoIndex | None:
    """The complete index on a shelf, or None."""
    started = time.perf_counter()
    manifest = shelf.manifest()
    if manifest is None:
        return None
    return VideoIndex(
        key=key,
        video_name=manifest["video_name"],
        duration_s=manifest["duration_s"],
        levels=tuple(manifest["levels"]),
        prompt=KV(*shelf.whole(["prompt.keys", "prompt.values", "prompt.positions"])),
        entries=tuple(ChunkEntry.from_json(entry) for entry in manifest["chunks"]),
        shelf=shelf,
        reused=True,
        decoder_tokens=manifest["decoder_tokens"],
        notes=tuple(manifest["notes"]),
        seconds=time.perf_counter() - started,
    )


@torch.no_grad()
def build_index(
    key: str,
    shelf: Shelf,
    video: Video,
    chunk_frames: int | tuple[int, ...],
    model: MLLM,
    compressor: Compressor,
    encoder: DualEncoder | None,
    progress: Callable[[IndexProgress], None] = lambda _: None,
) -> VideoIndex:
    """Compress a video chunk by chunk; each chunk is on the shelf before the next is decoded.

    What an interrupted run left on the shelf is taken over.
    """
    started = time.perf_counter()
    outline = VideoOutline(video.planned_frames, video.duration_s, video.start_s)
    compression = compressor.start(model, model.prompt_kv(outline))
    entries, skip, next_position = restore(shelf, compression)
    done = entries[-1].chunk.end_frame if entries else 0
    progress(IndexProgress(skip, video.planned_frames, len(entries)))

    sizes = chunk_frames if isinstance(chunk_frames, int) else chunk_frames[len(entries) :] or chunk_frames[-1:]
    for frames, frames_read, next_start_s in with_next(video, video.chunks(sizes, skip=skip)):
        index = len(entries)
        tokens = model.visual_tokens(frames, ChunkPlace(outline, done, next_position, next_start_s is None))
        if index == 0:
            check_levels(compressor.levels, len(tokens.visual) / len(frames), chunk_frames)
        is_edge = index == 0 or next_start_s is None
        kvs = compression.compress(tokens, is_edge)
        end_s = video.end_s if next_start_s is None else next_start_s
        entry = ChunkEntry(
            Chunk(index, done, done + len(frames), float(frames.timestamps_s[0]), end_s),
            raw_tokens=len(tokens),
            ratios={level: len(tokens) / max(len(kv), 1) for level, kv in kvs.items()},
            tokens={level: len(kv) for level, kv in kvs.items()},
            stored_as=shared_levels(kvs),
        )
        embeddings = encoder.embed_frames(frames, tokens.visual) if encoder else None
        tensors = chunk_tensors(kvs, entry.stored_as, tokens.is_text, embeddings, thumbnail(frames))
        next_position = int(tokens.positions.max()) + 1
        about = {"frames_read": frames_read, "is_edge": is_edge, "next_position": next_position}
        shelf.write(index, tensors, {"entry": entry.to_json(), **about})
        entries.append(entry)
        done += len(frames)
        progress(IndexProgress(frames_read, video.planned_frames, len(entries)))
    return finish(key, shelf, video, compression, entries, started)


def restore(shelf: Shelf, compression: Compression) -> tuple[list[ChunkEntry], int, int]:
    """Take over the chunks an interrupted run left on the shelf.

    Returns them, the sampled frames they cover, and the position that follows them.
    """
    entries: list[ChunkEntry] = []
    frames_read, next_position = 0, int(compression.prompt.positions.max()) + 1
    while compression.settings.resumes and (about := shelf.about(len(entries))) is not None:
        entry = ChunkEntry.from_json(about["entry"])
        kvs = {level: read_kv(shelf, entry, level) for level in entry.tokens}
        (is_text,) = shelf.read(len(entries), ["is_text"])
        compression.restore(kvs, is_text, about["is_edge"])
        entries.append(entry)
        frames_read, next_position = about["frames_read"], about["next_position"]
    return entries, frames_read, next_position


def with_next(video: Video, chunks: Iterator[Frames]) -> Iterator[tuple[Frames, int, float | None]]:
    """Each chunk with the sampled frames read up to its end, and when the next one starts (None: it is the last)."""
    current, read = next(chunks, None), video.position
    while current is not None:
        following = next(chunks, None)
        yield current, read, None if following is None else float(following.timestamps_s[0])
        current, read = following, video.position


def check_levels(levels: tuple[int, ...], tokens_per_frame: float, chunk_frames: int | tuple[int, ...]) -> None:
    """Raises: SettingsError if the coarsest level is coarser than a whole chunk."""
    frames = chunk_frames if isinstance(chunk_frames, int) else chunk_frames[-1]
    tokens = round(tokens_per_frame * frames)
    if levels[-1] > tokens:
        raise SettingsError(
            f"level {levels[-1]} is not possible: a chunk of {frames} frames has {tokens} visual tokens; choose a "
            "lower level or longer chunks"
        )


def thumbnail(frames: Frames) -> Tensor:
    """The chunk's middle frame, small, uint8 (3, h, w)."""
    middle = frames.pixels[len(frames) // 2][None].float()  # (1, 3, H, W)
    height, width = middle.shape[2:]
    size = (min(THUMBNAIL_HEIGHT, height), max(1, round(width * min(THUMBNAIL_HEIGHT, height) / height)))
    return F.interpolate(middle, size, mode="bilinear", antialias=True)[0].round().clamp(0, 255).byte()


def finish(
    key: str,
    shelf: Shelf,
    video: Video,
    compression: Compression,
    entries: list[ChunkEntry],
    started: float,
) -> VideoIndex:
    """Mark the index complete and hand it out."""
    prompt = compression.prompt
    counts = compression.decoder_tokens([entry.raw_tokens for entry in entries])
    index = VideoIndex(
        key=key,
        video_name=video.name,
        duration_s=video.duration_s,
        levels=compression.settings.levels,
        prompt=prompt.to("cpu"),
        entries=tuple(entries),
        shelf=shelf,
        reused=False,
        decoder_tokens=counts,
        notes=video.notes,
        seconds=time.perf_counter() - started,
    )
    manifest = {
        "key": key,
        "video_name": index.video_name,
        "duration_s": index.duration_s,
        "levels": list(index.levels),
        "decoder_tokens": counts,
        "notes": list(index.notes),
        "chunks": [entry.to_json() for entry in entries],
    }
    whole = {"prompt.keys": prompt.keys, "prompt.values": prompt.values, "prompt.positions": prompt.positions}
    shelf.finish({name: tensor.cpu().contiguous() for name, tensor in whole.items()}, manifest)
    return index
