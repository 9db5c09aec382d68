"""Chunks of made-up visual tokens, for tests that drive a compressor by hand."""

from __future__ import annotations

from torch import Tensor

from videox2l.types import VideoOutline, VideoTokens

VIDEO = VideoOutline(frames=10, duration_s=10.0)


def chunk_of(tokens: Tensor) -> VideoTokens:
    """Visual tokens (n, hidden) as one chunk without text."""
    return VideoTokens.of_frames(tokens[None], 0)
