"""Chunks of made-up visual tokens, for tests that drive a compressor by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from videox2l.types import VideoOutline, VideoTokens

TEXT_TOKENS, GROUP_TOKENS = 7, 151
"""Of a group of Video-XL-2: its time text, and all of it."""

VIDEO = VideoOutline(frames=10, duration_s=10.0)


def chunk_of(tokens: Tensor, first_position: int = 0) -> VideoTokens:
    """Visual tokens (n, hidden) as one chunk without text."""
    return VideoTokens.of_frames(tokens[None], first_position)


def groups_of_noise(groups: int, start: int = 0, seed: int = 0) -> VideoTokens:
    """Groups of a time text of 7 tokens and 144 visual ones."""
    generator = torch.Generator().manual_seed(seed)
    count = groups * GROUP_TOKENS
    steps = torch.arange(count)
    embeddings = torch.randn(count, 48, generator=generator)
    return VideoTokens(embeddings, start + steps, steps % GROUP_TOKENS < TEXT_TOKENS, steps // GROUP_TOKENS)


def cut(tokens: VideoTokens, groups: int) -> list[VideoTokens]:
    """The same in chunks of so many groups."""
    parts = (tokens.embeddings, tokens.positions, tokens.is_text, tokens.frame)
    split = (part.split(groups * GROUP_TOKENS) for part in parts)
    return [VideoTokens(*chunk) for chunk in zip(*split, strict=True)]
