"""How large a video's index will be, predicted from the model and the video before anything is compressed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from videox2l.compression.base import Compressor
from videox2l.levels import FRESH, Level
from videox2l.models.base import MLLM
from videox2l.types import ChunkPlace, Frames, VideoOutline

POSITION_BYTES = 8
"""Of one position: int64."""


@dataclass(frozen=True)
class IndexSize:
    """How many KVs the index of a video has, and how many bytes they take.

    chunks: into which the video is cut.
    full_tokens: video tokens before compression, the text among the frames included.
    tokens: of all chunks in a cache, by level: KVs per layer and head, or tokens that are prefilled anew.
    prompt_tokens: tokens before the video, which are never compressed.
    token_bytes: keys and values of one token in all layers and heads: what it takes in a cache.
    stored_token_bytes: the same with the token's position: what it takes in the store.
    fresh_token_bytes: a token as it enters the decoder, with its position: what it takes in the store at level fresh.
    keeps_kvs: whether the prompt is kept as KVs, rather than as it enters the decoder. True by default.
    """

    chunks: int
    full_tokens: int
    tokens: Mapping[Level, int]
    prompt_tokens: int
    token_bytes: int
    stored_token_bytes: int
    fresh_token_bytes: int
    keeps_kvs: bool = True

    def level_bytes(self, level: Level) -> int:
        """What one level takes in the store."""
        return self.tokens[level] * (self.fresh_token_bytes if level == FRESH else self.stored_token_bytes)

    @property
    def stored_bytes(self) -> int:
        """What the index takes in the store: every level, the prompt, and a byte for each token that says what is text.

        File headers and tracks (thumbnails, embeddings) are not counted.
        """
        levels = sum(map(self.level_bytes, self.tokens))
        prompt_token_bytes = self.stored_token_bytes if self.keeps_kvs else self.fresh_token_bytes
        return levels + self.prompt_tokens * prompt_token_bytes + self.full_tokens

    @property
    def full_cache_bytes(self) -> int:
        """A cache without any compression."""
        return (self.prompt_tokens + self.full_tokens) * self.token_bytes

    def cache_bytes(self, fine_chunks: int) -> int:
        """The cache that an answer is decoded from: so many chunks at the finest level, all others at the coarsest."""
        fine, coarse = (self.tokens[level] / self.chunks for level in (min(self.tokens), max(self.tokens)))
        fine_chunks = min(fine_chunks, self.chunks)
        video = fine * fine_chunks + coarse * (self.chunks - fine_chunks)
        return (self.prompt_tokens + round(video)) * self.token_bytes


@torch.no_grad()
def predict_size(
    model: MLLM,
    compressor: Compressor,
    video: VideoOutline,
    height: int,
    width: int,
    chunk_frames: int | None = None,
) -> IndexSize:
    """The size of a video's index, as if every chunk were like one of blank frames from all over the video.

    The model's vision encoder runs for one chunk, its decoder does not. A compressor that rounds by frames (`pool`),
    and two passes with fine edges, keep somewhat more.

    compressor: what the levels are and how they are made. video: frames to sample, length and start. height, width: of
    a frame, in pixels. chunk_frames: frames in a chunk; by default the model's own.
    """
    group = model.frame_group
    chunk_frames = chunk_frames or model.chunk_frames
    frames = min(chunk_frames, math.ceil(video.frames / group) * group)
    times_s = torch.linspace(video.start_s, video.start_s + video.duration_s, frames + 1, dtype=torch.float64)[:-1]
    blank = Frames(torch.zeros(frames, 3, height, width, dtype=torch.uint8), times_s)
    prompt_tokens = len(model.prompt_ids(video))
    place = ChunkPlace(video, video.frames // 2 // group * group, prompt_tokens, is_last=False)
    chunk = model.visual_tokens(blank, place)

    def in_video(tokens: int) -> int:
        return round(tokens * video.frames / frames)

    def kept(level: Level) -> int:
        return len(chunk) if level == FRESH else compressor.predicted_tokens(chunk, level)

    shape = model.kv_shape
    token_bytes = 2 * shape.layers * shape.heads * shape.head_dim * model.dtype.itemsize
    position_bytes = POSITION_BYTES * (1 if chunk.positions.ndim == 1 else len(chunk.positions))
    depths = 1 if chunk.deepstack is None else 1 + len(chunk.deepstack)
    return IndexSize(
        chunks=math.ceil(video.frames / chunk_frames),
        full_tokens=in_video(len(chunk)),
        tokens={level: in_video(kept(level)) for level in compressor.levels},
        prompt_tokens=prompt_tokens,
        token_bytes=token_bytes,
        stored_token_bytes=token_bytes + position_bytes,
        fresh_token_bytes=depths * chunk.embeddings.shape[1] * chunk.embeddings.itemsize + position_bytes,
        keeps_kvs=model.reuses_kvs,
    )
