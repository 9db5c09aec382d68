"""A small picture of every chunk, for timelines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from videox2l.tracks.track import Track
from videox2l.types import Frames, VideoSpec, VideoTokens

HEIGHT = 72
"""Of a thumbnail, in pixels; a smaller frame keeps its size."""


class Thumbnails(Track):
    """Each chunk's middle frame, uint8 (chunks, 3, h, w)."""

    name = "thumbnails"
    tensors = ("thumbnails",)

    def made_of(self, spec: VideoSpec) -> Mapping[str, Any]:
        """The chunk sizes: which frame is in the middle depends on them."""
        return {"chunk_frames": list(spec.chunk_frames), "height": HEIGHT}

    def make(self, first_frame: int, frames: Frames, tokens: VideoTokens | None) -> tuple[Tensor, ...]:
        """The middle frame, (1, 3, h, w)."""
        middle = frames.pixels[len(frames) // 2][None].float()  # (1, 3, H, W)
        height, width = middle.shape[2:]
        size = (min(HEIGHT, height), max(1, round(width * min(HEIGHT, height) / height)))
        small = F.interpolate(middle, size, mode="bilinear", antialias=True)
        return (small.round().clamp(0, 255).byte(),)
